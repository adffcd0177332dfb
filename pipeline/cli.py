"""The command line. Heavy imports live inside the commands: `--help` is instant.

Exit codes: 0 done, or nothing to do; 1 failed; 2 wrong flags or configuration; 3 deferred (stopped, run again to go
on); 4 done, with quarantined rows; 5 another run holds the data set; 6 done, with drift alarms (drift.fail).
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.evaluate_lm import add_flags, evaluate
from pipeline.filter_command import add_verbs
from pipeline.filter_command import run as filter_command
from pipeline.report_command import add_report, report

DONE, FAILED, USAGE, DEFERRED, QUARANTINED, HELD, DRIFTED = range(7)


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    beam_args: list[str] = []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, beam_args = arguments[:split], arguments[split + 1 :]
    options = _parser().parse_args(arguments)
    options.beam_args = beam_args
    from configs.errors import ConfigError, GristmillError

    try:
        return COMMANDS[options.command](options)
    except GristmillError as error:
        code = USAGE if isinstance(error, ConfigError) else FAILED
        if type(error).__name__ == "HeldError":
            code = HELD
        if getattr(options, "json", False):
            print(
                json.dumps(
                    {
                        "status": "failed",
                        "error": str(error),
                        "accepted": 0,
                        "rejected": {},
                        "bytes": 0,
                        "manifest": None,
                        "shards": [],
                    },
                    ensure_ascii=False,
                )
            )
        _tell(error)
        return code
    except BrokenPipeError:
        return DONE
    except KeyboardInterrupt:
        _tell("stopped")
        return DEFERRED


def _tell(what: object) -> None:
    with contextlib.suppress(OSError):  # nobody reads standard error any more: the exit code still tells
        print(f"gristmill: {what}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gristmill",
        description="Synthetic training text from real documents: generate, screen, dedup, adapt, shard.",
        epilog="Exit codes: 0 done or nothing to do, 1 failed, 2 wrong flags or configuration, 3 deferred, "
        "4 done with quarantined rows, 5 another run holds the data set, 6 done with drift alarms (drift.fail).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *, config: bool = True, into: Any = commands) -> argparse.ArgumentParser:
        made = into.add_parser(name, help=text, description=text)
        if config:
            made.add_argument(
                "--config",
                required=True,
                metavar="FILE",
                help="a YAML file, or a preset's name: laptop, gpu, cluster, echo",
            )
            made.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="A.B=C",
                dest="overrides",
                help="override one value of the config; may be repeated",
            )
            made.add_argument("--out", metavar="DIR", help="the data set's folder; overrides `out`")
        made.add_argument("--json", action="store_true", help="one JSON line on standard output, for machines")
        return made

    run = command("run", "Run or resume one date. Beam flags of other runners follow after `--`.")
    run.add_argument("--date", metavar="YYYY-MM-DD", help="the day that the data belongs to; today (UTC) if left out")
    run.add_argument("--workers", type=int, metavar="N", help="worker processes; overrides run.workers")
    run.add_argument("--runner", help="Beam runner; overrides run.runner")
    run.add_argument("--pool", metavar="HOST:PORT", help="a Beam worker pool; overrides run.pool")
    run.add_argument("--force", action="store_true", help="make a date anew that another configuration made")
    plan = command("plan", "Dry run: check everything, show the stages and what they will take.")
    plan.add_argument("--date", metavar="YYYY-MM-DD", help="as for run")
    show = command("show", "A finished date, or the whole lineage of one row.", config=False)
    show.add_argument("what", help="a date, or a row's id (its first 8 digits or more)")
    show.add_argument("--out", required=True, metavar="DIR", help="the data set's folder")
    add_report(command("report", "A finished date as an HTML page, or all dates in the browser.", config=False))
    doctor = command("doctor", "What this machine can run, and what is missing.", config=False)
    doctor.add_argument("--config", metavar="FILE", help="check what this config needs, too")
    trains = command("train", "Train the language model on shards, or go on.", config=False)
    trains.add_argument("--config", required=True, metavar="FILE", help="a YAML file, or a preset: laptop, nano")
    trains.add_argument(
        "--data", required=True, nargs="+", metavar="PATH", help="a data set's folder, or Parquet files with `text`"
    )
    trains.add_argument("--set", action="append", default=[], metavar="A.B=C", dest="overrides", help="as for run")
    trains.add_argument("--out", metavar="DIR", help="the run's folder; overrides `out`")
    writes = command("generate", "Continue prompts with a model that train made.", config=False)
    writes.add_argument(
        "prompts", nargs="*", metavar="PROMPT", help="texts to continue; lines of standard input if none"
    )
    writes.add_argument("--model", required=True, metavar="DIR", help="the model's folder")
    writes.add_argument("--max-length", type=int, default=200, metavar="N", help="tokens, the prompt's among them")
    writes.add_argument("--temperature", type=float, default=0.7, metavar="T", help="0 is greedy")
    writes.add_argument("--top-p", type=float, default=0.95, metavar="P", help="draw from this share of the mass")
    writes.add_argument("--seed", type=int, metavar="N", help="makes drawing repeatable")
    add_flags(command("evaluate", "Perplexity, retrieval and tasks of trained models on held-out text.", config=False))
    verbs = commands.add_parser("filter", help="work on the filters").add_subparsers(
        dest="verb", required=True, metavar="VERB"
    )
    add_verbs(command, verbs)
    return parser


def _config(options: argparse.Namespace):
    from configs.errors import ConfigError
    from configs.load import load

    overrides = list(options.overrides)
    for flag, key in (("out", "out"), ("workers", "run.workers"), ("runner", "run.runner"), ("pool", "run.pool")):
        if (value := getattr(options, flag, None)) is not None:
            overrides.append(f"{key}={json.dumps(value)}")
    config = load(options.config, overrides)
    _check(config)
    if options.command == "run" and options.beam_args and config.run.runner == "FnApiRunner":
        known = [flag for flag in options.beam_args if flag.startswith("--runner")]
        if known:
            raise ConfigError(f"{known[0]}: give the runner before `--`, as gristmill run --runner NAME … -- FLAGS")
    return config


def _check(config: Any) -> None:
    """What the schema cannot see: templates, filters and their options."""
    import filters
    from stages.prompt import check

    for place, spec in enumerate(config.screen.filters):
        filters.check(spec, f"screen.filters[{place}]")
    for name in sorted({task for domain in config.domains.values() for task in domain.tasks}):
        check(config.tasks[name])


def _date(text: str | None) -> str:
    from datetime import UTC, date, datetime

    from configs.errors import ConfigError

    if text is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"--date: {text!r} is no date; write YYYY-MM-DD") from None


def _run(options: argparse.Namespace) -> int:
    config, date = _config(options), _date(options.date)
    from pipeline.progress import Progress
    from pipeline.run import find_models, run

    models = find_models(config)
    result = run(models, date, force=options.force, beam_args=options.beam_args, watch=Progress.on(sys.stderr))
    data = _data(models.config.out)
    manifest = result.manifest
    if options.json:
        print(json.dumps(_line(result, data, date), ensure_ascii=False))
    elif manifest is not None:
        from pipeline.report import show

        show(manifest, str(data.root), _samples(data, manifest, 3))
    said = () if manifest is None else result.notes if options.json else manifest["notes"]
    for note in result.notes:
        if note not in said:
            _tell(note)
    if result.status == "failed":
        _tell(result.error)
        return FAILED
    if result.status == "deferred":
        return DEFERRED
    if manifest is not None and manifest["quarantined"]:
        return QUARANTINED
    return DRIFTED if manifest is not None and manifest.get("alarms") and config.drift.fail else DONE


def _line(result: Any, data: Any, date: str) -> dict[str, Any]:
    manifest = result.manifest
    line: dict[str, Any] = {
        "status": result.status,
        "accepted": 0,
        "rejected": {},
        "bytes": 0,
        "manifest": None,
        "shards": [],
    }
    if manifest is not None:
        keys = ("accepted", "rejected", "bytes", "quarantined", "digest", "run_id", "seconds", "cost", "currency")
        line |= {key: manifest[key] for key in keys} | {"alarms": manifest.get("alarms", [])}
        line["manifest"] = str(data.manifest_path(date))
        line["shards"] = [str(data.root / shard["file"]) for shard in manifest["shards"]]
    if result.error:
        line["error"] = result.error
    return line | {"date": date, "notes": result.notes}


def _data(out: str):
    from pipeline.store import DataSet

    return DataSet.open(out)


def _samples(data: Any, manifest: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Rows spread over the domains, the same for the same data."""
    import pyarrow.parquet as pq

    from pipeline.lineage import reading

    rows = []
    domains = {shard["domain"]: shard for shard in manifest["shards"]}
    for number in range(count):
        if not domains:
            break
        shard = list(domains.values())[number % len(domains)]
        path = data.root / shard["file"]
        with reading(path), pq.ParquetFile(path) as source:
            group = source.read_row_group(0)
            rows += group.slice((number * 7919) % group.num_rows, 1).to_pylist()
    return rows


def _plan(options: argparse.Namespace) -> int:
    config, date = _config(options), _date(options.date)
    from pipeline.plan import plan, show

    planned = plan(config, date)
    if options.json:
        print(json.dumps(planned, ensure_ascii=False))
    else:
        show(planned)
    return DONE


def _show(options: argparse.Namespace) -> int:
    from pipeline.lineage import show

    return show(_data(options.out), options.what, as_json=options.json)


def _doctor(options: argparse.Namespace) -> int:
    from pipeline.doctor import doctor

    return doctor(options.config, as_json=options.json)


def _filter(options: argparse.Namespace) -> int:
    return filter_command(options, _config)


def _train(options: argparse.Namespace) -> int:
    from pipeline.train_lm import train

    return train(options.config, options.overrides, options.out, options.data, as_json=options.json)


def _generate(options: argparse.Namespace) -> int:
    from configs.errors import ConfigError
    from model.generate import Model

    prompts = options.prompts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not prompts:
        raise ConfigError("generate: no prompt; give one, or lines on standard input")
    model = Model.from_pretrained(options.model)
    settings = {"temperature": options.temperature, "top_p": options.top_p, "seed": options.seed}
    try:
        texts = model.generate_batch(prompts, max_length=options.max_length, **settings)
    except ValueError as error:
        raise ConfigError(f"generate: {error}") from None
    for prompt, text in zip(prompts, texts, strict=True):
        row = {"prompt": prompt, "text": text}
        print(json.dumps(row, ensure_ascii=False) if options.json else f"{prompt}{text}\n")
    return DONE


COMMANDS = {
    "train": _train,
    "evaluate": evaluate,
    "generate": _generate,
    "run": _run,
    "plan": _plan,
    "show": _show,
    "report": report,
    "doctor": _doctor,
    "filter": _filter,
}

"""The command line. Heavy imports live inside the commands: `--help` is instant.

Exit codes: 0 done, or nothing to do; 1 failed; 2 wrong flags or configuration; 3 deferred (stopped, run again to go
on); 4 done, with quarantined rows; 5 another run holds the data set; 6 done, with drift alarms (drift.fail).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.commands import run as run_command
from pipeline.commands import schedule
from pipeline.commands import store as store_command
from pipeline.commands.evaluate import add_flags, evaluate
from pipeline.commands.filter.verbs import add_verbs
from pipeline.commands.filter.verbs import run as filter_command
from pipeline.commands.report import add_report, report
from pipeline.commands.run import tell
from pipeline.exit_codes import DEFERRED, DONE, of_error


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    beam_args: list[str] = []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, beam_args = arguments[:split], arguments[split + 1 :]
    options = _parser().parse_args(arguments)
    options.beam_args = beam_args
    from configs.errors import GristmillError

    try:
        return COMMANDS[options.command](options)
    except GristmillError as error:
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
        tell(error)
        return of_error(error)
    except BrokenPipeError:
        return DONE
    except KeyboardInterrupt:
        tell("stopped")
        return DEFERRED


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

    run_command.add_run_flags(command("run", "Run or resume dates. Beam flags of other runners follow after `--`."))
    run_command.add_backfill_flags(
        command("backfill", "Make the dates of a range that are not finished yet, oldest first.")
    )
    plan = command("plan", "Dry run: check everything, show the stages and what they will take.")
    plan.add_argument("--date", default="today", metavar="DAY", help="as for run")
    plan.add_argument("--target-gb", type=float, metavar="GB", help="what so much accepted text takes")
    plan.add_argument("--by", metavar="TIME", help="until when: HH:MM or an ISO time, in UTC; says how many machines")
    plan.add_argument("--keep", type=float, metavar="SHARE", help="of text that is accepted, where no date tells it")
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
    verbs = commands.add_parser("schedule", help="have an orchestrator run a data set each day").add_subparsers(
        dest="verb", required=True, metavar="VERB"
    )
    schedule.add_verbs(command, verbs)
    verbs = commands.add_parser("store", help="look after what is published").add_subparsers(
        dest="verb", required=True, metavar="VERB"
    )
    store_command.add_verbs(command, verbs)
    return parser


FLAGS = {
    "out": "out",
    "workers": "run.workers",
    "runner": "run.runner",
    "pool": "run.pool",
    "metrics_port": "metrics.port",
    "metrics_textfile": "metrics.textfile",
}


def _config(options: argparse.Namespace):
    from configs.errors import ConfigError
    from configs.load import load

    overrides = list(options.overrides)
    for flag, key in FLAGS.items():
        if (value := getattr(options, flag, None)) is not None:
            overrides.append(f"{key}={json.dumps(value)}")
    config = load(options.config, overrides)
    _check(config)
    if options.beam_args and config.run.runner == "FnApiRunner":
        known = [flag for flag in options.beam_args if flag.startswith("--runner")]
        if known:
            raise ConfigError(f"{known[0]}: give the runner before `--`, as gristmill run --runner NAME … -- FLAGS")
    return config


def _check(config: Any) -> None:
    """What the schema cannot see: templates, filters and their options."""
    from filters.build import check_screen
    from stages.prompt import check

    check_screen(config.screen)
    for name in sorted({task for domain in config.domains.values() for task in domain.tasks}):
        check(config.tasks[name])


def _data(out: str):
    from pipeline.store.dataset import DataSet

    return DataSet.open(out)


def _plan(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from pipeline.planning.target import asked
    from pipeline.run.dates import day

    now = datetime.now(UTC)
    config, date = _config(options), day(options.date, "--date", now)
    wanted = asked(options.target_gb, options.by, options.keep, now)
    from pipeline.planning.plan import plan, show

    planned = plan(config, date, wanted)
    if options.json:
        print(json.dumps(planned, ensure_ascii=False))
    else:
        show(planned)
    return DONE


def _show(options: argparse.Namespace) -> int:
    from pipeline.store.lineage import show

    return show(_data(options.out), options.what, as_json=options.json)


def _doctor(options: argparse.Namespace) -> int:
    from pipeline.commands.doctor import doctor

    return doctor(options.config, as_json=options.json)


def _filter(options: argparse.Namespace) -> int:
    return filter_command(options, _config)


def _train(options: argparse.Namespace) -> int:
    from pipeline.commands.train import train

    return train(options.config, options.overrides, options.out, options.data, as_json=options.json)


def _generate(options: argparse.Namespace) -> int:
    from configs.errors import ConfigError
    from model.lm.text_generator import TextGenerator

    prompts = options.prompts or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not prompts:
        raise ConfigError("generate: no prompt; give one, or lines on standard input")
    model = TextGenerator.from_pretrained(options.model)
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
    "run": lambda options: run_command.run(options, _config(options)),
    "backfill": lambda options: run_command.backfill(options, _config(options)),
    "schedule": lambda options: schedule.run(options, _config(options)),
    "store": store_command.run,
    "plan": _plan,
    "show": _show,
    "report": report,
    "doctor": _doctor,
    "filter": _filter,
}

"""`gristmill plan`: everything a run would check, its stages, and an estimate from rates measured earlier."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from configs.catalogue import corpora
from configs.schema import Config
from pipeline.planning.plan_warnings import large_shards, settings_warnings, without_text
from pipeline.planning.target import Target, describe_target, from_date, from_table
from pipeline.planning.unused_passages import shortages, unused_passages
from pipeline.report.summary import cost
from pipeline.run.champions import check_adapters, with_pinned_champions
from pipeline.run.date_run import DateRun
from pipeline.run.dry_run import dry_run
from pipeline.run.resolve import ResolvedModels, resolve_models, run_fingerprint
from pipeline.run.stage_specs import Context
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from stages import seeds
from stages.ports import ModelCard


def make_plan(
    config: Config,
    date: str,
    wanted: Target | None = None,
    evolution: Callable[[ResolvedModels, str], dict[str, Any] | None] = lambda models, date: None,
) -> dict[str, Any]:
    """What a run of the date would do and take, by the keys of `gristmill plan --json`. Writes nothing.

    Args:
        config: of the run.
        date: YYYY-MM-DD.
        wanted: an amount of text; the plan then has the machines for it.
        evolution: returns what `gristmill evolve` would do after a date, from its models and the date.

    Raises what `run` would raise before its first stage, and ConfigError when nothing was measured from which a
    target could be estimated.
    """
    data = DataSet.open(config.out)
    date_run = DateRun.open(data, date)
    models = with_pinned_champions(resolve_models(config), date_run)
    config, card = models.config, models.generator
    sources = seeds.list_sources(config)
    files = sources.files
    fingerprint = run_fingerprint(models)
    if (state := _state(date_run, fingerprint)) != "finished":
        check_adapters(data, date, models.champions)
    has_chosen = state in ("started", "finished") and (date_run.manifest or data.reserved(date))
    unused = {} if has_chosen else unused_passages(config, files, data, date)
    passages = {
        name: unused[name].count if name in unused else domain.per_day for name, domain in config.domains.items()
    }
    empty = without_text(files)
    return {
        "date": date,
        "out": str(data.root),
        "publish": config.publish and _reached(config.publish.to),
        "fingerprint": fingerprint,
        "state": state,
        "generator": f"{card.name} on {card.backend}, {card.parameters / 1e6:.0f} M parameters, {card.sha256[:12]}",
        "encoder": models.encoder and f"{models.encoder.name}, {models.encoder.sha256[:12]}",
        "champions": {name: variant.id for name, variant in models.champions.items()},
        "stages": _stages(models, data, date, files, passages),
        "sources": _sources(config, files),
        "evolution": evolution(models, date),
        "estimate": _estimate(data, config, passages, card.sha256),
        "currency": config.price.currency,
        "target": wanted and _target(data, config, wanted, card),
        "warnings": [
            *models.notices,
            *sources.notes,
            *empty.values(),
            *shortages(config, {name: left for name, left in unused.items() if name not in empty}),
            *large_shards(files),
            *settings_warnings(config, card.parameters, card.name),
        ],
    }


def _reached(url: str) -> str:
    from pipeline.store.remote_pointer import read
    from stages.storage.bucket import Bucket

    read(Bucket.open(url), to_change=False)
    return url


def _target(data: DataSet, config: Config, wanted: Target, card: ModelCard) -> dict[str, Any]:
    now, past = datetime.now(UTC), _newest(data, card.sha256)
    return from_date(config, wanted, past, now) if past else from_table(config, wanted, card.parameters, now)


def _newest(data: DataSet, model: str) -> Manifest | None:
    """The newest finished date that generated with the model."""
    manifests = (data.manifest(date) for date in reversed(data.dates()))
    fitting = (past for past in manifests if past and past.generator.sha256 == model and past.generated)
    return next(fitting, None)


def _state(date_run: DateRun, fingerprint: str) -> str:
    if date_run.owner is None:
        return "new"
    if date_run.owner.fingerprint != fingerprint:
        return "needs --force"
    return "finished" if date_run.manifest else "started"


def _sources(config: Config, files: list[seeds.DomainFile]) -> list[dict[str, Any]]:
    """The files, those that are cut into parts once."""
    sizes: dict[tuple[str, int, str, str], int] = {}
    for file in files:
        key = file.domain, file.place, file.file.name, _licence(config, file)
        sizes[key] = sizes.get(key, 0) + file.file.bytes
    return [
        {
            "domain": domain,
            "source": config.domains[domain].seeds[place].corpus or name,
            "bytes": size,
            "licence": licence,
        }
        for (domain, place, name, licence), size in sizes.items()
    ]


def _licence(config: Config, file: seeds.DomainFile) -> str:
    source = config.domains[file.domain].seeds[file.place]
    return corpora()[source.corpus].licence if source.corpus else source.licence or ""


def _stages(
    models: ResolvedModels, data: DataSet, date: str, files: list[seeds.DomainFile], passages: dict[str, int]
) -> list[dict[str, Any]]:
    """The stages of a run, with the most shards and rows that they can have: filters reject rows on the way."""
    fingerprint = run_fingerprint(models)
    context = Context(
        config=models.config,
        card=models.generator,
        encoder=models.encoder,
        filters=models.filters,
        root=data.root,
        date=date,
        run_id=f"{date}-{fingerprint}",
        used=[],
        index=[],
        threads=1,
        champions=models.champions,
    )
    stages = dry_run(context, files, passages)
    return [
        {"stage": str(stage.name), "rows": stage.rows, "shards": stage.shards} for stage in stages if stage.kind.shown
    ]


def _estimate(data: DataSet, config: Config, passages: dict[str, int], model: str) -> dict[str, Any]:
    """Seconds, accepted rows, bytes and cost by the newest finished date with the same model."""
    past = _newest(data, model)
    if past:
        scale = sum(passages.values()) * config.generate.answers_per_passage / past.generated
        loading = past.seconds.get("loading", 0.0)  # the same for any number of rows
        work = sum(past.seconds.values()) - loading
        if config.run.minutes is not None and work:
            scale = min(scale, config.run.minutes * 60 / work)  # the other passages are left
        seconds = loading + work * scale
        prompt_tokens = scale * sum(domain.prompt_tokens for domain in past.domains.values())
        output_tokens = scale * sum(domain.output_tokens for domain in past.domains.values())
        return {
            "measured_on": past.date,
            "seconds": round(seconds, 1),
            "accepted": round(past.accepted * scale),
            "bytes": round(past.bytes * scale),
            "cost": round(cost(config, seconds, prompt_tokens, output_tokens), 4),
        }
    return {"measured_on": None, "why": "no finished date of this data set used this model: run a small day first"}


def print_plan(planned: dict[str, Any], evolution: Iterable[str] = ()) -> None:
    """The plan as text. `evolution`: what the evolution after the date would do, in lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for key in ("date", "state", "out", "publish", "generator", "encoder"):
        console.print(Text(f"{key:<11}{planned[key]}"), soft_wrap=True)
    for domain, champion in planned["champions"].items():
        console.print(Text(f"champion   {domain}: {champion}"), soft_wrap=True)
    table = Table("stage", "rows at most", "shards at most")
    for stage in planned["stages"]:
        table.add_row(stage["stage"], str(stage["rows"]), str(stage["shards"]))
    console.print(table)
    table = Table("domain", "source", "bytes", "licence")
    for source in planned["sources"]:
        table.add_row(source["domain"], source["source"], str(source["bytes"]), source["licence"])
    console.print(table)
    estimate = planned["estimate"]
    if estimate["measured_on"]:
        console.print(
            Text(
                f"estimate   {estimate['seconds']:.0f} s, {estimate['accepted']} rows accepted, "
                f"{estimate['bytes']} bytes, cost {estimate['cost']}, from the rates of {estimate['measured_on']}"
            )
        )
    else:
        console.print(Text(f"estimate   none: {estimate['why']}"))
    for line in evolution:
        console.print(Text(f"evolve     {line}"), soft_wrap=True)
    if planned["target"]:
        console.print(Text(f"target     {describe_target(planned['target'], planned['currency'])}"), soft_wrap=True)
    for warning in planned["warnings"]:
        console.print(Text(f"warning    {warning}"), soft_wrap=True)

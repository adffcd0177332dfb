"""The graph of a run: which stages, in which order, on which inputs.

`graph` is a coroutine: it yields a stage, is sent that stage's result, and yields the next. Each stage is one Beam job
over shard specifications. Every decision that needs an earlier stage's counts is made here, from its records alone.
To add a stage: write its body in `stages`, a function here that makes its shards, and a `yield` where it belongs.
"""

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from configs import schema
from configs.load import digest
from filters import build, language
from model import backends
from pipeline.run.allocation import Slice, Yield, choose, deal, wave
from pipeline.store.manifest import AdapterResult
from stages import adapt, generate, pack, screen, seeds
from stages.dedup.drop import Drop
from stages.dedup.keys import KEY, PAIR
from stages.dedup.match import Match
from stages.dedup.sign import Sign
from stages.execute import StageBody
from stages.ports import Encoder, ModelCard
from stages.record import CANDIDATE, ROW, SEED
from stages.storage.inputs import read_input
from stages.storage.records import FileRef, StageResult
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind, StageName

STAGES_VERSION = 4  # raise it when a stage's code gives other rows for the same input
KEYS_PER_MATCH_SHARD = 4_000_000  # some 300 MB of memory

Place = Callable[[str], StageName]  # a kind of stage to its name in a round and wave


@dataclass(frozen=True, slots=True)
class Context:
    """What a run depends on, fixed when the date is started."""

    config: schema.Config
    card: ModelCard
    encoder: ModelCard | None
    filters: dict[str, str]  # by name, the hash of what a filter reads: a head, evaluation sets
    root: Path
    date: str
    run_id: str
    used: list[FileRef]  # seeds of other dates
    index: list[FileRef]  # dedup keys of other dates
    threads: int

    @property
    def stages(self) -> str:
        return f"runs/{self.date}/stages"

    @property
    def fleet(self) -> bool:
        """Whether the stages that run the generator have one process: vLLM's engines share this host's GPUs, and two
        fleets would know nothing of each other. On a pool each host has its own."""
        run = self.config.run
        return backends.get(self.card.backend).owns_gpus and run.runner == "FnApiRunner" and run.pool is None


@dataclass(frozen=True, slots=True)
class Stage:
    """One Beam job: the shards to make and the body that makes them."""

    name: StageName
    specs: list[ShardSpec]
    body: StageBody
    schema: pa.Schema
    compression_level: int = 3

    @property
    def kind(self) -> StageKind:
        return self.body.kind


@dataclass(slots=True)
class Outcome:
    """What the graph returns at its end."""

    shards: list[tuple[str, FileRef]] = field(default_factory=list)  # domain and file
    index: list[FileRef] = field(default_factory=list)  # dedup keys of the accepted rows
    slices: dict[str, list[Slice]] = field(default_factory=dict)  # the passages used, by domain
    used: list[FileRef] = field(default_factory=list)  # their ids
    adapters: list[AdapterResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Graph = Generator[Stage, StageResult, Outcome]
ReadAdapters = Callable[[StageResult], Iterable[AdapterResult]]


def graph(run: Context, sources: Sequence[seeds.DomainFile], read_adapters: ReadAdapters | None = None) -> Graph:
    """seeds → used → generate → screen → dedup → adapt, then once more with the adapters → pack.

    Where a domain has a target of text, generate → screen → dedup come in waves, until it is met or no passage is left.
    `read_adapters` reads the result of training; a dry run gives its own.
    """
    config, outcome = run.config, Outcome()
    read = yield _seeds(run, sources)
    rounds, outcome.notes = choose(config, sources, read)
    outcome.slices = {name: [part for batch in rounds for part in batch[name]] for name in config.domains}
    if not any(outcome.slices.values()):
        return outcome
    reserved = yield _reserve(run, outcome.slices)
    outcome.used = [ref for _, ref in reserved.kept_files]

    accepted: dict[str, list[FileRef]] = {name: [] for name in config.domains}
    yields = {name: Yield() for name in config.domains}
    adapters: dict[str, dict[str, str]] = {}
    asked: dict[str, list[Slice]] = {name: [] for name in config.domains}
    for number, left in enumerate(rounds, 1):
        if number > 1:
            trained = yield _train(run, accepted)
            outcome.adapters = list((read_adapters or partial(_read_adapters, run))(trained))
            adapters = {result.domain: _adapter(run, result) for result in outcome.adapters if result.used}
        share = 1.0 if number == len(rounds) else 1 - config.adapt.share
        waves = 0
        part, left = wave(config, left, yields, share, first=True)
        while not waves or any(part.values()):
            waves += 1
            place = partial(StageName, round=number, wave=waves)
            generated = yield _generate(run, place, part, adapters)
            screened = yield _screen(run, place, generated)
            signed = yield _sign(run, place, screened)
            matched = yield _match(run, place, signed, outcome.index)
            unique = yield _drop(run, place, screened, signed, matched)
            outcome.index += [record.sides["index"] for record in unique.records if "index" in record.sides]
            for domain, ref in unique.kept_files:
                if ref.rows:
                    accepted[domain].append(ref)
            for domain, slices in part.items():
                asked[domain] += slices
                yields[domain].passages += sum(stop - start for _, start, stop in slices)
            for record in unique.records:
                yields[record.label].text_bytes += record.stats.text_bytes
            part, left = wave(config, left, yields, share, first=False)
    if any(
        domain.target_gb is not None for domain in config.domains.values()
    ):  # passages that were not needed are free
        outcome.slices = asked
        spent = yield _reserve(run, asked, spent=True)
        outcome.used = [ref for _, ref in spent.kept_files]
        outcome.notes += _unmet_targets(config, yields)
    packed = yield _pack(run, accepted)
    outcome.shards = packed.kept_files
    return outcome


def _unmet_targets(config: schema.Config, yields: dict[str, Yield]) -> list[str]:
    return [
        f"{name}: {yields[name].text_bytes / 1e9:.3g} GB of text accepted of target_gb {domain.target_gb:g}, from all "
        f"{yields[name].passages} passages that per_day and the sources had; raise per_day or add sources"
        for name, domain in config.domains.items()
        if domain.target_gb is not None and yields[name].text_bytes < domain.target_gb * 1e9
    ]


def _seeds(run: Context, sources: Sequence[seeds.DomainFile]) -> Stage:
    items = [
        Item(
            {"source": source.to_json(), "limit": run.config.domains[source.domain].per_day, "used": run.used},
            label=source.domain,
            key=[source.identity(run.config), [ref.sha256 for ref in run.used]],
        )
        for source in sources
    ]
    body = seeds.ReadSeeds(run.config, language.identify)
    return _stage(run, StageName, body, SEED, items, _dump(run.config, "seed"))


def _reserve(run: Context, slices: dict[str, list[Slice]], *, spent: bool = False) -> Stage:
    rows = sum(stop - start for parts in slices.values() for _, start, stop in parts)
    return _stage(run, StageName, seeds.ReserveSeeds(spent=spent), seeds.USED, [Item({"slices": slices}, rows)], {})


def _generate(run: Context, place: Place, chosen: dict[str, list[Slice]], adapters: dict[str, dict[str, str]]) -> Stage:
    config, items = run.config, []
    for domain, slices in chosen.items():
        adapter = adapters.get(domain)
        for batch in deal(slices, config.generate.shard_rows):
            payload = {"slices": batch, "adapter": adapter, "depth": 2 if adapter else 1}
            key = payload | {"adapter": adapter and adapter["sha256"], "tasks": config.domains[domain].tasks}
            items.append(Item(payload, sum(stop - start for _, start, stop in batch), domain, key))
    identity = _dump(config, "generate", "tasks", "seed") | _engine(run)
    each = config.generator.for_process(config.run.workers, adapters=config.adapt.enabled)
    threads = run.threads * config.run.workers if run.fleet else run.threads
    redact = partial(build.redact, config.screen.filters)
    body = generate.Generate(config, run.card, partial(backends.open_generator, each, run.card, threads), redact)
    return _stage(run, place, body, CANDIDATE, items, identity)


def _screen(run: Context, place: Place, generated: StageResult) -> Stage:
    config = run.config.screen
    encoder = partial(_open_encoder, config.encoder, run.threads) if config.encoder else None
    identity = _dump(run.config, "screen") | {"encoder": run.encoder and run.encoder.sha256, "data": run.filters}
    sketch = run.config.dedup.semantic is not None
    identity["sketch"] = sketch
    body = screen.Screen(partial(build.build_filters, config.filters, encoder, sketch=sketch))
    return one_shard_per_file(run, place, body, generated, identity)


def one_shard_per_file(
    run: Context, place: Place, body: StageBody, previous: StageResult, identity: dict[str, Any] | None = None
) -> Stage:
    """A stage from candidates to candidates. `identity`: what its rows depend on besides the body's payload."""
    items = [Item({"input": ref}, ref.rows, label) for label, ref in previous.kept_files]
    return _stage(run, place, body, CANDIDATE, items, identity or {})


def _sign(run: Context, place: Place, screened: StageResult) -> Stage:
    items = [
        Item({"input": ref, "shard": number}, ref.rows, label)
        for number, (label, ref) in enumerate(screened.kept_files)
    ]
    encoder = run.encoder.sha256 if run.encoder else ""
    identity = _dump(run.config, "dedup") | {"encoder": encoder}
    return _stage(run, place, Sign(run.config.dedup, encoder), KEY, items, identity)


def _match(run: Context, place: Place, signed: StageResult, index: list[FileRef]) -> Stage:
    history = [*index, *run.index]
    inputs = [ref for _, ref in signed.kept_files]
    parts = max(sum(ref.rows for ref in inputs) // KEYS_PER_MATCH_SHARD, 1)
    edges = [part * 2**64 // parts for part in range(parts)] + [2**64]
    items = [Item({"inputs": inputs, "history": history, "low": low, "high": high}) for low, high in pairwise(edges)]
    return _stage(run, place, Match(run.config.dedup), PAIR, items, _dump(run.config, "dedup"))


def _drop(run: Context, place: Place, screened: StageResult, signed: StageResult, matched: StageResult) -> Stage:
    pairs = [ref for _, ref in matched.kept_files]
    items = [
        Item({"input": ref, "signs": signs.kept, "shard": number, "pairs": pairs}, ref.rows, label)
        for number, ((label, ref), signs) in enumerate(zip(screened.kept_files, signed.records, strict=True))
        if signs.kept is not None
    ]
    return _stage(run, place, Drop(), CANDIDATE, items, {})


def _train(run: Context, accepted: dict[str, list[FileRef]]) -> Stage:
    config = run.config
    items = [Item({"inputs": refs}, 1, domain) for domain, refs in accepted.items()]
    trainer = partial(backends.open_trainer, config.adapt.lora, run.card, run.threads, config.seed)
    body = adapt.TrainAdapter(config.adapt, trainer, "adapters")
    return _stage(run, StageName, body, adapt.ADAPTER, items, _dump(config, "adapt", "seed") | _engine(run))


def _read_adapters(run: Context, trained: StageResult) -> Iterator[AdapterResult]:
    for _, ref in trained.kept_files:
        for batch in read_input(str(run.root), ref):
            yield from (AdapterResult(**row) for row in batch.to_pylist())


def _pack(run: Context, accepted: dict[str, list[FileRef]]) -> Stage:
    items = [
        Item(
            {"slices": part, "run_id": run.run_id, "date": run.date},
            sum(stop - start for _, start, stop in part),
            domain,
        )
        for domain, refs in accepted.items()
        for part in pack.divide(refs, run.config.shards.target_bytes)
    ]
    level = run.config.shards.compression_level
    stage = _stage(run, StageName, pack.Pack(), ROW, items, _dump(run.config, "shards"), level)
    numbers: Counter[str] = Counter()
    totals = Counter(spec.label for spec in stage.specs)
    for place, spec in enumerate(stage.specs):  # the files of each domain are numbered by themselves
        stage.specs[place] = spec._replace(number=numbers[spec.label], total=totals[spec.label])
        numbers[spec.label] += 1
    return stage


def _open_encoder(config: schema.Encoder, threads: int) -> Encoder:
    from model.encoder.encoder import open_encoder  # torch: only where rows are screened with an encoder

    return open_encoder(config, threads)


@dataclass(frozen=True, slots=True)
class Item:
    """One shard of a stage: its payload, the rows that go in, and what its content depends on (None: the payload)."""

    payload: dict[str, Any]
    rows: int = 0
    label: str = ""
    key: Any = None


def _stage(
    run: Context,
    place: Place,
    body: StageBody,
    schema: pa.Schema,
    items: Sequence[Item],
    identity: dict[str, Any],
    compression_level: int = 3,
) -> Stage:
    """`identity`: what all shards of the stage depend on, besides their payloads."""
    name = place(body.kind.name)
    specs = [
        ShardSpec(
            root=str(run.root),
            folder=f"{run.stages}/{name}",
            number=number,
            total=len(items),
            fingerprint=digest([STAGES_VERSION, str(name), identity, item.payload if item.key is None else item.key]),
            rows=item.rows,
            payload=json.dumps(item.payload),
            label=item.label,
        )
        for number, item in enumerate(items)
    ]
    return Stage(name, specs, body, schema, compression_level)


def _adapter(run: Context, result: AdapterResult) -> dict[str, str]:
    assert result.name is not None
    assert result.path is not None
    assert result.sha256 is not None
    return {"name": result.name, "path": str(run.root / result.path), "sha256": result.sha256}


def _dump(config: schema.Config, *sections: str) -> dict[str, Any]:
    return config.model_dump(mode="json", include=set(sections), by_alias=True)  # renamed keys: the names first hashed


def _engine(run: Context) -> dict[str, Any]:
    return {"model": run.card.sha256, "backend": run.card.backend, **run.config.generator.shard_identity()}

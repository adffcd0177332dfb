"""The graph of a run: which stages, in which order, on which inputs.

`graph` is a coroutine: it yields a stage, is sent that stage's manifest, and yields the next. Each stage is one
Beam job over shard specs; every decision that needs an earlier stage's counts is made here, from manifests alone.
"""

import json
from collections import Counter
from collections.abc import Generator, Sequence
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
from stages import adapt, generate, screen, seeds
from stages import pack as shards
from stages.dedup import match as dedup
from stages.execute import Body
from stages.ports import Encoder, ModelCard
from stages.record import CANDIDATE, ROW, SEED
from stages.storage.records import FileRef, Manifest, ShardSpec, read_input, stage_prefix

STAGES_VERSION = 4  # raise it when a stage's code makes other rows of the same input


@dataclass(frozen=True, slots=True)
class Context:
    """What a run is about, fixed when the date is begun."""

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
    name: str
    specs: list[ShardSpec]
    body: Body
    schema: pa.Schema
    engine: bool = False  # runs the generator: wants the accelerator
    vital: bool = False  # the run cannot go on without each of its shards
    level: int = 3


@dataclass(slots=True)
class Outcome:
    """What the graph ends with."""

    shards: list[tuple[str, FileRef]] = field(default_factory=list)  # domain and file
    index: list[FileRef] = field(default_factory=list)
    slices: dict[str, list[Slice]] = field(default_factory=dict)  # the seeds used, by domain
    used: list[FileRef] = field(default_factory=list)  # their ids
    adapters: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Graph = Generator[Stage, Manifest, Outcome]


def graph(run: Context, sources: Sequence[seeds.DomainFile]) -> Graph:
    """seeds → used → generate → screen → dedup → adapt, then once more with the adapters → shards.

    Where a domain has a target of text, generate → screen → dedup come in waves, until it is met or no passage is left.
    """
    config, outcome = run.config, Outcome()
    read = yield _seeds(run, sources)
    rounds, outcome.notes = choose(config, sources, read)
    outcome.slices = {name: [part for batch in rounds for part in batch[name]] for name in config.domains}
    if not any(outcome.slices.values()):
        return outcome
    reserved = yield _used(run, "used", outcome.slices)
    outcome.used = [ref for _, ref in reserved.made]

    accepted: dict[str, list[FileRef]] = {name: [] for name in config.domains}
    done = {name: Yield() for name in config.domains}
    adapters: dict[str, dict[str, str]] = {}
    index: list[FileRef] = []
    asked: dict[str, list[Slice]] = {name: [] for name in config.domains}
    for number, left in enumerate(rounds):
        if number:
            trained = yield _train(run, accepted)
            outcome.adapters = [
                row for _, ref in trained.made for batch in read_input(str(run.root), ref) for row in batch.to_pylist()
            ]
            adapters = {row["domain"]: _adapter(run, row) for row in outcome.adapters if row["used"]}
        share = 1.0 if number + 1 == len(rounds) else 1 - config.adapt.share
        waves = 0
        part, left = wave(config, left, done, share, first=True)
        while not waves or any(part.values()):
            waves += 1
            prefix = stage_prefix(adapted=number > 0, wave=waves)
            generated = yield _generate(run, f"{prefix}generate", part, adapters)
            screened = yield _screen(run, f"{prefix}screen", generated)
            signed = yield _sign(run, f"{prefix}dedup-sign", screened)
            matched = yield _match(run, f"{prefix}dedup-match", signed, index)
            unique = yield _drop(run, f"{prefix}dedup", screened, signed, matched)
            index += [record.sides["index"] for record in unique.records if "index" in record.sides]
            for domain, ref in unique.made:
                if ref.rows:
                    accepted[domain].append(ref)
            for domain, slices in part.items():
                asked[domain] += slices
                done[domain].passages += sum(stop - start for _, start, stop in slices)
            for record in unique.records:
                done[record.label].text_bytes += record.stats.get("text_bytes", 0)
            part, left = wave(config, left, done, share, first=False)
    outcome.index = index
    if any(domain.target_gb is not None for domain in config.domains.values()):  # what was kept for it goes back
        outcome.slices = asked
        spent = yield _used(run, "spent", asked)
        outcome.used = [ref for _, ref in spent.made]
        outcome.notes += _unmet(config, done)
    packed = yield _shards(run, accepted)
    outcome.shards = packed.made
    return outcome


def _unmet(config: schema.Config, done: dict[str, Yield]) -> list[str]:
    return [
        f"{name}: {done[name].text_bytes / 1e9:.3g} GB of text accepted of target_gb {domain.target_gb:g}, from all "
        f"{done[name].passages} passages that per_day and the sources had; raise per_day or add sources"
        for name, domain in config.domains.items()
        if domain.target_gb is not None and done[name].text_bytes < domain.target_gb * 1e9
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
    body = seeds.Read(run.config, language.identify)
    return Stage("seeds", _specs(run, "seeds", items, _dump(run.config, "seed")), body, SEED, vital=True)


def _used(run: Context, name: str, slices: dict[str, list[Slice]]) -> Stage:
    rows = sum(stop - start for parts in slices.values() for _, start, stop in parts)
    specs = _specs(run, name, [Item({"slices": slices}, rows)], {})
    return Stage(name, specs, seeds.Used(), seeds.USED, vital=True)


def _generate(run: Context, name: str, chosen: dict[str, list[Slice]], adapters: dict[str, dict[str, str]]) -> Stage:
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
    return Stage(name, _specs(run, name, items, identity), body, CANDIDATE, engine=True)


def _screen(run: Context, name: str, generated: Manifest) -> Stage:
    items = [Item({"input": ref}, ref.rows, label) for label, ref in generated.made]
    config = run.config.screen
    encoder = partial(_open_encoder, config.encoder, run.threads) if config.encoder else None
    identity = _dump(run.config, "screen") | {"encoder": run.encoder and run.encoder.sha256, "data": run.filters}
    sketch = run.config.dedup.semantic is not None
    identity["sketch"] = sketch
    body = screen.Screen(partial(build.build_filters, config.filters, encoder, sketch=sketch))
    return Stage(name, _specs(run, name, items, identity), body, CANDIDATE)


def _sign(run: Context, name: str, screened: Manifest) -> Stage:
    items = [Item({"input": ref, "shard": place}, ref.rows, label) for place, (label, ref) in enumerate(screened.made)]
    encoder = run.encoder.sha256 if run.encoder else ""
    identity = _dump(run.config, "dedup") | {"encoder": encoder}
    return Stage(name, _specs(run, name, items, identity), dedup.Sign(run.config.dedup, encoder), dedup.KEY)


def _match(run: Context, name: str, signed: Manifest, index: list[FileRef]) -> Stage:
    history = [*index, *run.index]
    inputs = [ref for _, ref in signed.made]
    parts = max(sum(ref.rows for ref in inputs) // MATCH_KEYS, 1)
    edges = [part * 2**64 // parts for part in range(parts)] + [2**64]
    items = [Item({"inputs": inputs, "history": history, "low": low, "high": high}) for low, high in pairwise(edges)]
    specs = _specs(run, name, items, _dump(run.config, "dedup"))
    return Stage(name, specs, dedup.Match(run.config.dedup), dedup.PAIR, vital=True)


def _drop(run: Context, name: str, screened: Manifest, signed: Manifest, matched: Manifest) -> Stage:
    pairs = [ref for _, ref in matched.made]
    items = [
        Item({"input": ref, "signs": sign.kept, "shard": place, "pairs": pairs}, ref.rows, label)
        for place, ((label, ref), sign) in enumerate(zip(screened.made, signed.records, strict=True))
        if sign.kept is not None
    ]
    return Stage(name, _specs(run, name, items, {}), dedup.Drop(), CANDIDATE)


def _train(run: Context, accepted: dict[str, list[FileRef]]) -> Stage:
    config = run.config
    items = [Item({"inputs": refs}, 1, domain) for domain, refs in accepted.items()]
    identity = _dump(config, "adapt", "seed") | _engine(run)
    trainer = partial(backends.open_trainer, config.adapt.lora, run.card, run.threads, config.seed)
    body = adapt.Train(config.adapt, trainer, "adapters")
    return Stage("adapt", _specs(run, "adapt", items, identity), body, adapt.ADAPTER, engine=True)


def _shards(run: Context, accepted: dict[str, list[FileRef]]) -> Stage:
    items = [
        Item(
            {"slices": part, "run_id": run.run_id, "date": run.date},
            sum(stop - start for _, start, stop in part),
            domain,
        )
        for domain, refs in accepted.items()
        for part in shards.pack(refs, run.config.shards.target_bytes)
    ]
    specs = _specs(run, "shards", items, _dump(run.config, "shards"))
    place: Counter[str] = Counter()
    total = Counter(spec.label for spec in specs)
    for number, spec in enumerate(specs):  # a domain's files are numbered by themselves
        specs[number] = spec._replace(number=place[spec.label], total=total[spec.label])
        place[spec.label] += 1
    return Stage("shards", specs, shards.Pack(), ROW, level=run.config.shards.compression_level)


def _open_encoder(config: schema.Encoder, threads: int) -> Encoder:
    from model.encoder.encoder import open_encoder  # torch: only where rows are screened with an encoder

    return open_encoder(config, threads)


MATCH_KEYS = 4_000_000  # of one match shard: some 300 MB


@dataclass(frozen=True, slots=True)
class Item:
    """One shard to be: its payload, the rows that go in, and what of the payload its output depends on."""

    payload: dict[str, Any]
    rows: int = 0
    label: str = ""
    key: Any = None


def _specs(run: Context, stage: str, items: Sequence[Item], identity: dict[str, Any]) -> list[ShardSpec]:
    return [
        ShardSpec(
            root=str(run.root),
            stage=f"{run.stages}/{stage}",
            number=number,
            total=len(items),
            fingerprint=digest([STAGES_VERSION, stage, identity, item.payload if item.key is None else item.key]),
            rows=item.rows,
            payload=json.dumps(item.payload),
            label=item.label,
        )
        for number, item in enumerate(items)
    ]


def _adapter(run: Context, row: dict[str, Any]) -> dict[str, str]:
    return {"name": row["name"], "path": str(run.root / row["path"]), "sha256": row["sha256"]}


def _dump(config: schema.Config, *sections: str) -> dict[str, Any]:
    return config.model_dump(mode="json", include=set(sections), by_alias=True)  # renamed keys: the names first hashed


def _engine(run: Context) -> dict[str, Any]:
    return {"model": run.card.sha256, "backend": run.card.backend, **run.config.generator.shard_identity()}

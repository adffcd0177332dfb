"""The graph of a run: which stages, in which order, on which inputs.

`graph` is a coroutine: it yields a stage, is sent that stage's result, and yields the next. Every decision that needs
counts of an earlier stage is made here, from the records of its shards.

To add a stage, write its body in `stages`, a function here that builds it, and a `yield` at its place in `graph`.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, pairwise
from typing import Any

from filters import build, language
from model import backends
from model.encoder import open_encoder, open_verifier
from pipeline.run import allocation
from pipeline.run.allocation import Slice, passages
from pipeline.run.stage_specs import Context, NameStage, ServedAdapter, ShardInput, Stage, build_stage
from pipeline.run.waves import Waves
from pipeline.store.manifest import AdapterResult
from stages import adapt, generate, pack, screen, seeds
from stages.body import StageBody
from stages.dedup.drop import Drop
from stages.dedup.keys import KEY, PAIR
from stages.dedup.match import Match
from stages.dedup.sign import Sign
from stages.evolve.collect import COLLECTED, CollectAnswers, JudgedFiles
from stages.record import CANDIDATE, ROW, SEED
from stages.storage.inputs import read_input
from stages.storage.records import FileRef, StageResult
from stages.storage.stage import StageName

KEYS_PER_MATCH_SHARD = 4_000_000  # about 300 MB of memory
CANDIDATES_PER_ANSWERS_SHARD = 20_000


@dataclass(slots=True)
class Outcome:
    """What a date publishes, as the graph returns it at its end."""

    shards: list[tuple[str, FileRef]] = field(default_factory=list)  # domain and file
    index: list[FileRef] = field(default_factory=list)  # dedup keys of the accepted rows
    slices: dict[str, list[Slice]] = field(default_factory=dict)  # the passages that were used, by domain
    used: list[FileRef] = field(default_factory=list)  # the ids of these passages
    answers: list[FileRef] = field(default_factory=list)  # all answers to passages that got several, for training
    adapters: list[AdapterResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Graph = Generator[Stage, StageResult, Outcome]
ReadAdapters = Callable[[StageResult], Iterable[AdapterResult]]


def graph(run: Context, sources: Sequence[seeds.DomainFile], read_adapters: ReadAdapters | None = None) -> Graph:
    """Yields the stages of a date: seeds → used → (generate → screen → dedup) → pack; with `evolve` then answers.

    When adapters are trained, the part in parentheses comes twice, with the training in between. Where a domain has a
    target of text, or the run a limit of time, it comes in waves until that is reached or no passage is left.

    Args:
        run: what the run depends on.
        sources: the files of all domains.
        read_adapters: reads the result of the training; a dry run passes its own.
    """
    config, outcome = run.config, Outcome()
    read = yield _seeds(run, sources)
    rounds, outcome.notes = allocation.choose_passages(config, sources, read)
    outcome.notes += allocation.tasks_left_out(config, run.card)
    outcome.slices = {name: [part for batch in rounds for part in batch[name]] for name in config.domains}
    if not any(outcome.slices.values()):
        return outcome
    reserved = yield _reserve(run, outcome.slices)
    outcome.used = [ref for _, ref in reserved.kept_files]

    waves = Waves(config.domains)
    adapters = {
        name: ServedAdapter.create(run, each.adapter, each.round + 1)
        for name, each in run.champions.items()
        if each.adapter
    }
    for number, remaining in enumerate(rounds, 1):
        if number > 1:
            trained = yield _train(run, waves.accepted)
            outcome.adapters = list((read_adapters or partial(_read_adapters, run))(trained))
            adapters = {
                result.domain: ServedAdapter.create(run, result, 2) for result in outcome.adapters if result.used
            }
        target_share = 1.0 if number == len(rounds) else 1 - config.adapt.share
        for wave in count(1):
            chosen, remaining = allocation.next_wave(
                config, remaining, waves.yields, target_share, waves.busy_seconds, first=wave == 1
            )
            if wave > 1 and not any(chosen.values()):
                break
            name_stage = partial(StageName, round=number, wave=wave)
            generated = yield _generate(run, name_stage, chosen, adapters)
            screened = yield _screen(run, name_stage, generated)
            signed = yield _sign(run, name_stage, screened)
            matched = yield _match(run, name_stage, signed, waves.index)
            unique = yield _drop(run, name_stage, screened, signed, matched)
            waves.add(chosen, generated, screened, signed, unique)
    outcome.index = waves.index
    left = {name: passages(outcome.slices[name]) - waves.yields[name].passages for name in config.domains}
    productive = waves.productive
    if any(left.values()) or (any(productive.values()) and productive != waves.passages):
        # release the passages that no target needed or time allowed, and those of domains that made no row
        outcome.slices = waves.passages
        spent = yield _reserve(run, productive, spent=True)
        outcome.used = [ref for _, ref in spent.kept_files]
    outcome.notes += allocation.shortfalls(config, waves.yields, left)
    packed = yield _pack(run, waves.accepted)
    outcome.shards = packed.kept_files
    if config.evolve is not None and config.generate.samples > 1:
        collected = yield _collect(run, waves.judged)
        outcome.answers = [ref for _, ref in collected.kept_files if ref.rows]
    return outcome


def _seeds(run: Context, sources: Sequence[seeds.DomainFile]) -> Stage:
    inputs = [
        ShardInput(
            {"source": source.to_json(), "limit": run.config.domains[source.domain].per_day, "used": run.used},
            label=source.domain,
            key=[source.identity(run.config), [ref.sha256 for ref in run.used]],
        )
        for source in sources
    ]
    body = seeds.ReadSeeds(run.config, language.identify)
    return build_stage(run, StageName, body, SEED, inputs, run.config_sections("seed"))


def _reserve(run: Context, slices: dict[str, list[Slice]], *, spent: bool = False) -> Stage:
    """Records the ids of passages, so that no other date uses them. `spent`: at the end, only those that were used."""
    rows = sum(stop - start for parts in slices.values() for _, start, stop in parts)
    body = seeds.ReserveSeeds(spent=spent)
    return build_stage(run, StageName, body, seeds.USED, [ShardInput({"slices": slices}, rows)], {})


def _generate(
    run: Context, name_stage: NameStage, chosen: dict[str, list[Slice]], adapters: dict[str, ServedAdapter]
) -> Stage:
    config, inputs = run.config, []
    for domain, slices in chosen.items():
        adapter, depth = adapters.get(domain, (None, 1))
        options = config.domains[domain]
        for batch in allocation.cut_into_shards(slices, config.generate.shard_rows):
            payload = {"slices": batch, "adapter": adapter, "depth": depth}
            key = payload | {"adapter": adapter and adapter["sha256"], "tasks": options.tasks}
            if options.task_weights:  # unset in the fingerprints of earlier versions
                key["task_weights"] = options.task_weights
            rows = math.ceil(sum(stop - start for _, start, stop in batch) * config.generate.answers_per_passage)
            inputs.append(ShardInput(payload, rows, domain, key))
    identity = run.config_sections("generate", "tasks", "seed") | run.generator_identity()
    generator = config.generator.for_process(config.run.workers, adapters=config.adapt.enabled or bool(adapters))
    threads = run.threads * config.run.workers if run.fleet else run.threads
    redact = partial(build.redact, config.screen.filters)
    body = generate.Generate(config, run.card, partial(backends.open_generator, generator, run.card, threads), redact)
    return build_stage(run, name_stage, body, CANDIDATE, inputs, identity)


def _screen(run: Context, name_stage: NameStage, generated: StageResult) -> Stage:
    config = run.config.screen
    encoder = partial(open_encoder, config.encoder, run.threads) if config.encoder else None
    identity = run.config_sections("screen") | {"encoder": run.encoder and run.encoder.sha256, "data": run.filters}
    sketch = run.config.dedup.semantic is not None
    identity["sketch"] = sketch
    verifier = partial(open_verifier, threads=run.threads)
    filters = partial(build.build_filters, config.filters, encoder, sketch=sketch, open_verifier=verifier)
    keep_scores = run.config.evolve is not None
    if keep_scores:  # not in the fingerprints of other runs
        identity["scores"] = True
    body = screen.Screen(filters, config.prefer, partial(build.redact, config.filters), keep_scores=keep_scores)
    return one_shard_per_file(run, name_stage, body, generated, identity)


def one_shard_per_file(
    run: Context, name_stage: NameStage, body: StageBody, previous: StageResult, identity: dict[str, Any] | None = None
) -> Stage:
    """A stage from candidates to candidates. `identity`: what its rows depend on besides the body's payload."""
    inputs = [ShardInput({"input": ref}, ref.rows, label) for label, ref in previous.kept_files]
    return build_stage(run, name_stage, body, CANDIDATE, inputs, identity or {})


def _sign(run: Context, name_stage: NameStage, screened: StageResult) -> Stage:
    inputs = [
        ShardInput({"input": ref, "shard": number}, ref.rows, label)
        for number, (label, ref) in enumerate(screened.kept_files)
    ]
    encoder = run.encoder.sha256 if run.encoder else ""
    identity = run.config_sections("dedup") | {"encoder": encoder}
    return build_stage(run, name_stage, Sign(run.config.dedup, encoder), KEY, inputs, identity)


def _match(run: Context, name_stage: NameStage, signed: StageResult, index: list[FileRef]) -> Stage:
    history = [*index, *run.index]
    keys = [ref for _, ref in signed.kept_files]
    parts = max(sum(ref.rows for ref in keys) // KEYS_PER_MATCH_SHARD, 1)
    edges = [part * 2**64 // parts for part in range(parts)] + [2**64]
    inputs = [
        ShardInput({"inputs": keys, "history": history, "low": low, "high": high}) for low, high in pairwise(edges)
    ]
    return build_stage(run, name_stage, Match(run.config.dedup), PAIR, inputs, run.config_sections("dedup"))


def _drop(
    run: Context, name_stage: NameStage, screened: StageResult, signed: StageResult, matched: StageResult
) -> Stage:
    pairs = [ref for _, ref in matched.kept_files]
    inputs = [
        ShardInput({"input": ref, "signs": signs.kept, "shard": number, "pairs": pairs}, ref.rows, label)
        for number, ((label, ref), signs) in enumerate(zip(screened.kept_files, signed.records, strict=True))
        if signs.kept is not None
    ]
    return build_stage(run, name_stage, Drop(), CANDIDATE, inputs, {})


def _train(run: Context, accepted: dict[str, list[FileRef]]) -> Stage:
    config = run.config
    inputs = [ShardInput({"inputs": refs}, 1, domain) for domain, refs in accepted.items()]
    options = config.generator.chat_template_kwargs
    trainer = partial(backends.open_trainer, config.adapt.lora, run.card, run.threads, config.seed, options)
    body = adapt.TrainAdapter(config.adapt, trainer, "adapters", partial(build.redact, config.screen.filters))
    identity = run.config_sections("adapt", "seed") | run.generator_identity()
    return build_stage(run, StageName, body, adapt.ADAPTER, inputs, identity)


def _read_adapters(run: Context, trained: StageResult) -> Iterator[AdapterResult]:
    for _, ref in trained.kept_files:
        for batch in read_input(str(run.root), ref):
            yield from (AdapterResult(**row) for row in batch.to_pylist())


def _pack(run: Context, accepted: dict[str, list[FileRef]]) -> Stage:
    inputs = [
        ShardInput(
            {"slices": part, "run_id": run.run_id, "date": run.date},
            sum(stop - start for _, start, stop in part),
            domain,
        )
        for domain, refs in accepted.items()
        for part in pack.divide(refs, run.config.shards.target_bytes)
    ]
    level = run.config.shards.compression_level
    stage = build_stage(run, StageName, pack.Pack(), ROW, inputs, run.config_sections("shards"), level)
    numbers: Counter[str] = Counter()
    totals = Counter(spec.label for spec in stage.specs)
    for position, spec in enumerate(stage.specs):  # the files of each domain are numbered from 0
        stage.specs[position] = spec._replace(number=numbers[spec.label], total=totals[spec.label])
        numbers[spec.label] += 1
    return stage


def _collect(run: Context, judged: Mapping[str, Sequence[JudgedFiles]]) -> Stage:
    """Keeps the answers of the date for the loop. `judged`: by domain, the files of each shard of candidates."""
    inputs = []
    for domain, shards in judged.items():
        start, rows = 0, 0
        for stop, shard in enumerate(shards, 1):
            rows += shard.candidates.rows
            if rows >= CANDIDATES_PER_ANSWERS_SHARD or stop == len(shards):
                inputs.append(ShardInput({"files": shards[start:stop], "date": run.date}, rows, domain))
                start, rows = stop, 0
    body = CollectAnswers(partial(build.redact, run.config.screen.filters))
    return build_stage(run, StageName, body, COLLECTED, inputs, run.config_sections("screen"))

"""The graph of a date's evolution: which stages, in which order, on which inputs.

`graph` is a coroutine like that of a run: it yields a stage, is sent its result, and yields the next.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any

from configs.schema import FilterSpec
from filters import build, language
from model import backends
from model.encoder import open_encoder, open_verifier
from pipeline.evolve.evolution import DomainOutcome, Evolution, Outcome
from pipeline.run.allocation import cut_into_shards, divide_over_files
from pipeline.run.champions import with_champions
from pipeline.run.stage_specs import NameStage, ServedAdapter, ShardInput, Stage, build_stage
from pipeline.store.registry import Variant, VariantAdapter
from stages.evolve import fit, pairs, probe, students
from stages.evolve.answer import ProbeAnswer, arrow_schema
from stages.evolve.passages import ROLES, GatherPassages, ReadPassages
from stages.evolve.roles import Role
from stages.ports import Encoder
from stages.record import CANDIDATE, SEED
from stages.seeds import DomainFile
from stages.storage.inputs import read_input
from stages.storage.records import FileRef, StageResult
from stages.storage.stage import StageName

DRAWS_PER_SHARD = 2
HIDDEN = (FilterSpec.model_validate({"name": "support", "min_share": 0.5}), FilterSpec(name="grounded"))

Graph = Generator[Stage, StageResult, Outcome]


def graph(
    evolution: Evolution, sources: Sequence[DomainFile], opens_vault: Callable[[str, DomainOutcome], bool]
) -> Graph:
    """Yields the stages of a date: passages → pairs → fit → probe-generate → probe-screen → students → vault.

    Args:
        evolution: what it depends on.
        sources: the files of all domains.
        opens_vault: whether a domain's challenger passed the first test, from its outcome so far.
    """
    outcome = {name: DomainOutcome(candidate) for name, candidate in evolution.candidates.items()}
    read = yield _passages(evolution, sources)
    gathered = yield _gather(evolution, sources, read)
    for record in gathered.records:
        kept = {ROLES[0]: record.kept} if record.kept else {}
        outcome[record.label].passages = {**kept, **record.sides}  # pyright: ignore[reportAttributeAccessIssue]
    trained = [name for name, each in outcome.items() if each.candidate.needs_training and not each.candidate.reason]
    if trained:
        chosen = yield _pairs(evolution, trained, outcome)
        for record in chosen.records:
            outcome[record.label].examples = [ref for ref in (record.kept,) if ref]
            outcome[record.label].choices = [ref for name, ref in record.sides.items() if name == "choice"]
        fitted = yield _fit(evolution, trained, outcome)
        for label, ref in fitted.kept_files:
            outcome[label].training = next(_rows(evolution, ref))
    for name, each in outcome.items():
        each.arms = _arms(evolution, name, each)
    probed = {name: each for name, each in outcome.items() if len(each.arms) > 1 and "probe" in each.passages}
    if not probed:
        return outcome
    generate, generators = _probe_generate(evolution, probed)
    generated = yield generate
    judged = yield _probe_screen(evolution, generators, generated)
    for label, ref in judged.kept_files:
        probed[label].answers.append(ref)
    learnt = yield _students(evolution, probed, "held-out", StageName)
    for label, ref in learnt.kept_files:
        probed[label].students.append(ref)
    opened = {name: each for name, each in probed.items() if "vault" in each.passages and opens_vault(name, each)}
    if opened:
        in_vault = yield _students(evolution, opened, "vault", lambda kind: StageName("vault"))
        for label, ref in in_vault.kept_files:
            opened[label].vault.append(ref)
    return outcome


def _passages(evolution: Evolution, sources: Sequence[DomainFile]) -> Stage:
    limits, options = evolution.passages, evolution.options
    inputs = [
        ShardInput(
            {"source": source.to_json(), "limits": limits, "date": evolution.run.date},
            label=source.domain,
            key=[source.identity(evolution.config), limits, evolution.run.date, options.measured_share],
        )
        for source in sources
    ]
    body = ReadPassages(evolution.config, language.identify)
    return build_stage(evolution.run, StageName, body, SEED, inputs, evolution.run.config_sections("seed"))


def _gather(evolution: Evolution, sources: Sequence[DomainFile], read: StageResult) -> Stage:
    """Of all files of a domain, as many passages of each role as are wanted, by the weights of its sources."""
    inputs = []
    for name, domain in evolution.config.domains.items():
        slices: dict[str, list[Any]] = {}
        for role, count in evolution.passages.items():
            files = [
                (source, ref)
                for source, record in zip(sources, read.records, strict=True)
                if source.domain == name
                if (ref := record.kept if role == ROLES[0] else record.sides.get(role)) and ref.rows
            ]
            parts = divide_over_files(domain, files, count)
            slices[role] = [[ref, 0, part] for (_, ref), part in zip(files, parts, strict=True) if part]
        rows = sum(stop for _, _, stop in slices[ROLES[0]])
        inputs.append(ShardInput({"slices": slices}, rows, name))
    return build_stage(evolution.run, StageName, GatherPassages(), SEED, inputs, {})


def _pairs(evolution: Evolution, domains: Sequence[str], outcome: Outcome) -> Stage:
    files = [ref for answers in evolution.record.answers for ref in answers.files]
    inputs = [
        ShardInput(
            {
                "answers": files,
                "passages": [ref] if (ref := outcome[name].passages.get("train")) else [],
                "measured": [ref for role, ref in outcome[name].passages.items() if role != "train"],
                "kind": outcome[name].candidate.kind,
            },
            1,
            name,
        )
        for name in domains
    ]
    identity = evolution.run.config_sections("evolve", "seed")
    body = pairs.ChoosePairs(evolution.options, partial(build.redact, evolution.config.screen.filters))
    return build_stage(evolution.run, StageName, body, pairs.EXAMPLE, inputs, identity)


def _fit(evolution: Evolution, domains: Sequence[str], outcome: Outcome) -> Stage:
    run, config = evolution.run, evolution.config
    inputs = []
    for name in domains:
        champion = evolution.record.pointers[name].champion
        start = champion.adapter if outcome[name].candidate.kind == "dpo" else None
        payload = {
            "kind": outcome[name].candidate.kind,
            "examples": outcome[name].examples,
            "choices": outcome[name].choices,
            "start": start and {"name": start.name, "sha256": start.sha256, "path": start.path},
        }
        inputs.append(ShardInput(payload, 1, name))
    template = config.generator.chat_template_kwargs
    trainer = partial(backends.open_trainer, evolution.options.lora, run.card, run.threads, config.seed, template)
    body = fit.FitCandidate(trainer, "adapters")
    identity = run.config_sections("evolve", "seed") | run.generator_identity()
    return build_stage(run, StageName, body, fit.FIT, inputs, identity)


def _arms(evolution: Evolution, name: str, outcome: DomainOutcome) -> dict[str, Variant]:
    """The generators that write about the probes. Without a challenger and without a champion on trial, only base."""
    pointer, candidate = evolution.record.pointers[name], outcome.candidate
    arms = {"base": Variant()}
    if not pointer.champion.is_base:
        arms["champion"] = pointer.champion
        if pointer.rejudgements_left and pointer.previous and not pointer.previous[-1].is_base:
            arms["previous"] = pointer.previous[-1]
    challenger = candidate.variant
    if candidate.needs_training:
        row = outcome.training
        if not row or not row["trained"]:
            return arms if pointer.rejudgements_left else {"base": Variant()}
        adapter = VariantAdapter(name=row["name"], sha256=row["sha256"], path=row["path"])
        challenger = challenger.model_copy(
            update={
                "adapter": adapter,
                "round": pointer.champion.round + 1,
                "trained_on": {answers.date: answers.digest for answers in evolution.record.answers},
                "measured_share": evolution.options.measured_share,
            }
        )
    elif not candidate.kind or candidate.reason:
        return arms if pointer.rejudgements_left else {"base": Variant()}
    return arms | {"challenger": challenger}


def _probe_generate(evolution: Evolution, probed: Outcome) -> tuple[Stage, list[tuple[str, str]]]:
    """The stage, and the domain and generator of each of its shards."""
    run, inputs, generators = evolution.run, [], []
    one_answer = evolution.config.generate.model_copy(update={"samples": 1, "likelihood": _likelihood(evolution)})
    plain = evolution.config.model_copy(update={"generate": one_answer})
    configs = {
        generator: with_champions(
            plain, {name: each.arms[generator] for name, each in probed.items() if generator in each.arms}
        )
        for generator in dict.fromkeys(generator for each in probed.values() for generator in each.arms)
    }
    for name, each in probed.items():
        ref = each.passages["probe"]
        for generator, variant in each.arms.items():
            served = variant.adapter and ServedAdapter.create(run, variant.adapter, variant.round + 1)
            adapter, depth = served or (None, 1)
            domain = configs[generator].domains[name].model_dump(mode="json", include={"tasks", "task_weights"})
            for batch in cut_into_shards([(ref, 0, ref.rows)], one_answer.shard_rows):
                payload = {"slices": batch, "adapter": adapter, "depth": depth, "generator": generator}
                key = payload | {"adapter": adapter and adapter["sha256"], "domain": domain, "generator": ""}
                inputs.append(ShardInput(payload, sum(stop - start for _, start, stop in batch), name, key))
                generators.append((name, generator))
    options = plain.generator.for_process(plain.run.workers, adapters=True)
    threads = run.threads * plain.run.workers if run.fleet else run.threads
    redact = partial(build.redact, plain.screen.filters)
    open_generator = partial(backends.open_generator, options, run.card, threads)
    body = probe.ProbeGenerate(configs, run.card, open_generator, redact)
    identity = run.config_sections("generate", "tasks", "seed") | run.generator_identity()
    return build_stage(run, StageName, body, CANDIDATE, inputs, identity), generators


def _likelihood(evolution: Evolution) -> bool:
    backend = backends.get(evolution.run.card.backend)
    return evolution.config.generate.likelihood and backend.scores_with_adapters


def _probe_screen(evolution: Evolution, generators: Sequence[tuple[str, str]], generated: StageResult) -> Stage:
    run, config = evolution.run, evolution.config
    inputs = []
    for (name, generator), record in zip(generators, generated.records, strict=True):
        tokens = record.stats.prompt_tokens + record.stats.output_tokens
        payload = {"input": record.kept, "rejects": record.rejects, "tokens": tokens, "generator": generator}
        payload["plants"] = generator == "base"
        inputs.append(ShardInput(payload, record.rows_in, name))
    hidden = evolution.options.hidden or HIDDEN
    identity = run.config_sections("screen") | {
        "encoder": run.encoder and run.encoder.sha256,
        "data": run.filters,
        "hidden": [spec.model_dump(mode="json") for spec in hidden],
    }
    encoder = partial(open_encoder, config.screen.encoder, run.threads) if config.screen.encoder else None
    verifier = partial(open_verifier, threads=run.threads)
    body = probe.JudgeProbes(partial(_probe_filters, config.screen.filters, hidden, encoder, verifier))
    return build_stage(run, StageName, body, arrow_schema(ProbeAnswer), inputs, identity)


def _probe_filters(
    screen: Sequence[FilterSpec],
    hidden: Sequence[FilterSpec],
    encoder: Callable[[], Encoder] | None,
    verifier: build.OpenVerifier,
) -> probe.ProbeFilters:
    return probe.ProbeFilters(
        build.build_filters(screen, encoder, open_verifier=verifier),
        build.build_filters(hidden, encoder, open_verifier=verifier),
    )


def _students(evolution: Evolution, probed: Outcome, role: Role, name_stage: NameStage) -> Stage:
    inputs, draws = [], range(evolution.options.draws)
    for name, each in probed.items():
        for first in range(0, len(draws), DRAWS_PER_SHARD):
            payload = {
                "domain": name,
                "draws": list(draws[first : first + DRAWS_PER_SHARD]),
                "salt": f"{evolution.run.date} {role}",
                "answers": each.answers,
                "passages": [each.passages["probe"]],
                "core": [each.passages["core"]] if "core" in each.passages else [],
                "held_out": [each.passages[role]] if role in each.passages else [],
            }
            inputs.append(ShardInput(payload, 1, name))
    return build_stage(evolution.run, name_stage, students.TrainStudents(), students.STUDENT, inputs, {})


def _rows(evolution: Evolution, ref: FileRef) -> Iterator[dict[str, Any]]:
    for batch in read_input(str(evolution.run.root), ref):
        yield from batch.to_pylist()

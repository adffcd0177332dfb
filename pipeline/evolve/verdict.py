"""Verdicts: turns what the stages of a date committed into the decisions that the registry keeps."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pipeline.evolve.evolution import DomainOutcome, Evolution
from pipeline.evolve.gate import Decision, judge, judge_vault, rejudge
from pipeline.evolve.measurement import (
    BAD,
    BASE,
    CHALLENGER,
    GOOD,
    PREVIOUS,
    Measurement,
    TrainingMix,
    arm_figures,
)
from pipeline.store.registry import EvolveVerdict, Variant, is_decided
from pipeline.store.registry_files import Registry
from stages.evolve.answer import ProbeAnswer
from stages.evolve.students import StudentFigure
from stages.storage.inputs import read_input
from stages.storage.records import FileRef


def opens_vault(evolution: Evolution, domain: str, outcome: DomainOutcome) -> bool:
    """Whether the domain's challenger passed the first test, and the champion, if it is on trial, stays."""
    if CHALLENGER not in outcome.arms:
        return False
    measurement = _measurement(evolution, domain, outcome)
    trial = _trial(evolution, measurement)
    return (trial is None or trial.passed) and _first_test(evolution, measurement).passed


def verdicts_on(
    evolution: Evolution, registry: Registry, domain: str, outcome: DomainOutcome
) -> Iterator[EvolveVerdict]:
    """The verdicts of a date in one domain, in their order: on the champion while it is on trial, on the candidate.

    A champion that is rolled back ends the date: no candidate takes its place at once. Commit each before the next is
    asked for. Those that an earlier start committed are left out.
    """
    earlier = registry.verdicts_on(domain, evolution.record.date)
    if is_decided(earlier):
        return
    pointer, candidate = evolution.record.pointers[domain], outcome.candidate
    measurement = _measurement(evolution, domain, outcome) if outcome.answers else None
    common: dict[str, Any] = {
        "domain": domain,
        "date": evolution.record.date,
        "base_sha256": evolution.record.generator.sha256,
        "champion": pointer.champion,
        "arms": _figures(measurement, outcome),
    }
    trial = _trial(evolution, measurement) if measurement else None
    if trial and not earlier:
        status = "kept" if trial.passed else "rolled back"
        yield _verdict(registry, common, status=status, kind="rejudge", checks=trial.checks, reason=trial.reason)
        if not trial.passed:
            return
    common["kind"], common["challenger"] = candidate.kind, outcome.arms.get(CHALLENGER)
    common["training"] = _training_figures(outcome)
    if measurement is None or CHALLENGER not in outcome.arms:
        yield _verdict(registry, common, status="kept", reason=_why_none(outcome))
        return
    first = _first_test(evolution, measurement)
    if not first.passed:
        yield _verdict(registry, common, status="refused", checks=first.checks, reason=first.reason)
        return
    second = _second_test(evolution, domain, measurement)
    checks = (*first.checks, *second.checks)
    common["alpha"] = second.alpha
    if second.passed:
        days = evolution.options.rejudge_dates
        reason = f"{first.reason}; {second.reason}"
        yield _verdict(registry, common, status="promoted", checks=checks, reason=reason, rejudge_dates=days)
    else:
        yield _verdict(registry, common, status="refused", checks=checks, reason=second.reason)


def _first_test(evolution: Evolution, measurement: Measurement) -> Decision:
    return judge(measurement, evolution.options.gate, real_share=_real_share(evolution, measurement.domain))


def _real_share(evolution: Evolution, domain: str) -> float:
    """The least share of real text in training. Preferences have none: they start from a generator that learnt some."""
    return evolution.options.real_share if evolution.candidates[domain].kind == "sft" else 0.0


def _second_test(evolution: Evolution, domain: str, measurement: Measurement) -> Decision:
    openings = evolution.record.pointers[domain].vault_openings
    return judge_vault(measurement, evolution.options.gate, openings=openings)


def _trial(evolution: Evolution, measurement: Measurement) -> Decision | None:
    """The champion against the one before it, which may be the base model; None if it is not on trial."""
    pointer = evolution.record.pointers[measurement.domain]
    if not pointer.rejudgements_left or pointer.champion.is_base:
        return None
    if PREVIOUS not in measurement.answers:
        aliases = {PREVIOUS: measurement.answers[BASE]}
        rows = [replace(row, generator=PREVIOUS) for row in measurement.students if row.generator == BASE]
        measurement = replace(
            measurement,
            variants={**measurement.variants, PREVIOUS: measurement.variants[BASE]},
            answers={**measurement.answers, **aliases},
            students=[*measurement.students, *rows],
        )
    return rejudge(measurement, evolution.options.gate)


def _verdict(registry: Registry, common: dict[str, Any], **figures: Any) -> EvolveVerdict:
    number = registry.read(common["domain"]).last_verdict + 1
    decided = datetime.now(UTC).isoformat(timespec="seconds")
    return EvolveVerdict(**common | figures | {"number": number, "decided": decided})


def _why_none(outcome: DomainOutcome) -> str:
    """Why no challenger was judged."""
    if outcome.candidate.reason:
        return outcome.candidate.reason
    if outcome.training and not outcome.training["trained"]:
        return str(outcome.training["reason"])
    if "probe" not in outcome.passages:
        return "no passage to measure with: documents for it are evolve.measured_share of all; add sources or raise it"
    return "nothing was trained: no examples"


def _measurement(evolution: Evolution, domain: str, outcome: DomainOutcome) -> Measurement:
    answers: dict[str, list[ProbeAnswer]] = {}
    for row in _rows(evolution, outcome.answers):
        answers.setdefault(row["generator"], []).append(ProbeAnswer(**row))
    # the base model is measured anew beside each champion; without one it is the champion
    variants = {arm: variant.id for arm, variant in outcome.arms.items()} | dict.fromkeys((GOOD, BAD), "planted")
    training, champion = outcome.training, evolution.record.pointers[domain].champion
    core = outcome.passages.get("core")
    return Measurement(
        domain=domain,
        variants=variants,
        answers=answers,
        students=[StudentFigure(**row) for row in _rows(evolution, outcome.students)],
        core=[row["text"] for row in _rows(evolution, [core] if core else [])],
        vault=[StudentFigure(**row) for row in _rows(evolution, outcome.vault)],
        training=_mix(training) if training else None,
        champion_training=_champion_mix(evolution, domain, champion) if outcome.candidate.kind == "sft" else None,
        trains=outcome.candidate.needs_training,
    )


def _champion_mix(evolution: Evolution, domain: str, champion: Variant) -> TrainingMix | None:
    """What the champion's adapter was trained on, from the verdict that made it champion."""
    if champion.adapter is None:
        return None
    history = Registry(evolution.run.root).history(domain)
    promotions = (
        v for v in history if v.status == "promoted" and v.challenger and v.challenger.adapter == champion.adapter
    )
    verdict = next(
        (v for v in promotions if v.kind == "sft"), None
    )  # a later change of the tasks' weights trained nothing
    if verdict is None or not verdict.training:
        return None
    return TrainingMix(int(verdict.training["examples"]), int(verdict.training["real_examples"]))


def _mix(row: dict[str, Any]) -> TrainingMix:
    best = min((each["loss"] for each in row["losses"] or ()), default=None)
    return TrainingMix(row["examples"] or 0, row["real_examples"] or 0, best, row["loss_after"])


def _training_figures(outcome: DomainOutcome) -> dict[str, float]:
    row = outcome.training or {}
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float) and value is not True}


def _figures(measurement: Measurement | None, outcome: DomainOutcome) -> dict[str, Any]:
    if measurement is None:
        return {}
    return {arm: arm_figures(measurement, arm) for arm in outcome.arms if arm in measurement.answers}


def _rows(evolution: Evolution, refs: Sequence[FileRef]) -> Iterator[dict[str, Any]]:
    """Rows of committed files. Raises InputError when one is damaged."""
    for ref in refs:
        for batch in read_input(str(evolution.run.root), ref):
            yield from batch.to_pylist()

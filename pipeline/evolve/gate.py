"""The gate: is the challenger taken? Everything is decided from figures, and the reason is for people.

A challenger has to teach students more of real text than the champion at equal cost, no less at equal text, and pass
the guards. What passes is tested once more on the vault, at a level that falls with each of its openings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.schema.evolve import Gate
from pipeline.evolve.guards import guard
from pipeline.evolve.interval import relative_gain
from pipeline.evolve.measurement import (
    BAD,
    BASE,
    CHALLENGER,
    CHAMPION,
    GOOD,
    PREVIOUS,
    TITLES,
    Measurement,
    bits_by_draw,
    is_right,
)
from pipeline.evolve.paired import Pair
from pipeline.store.registry import Check
from stages.evolve.answer import ProbeAnswer
from stages.evolve.students import StudentFigure
from stages.storage.utf8 import utf8_size

MIN_PLANTED_GAP = 0.3  # between the shares of planted good and bad answers that the verifier holds right

_KNOWN_AS = {"cost": "at equal cost", "tokens": "at equal text"}


@dataclass(frozen=True, slots=True)
class Decision:
    """`passed`: the challenger is taken (of a re-judgement: the champion stays). `alpha`: level of the vault's test."""

    passed: bool
    checks: tuple[Check, ...]
    reason: str
    alpha: float | None = None


def judge(measurement: Measurement, gate: Gate, *, real_share: float) -> Decision:
    """The first test, on held-out documents of the date: utility, yield and guards, all of which have to pass.

    `real_share`: the least share of real text among training examples (`evolve.real_share`). Where the champion is the
    base model, either of the two arms may be missing.
    """
    against = references(measurement)
    checks = [
        *_utility(measurement.students, measurement, gate, against[0], gate.alpha),
        *_yield(measurement, gate, against[0]),
        *_planted(measurement),
        *guard(measurement, gate, against, real_share),
    ]
    return _decision(checks)


def judge_vault(measurement: Measurement, gate: Gate, *, openings: int) -> Decision:
    """The second test, on the vault: utility at equal cost alone, at the level of its next opening.

    `openings`: how often the domain's vault was opened before.
    """
    alpha = vault_alpha(openings + 1, gate.alpha)
    checks = _utility(measurement.vault, measurement, gate, references(measurement)[0], alpha, ("cost",), "vault: ")
    return replace(_decision(checks), alpha=alpha)


def vault_alpha(opening: int, alpha: float) -> float:
    """The level of the vault's test at its 1st, 2nd, … opening: 6 alpha / (pi t)^2. All of them sum to `alpha`."""
    return 6 * alpha / (math.pi * opening) ** 2


def rejudge(measurement: Measurement, gate: Gate) -> Decision:
    """The champion against the one before it. `passed`: it stays.

    It is rolled back where it is measurably worse: utility's upper bound is below 0, or a guard fails on a figure. A
    guard that has too little to judge from is recorded, and rolls nothing back.
    """
    roles = {CHAMPION: CHALLENGER, PREVIOUS: PREVIOUS}
    turned = replace(
        measurement,
        variants={roles[arm]: measurement.variants[arm] for arm in roles},
        answers={roles[arm]: measurement.answers.get(arm, ()) for arm in roles},
        students=[
            replace(row, generator=roles[row.generator]) for row in measurement.students if row.generator in roles
        ],
        trains=False,
    )
    utility = _utility(turned.students, turned, gate, PREVIOUS, gate.alpha, lost=True)
    checks = (*utility, *guard(turned, gate, (PREVIOUS,), 0.0))
    harm = [check for check in checks if not check.passed and check.value is not None]
    if harm:
        return Decision(False, checks, _sentences(harm))
    unknown = [check for check in checks if not check.passed]
    reason = f"stays; not everything could be judged: {_sentences(unknown)}" if unknown else "stays"
    return Decision(True, checks, reason)


def references(measurement: Measurement) -> tuple[str, ...]:
    """The arms that the challenger is compared with: the champion, and the base model where that is another one."""
    arms = [arm for arm in (CHAMPION, BASE) if arm in measurement.answers]
    if not arms or CHALLENGER not in measurement.answers:
        raise ValueError(f"needs answers of the challenger and of champion or base, not {sorted(measurement.answers)}")
    variants = {measurement.variants[arm]: arm for arm in reversed(arms)}
    return tuple(arm for arm in arms if variants[measurement.variants[arm]] == arm)


def _utility(
    students: Sequence[StudentFigure],
    measurement: Measurement,
    gate: Gate,
    arm: str,
    alpha: float,
    budgets: Sequence[str] = ("cost", "tokens"),
    prefix: str = "",
    *,
    lost: bool = False,
) -> list[Check]:
    """Bits saved on real text. Passed: the lower end is above the limit; with `lost`: the upper end is not below 0."""
    checks = []
    for budget in budgets:
        name = f"{prefix}utility {_KNOWN_AS[budget]}"
        limit = 0.0 if budget == "cost" or lost else gate.min_gain_at_equal_tokens
        try:
            gain = relative_gain(*(bits_by_draw(students, who, budget) for who in (CHALLENGER, arm)), alpha=alpha)
        except ValueError as error:
            meaning = f"{_KNOWN_AS[budget]} nothing can be said: {error}"
            checks.append(
                Check(name=name, passed=False, against=measurement.variants[arm], limit=limit, meaning=meaning)
            )
            continue
        more = f"{abs(gain.value):.2%} {'more' if gain.value >= 0 else 'less'} of real text"
        passed = gain.high >= 0 if lost else gain.low > limit
        meaning = (
            f"{_KNOWN_AS[budget]} students know {more} than after the {TITLES[arm]}'s rows, with an interval from "
            f"{gain.low:+.2%} to {gain.high:+.2%}"
        )
        if not passed and not lost:
            meaning += f", and its lower end has to be above {limit:.2%}"
        checks.append(
            Check(
                name=name,
                passed=passed,
                against=measurement.variants[arm],
                value=gain.value,
                low=gain.low,
                high=gain.high,
                limit=limit,
                meaning=meaning,
            )
        )
    return checks


def _yield(measurement: Measurement, gate: Gate, arm: str) -> list[Check]:
    """Bytes of accepted text per token of prompts and answers: a proxy for throughput that depends on no clock."""
    pair = Pair(measurement.answers[CHALLENGER], measurement.answers[arm])
    if any(not any(row.accepted for row in rows) for rows in pair.arms):
        return []  # the guards say that there are too few rows
    ours, theirs = pair.values(_bytes_per_token)
    change = pair.change(_bytes_per_token, alpha=gate.alpha, relative=True)
    meaning = (
        f"a token of prompts and answers yields {ours:.2f} bytes of accepted text, the {TITLES[arm]}'s {theirs:.2f}; "
        "it may not be fewer beyond chance"
    )
    return [
        Check(
            name="yield",
            passed=change.high >= 0,
            against=measurement.variants[arm],
            value=change.value,
            low=change.low,
            high=change.high,
            limit=0.0,
            meaning=meaning,
        )
    ]


def _bytes_per_token(rows: Sequence[ProbeAnswer], weights: np.ndarray) -> np.ndarray:
    size = np.array([utf8_size(row.text) * row.accepted for row in rows], float)
    return weights @ size / np.maximum(weights @ np.array([row.tokens for row in rows], float), 1e-9)


def _planted(measurement: Measurement) -> list[Check]:
    """The verifier has to score planted good answers above bad ones; one whose arguments are swapped does not."""
    if GOOD not in measurement.answers and BAD not in measurement.answers:
        return []
    good, bad = (
        sum(map(is_right, rows)) / max(len(rows), 1)
        for rows in (measurement.answers.get(GOOD, ()), measurement.answers.get(BAD, ()))
    )
    return [
        Check(
            name="planted answers",
            passed=good - bad >= MIN_PLANTED_GAP,
            value=good - bad,
            limit=MIN_PLANTED_GAP,
            meaning=f"the verifier holds {good:.0%} of planted good answers right and {bad:.0%} of planted bad ones",
        )
    ]


def _decision(checks: Sequence[Check]) -> Decision:
    failed = [check for check in checks if not check.passed]
    if failed:
        return Decision(False, tuple(checks), _sentences(failed))
    gains = [check for check in checks if "utility" in check.name]
    return Decision(True, tuple(checks), _sentences(gains))


def _sentences(checks: Sequence[Check]) -> str:
    """Their meanings, each once, with the check's name where the meaning is that of a guard."""
    texts = [check.meaning if "utility" in check.name else f"{check.name}: {check.meaning}" for check in checks]
    return "; ".join(dict.fromkeys(texts))

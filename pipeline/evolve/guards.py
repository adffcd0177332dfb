"""Guards: what may not get worse while utility gets better. Each one stops a way in which loops collapse.

A challenger has to keep the limits of `evolve.gate` against the champion and against the base model. Where a figure of
a few hundred answers moves more by chance than its limit allows, the change also has to be more than chance explains.
Too few rows pass nothing.
"""

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from configs.schema.evolve import Gate
from filters.text.words import ngrams, words
from pipeline.evolve.measurement import (
    CHALLENGER,
    TITLES,
    Measurement,
    TrainingMix,
    counts_for_rightness,
    is_right,
    judged_tasks,
)
from pipeline.evolve.paired import Pair, coverage, covered, mean_length, median_of, share_of
from pipeline.store.registry import Check
from stages.evolve.answer import ProbeAnswer
from stages.evolve.student import ByteStudent
from stages.storage.utf8 import utf8, utf8_size

MIN_ACCEPTED = 30  # accepted answers of each arm; with fewer no figure below means anything
MIN_CORE_CHARS = 10_000  # of real text, for the surprise of answers
CHANCE = 0.005  # how often a guard may take chance for a change; there are a dozen of them, against two arms
MAX_CHARS_PER_ANSWER = 2000  # for compression ratio and distinct 3-grams
MIN_RISE = 1.5  # of accepted answers: from there on the hidden filters have to keep more answers too
_SHARE_TOLERANCE = 0.01  # of the real share: examples are whole

_Guard = Callable[[Measurement, str, Pair, Gate], Iterator[Check]]


def guard(measurement: Measurement, gate: Gate, against: Sequence[str], real_share: float) -> list[Check]:
    """All guards on the challenger.

    `against`: arms of the measurement, each tested by itself. `real_share`: the least share of real text among the
    examples that the challenger was trained on.
    """
    checks = _training(measurement, real_share)
    challenger = measurement.answers.get(CHALLENGER, ())
    for arm in against:
        reference, name = measurement.answers.get(arm, ()), measurement.variants[arm]
        scarce = [
            f"{who} has {count} accepted answers"
            for who, rows in (("it", challenger), (f"the {TITLES[arm]}", reference))
            if (count := sum(row.accepted for row in rows)) < MIN_ACCEPTED
        ]
        meaning = f"{' and '.join(scarce)}; no guard can judge fewer than {MIN_ACCEPTED}" if scarce else (
            f"both have at least {MIN_ACCEPTED} accepted answers"
        )  # fmt: skip
        checks.append(Check(name="rows", against=name, passed=not scarce, limit=MIN_ACCEPTED, meaning=meaning))
        if not scarce:
            pair = Pair(challenger, reference)
            for each in _GUARDS:
                checks += [check.model_copy(update={"against": name}) for check in each(measurement, arm, pair, gate)]
    return checks


def _training(measurement: Measurement, least: float) -> list[Check]:
    """Real share: at least the configured one, and not shrinking. The best step, not the last."""
    if not measurement.trains:
        return []
    mix, before = measurement.training, measurement.champion_training
    if mix is None or not mix.examples:
        meaning = "nothing is known of the examples that the challenger was trained on"
        return [Check(name="real share", passed=False, limit=least, meaning=meaning)]
    share, limit = mix.real / mix.examples, least
    meaning = f"{share:.0%} of {mix.examples:,} training examples are real text; at least {least:.0%} must be"
    if before and before.examples and (earlier := before.real / before.examples) > limit:
        limit, meaning = earlier, f"{meaning}, and no less than the champion's {earlier:.0%}"
    checks = [
        Check(name="real share", passed=share >= limit - _SHARE_TOLERANCE, value=share, limit=limit, meaning=meaning)
    ]
    return checks + _best_step(mix)


def _best_step(mix: TrainingMix) -> list[Check]:
    if mix.loss is None or mix.best_loss is None:
        return []
    meaning = f"the step that is used has a held-out loss of {mix.loss:.4f}, the best step {mix.best_loss:.4f}"
    passed = mix.loss <= mix.best_loss
    return [Check(name="best step", passed=passed, value=mix.loss, limit=mix.best_loss, meaning=meaning)]


def _different(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """An adapter that was silently not applied writes what its reference writes."""
    if measurement.variants[CHALLENGER] == measurement.variants[arm]:
        return
    ours, theirs = ({(row.seed_id, row.task, row.answer) for row in rows} for rows in pair.arms)
    same = len(ours & theirs) / max(len(ours), 1)
    meaning = f"{same:.0%} of its answers are, word for word, those of the {TITLES[arm]}"
    if same == 1:
        meaning += ": its adapter was not applied"
    yield Check(name="different answers", passed=same < 1, value=same, limit=1.0, meaning=meaning)


def _diversity(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """Compression ratio and distinct 3-grams of accepted answers, at equal length (Shaib et al. 2024)."""
    limit = gate.max_diversity_loss_to_base if arm == "base" else gate.max_diversity_loss
    texts = [_texts(rows) for rows in pair.arms]
    size = min(map(len, texts))
    (ratio, distinct), (ratio_before, distinct_before) = (diversity(text[:size]) for text in texts)
    for name, loss in (("compression", ratio / ratio_before - 1), ("distinct 3-grams", 1 - distinct / distinct_before)):
        what = "compress better by" if name == "compression" else "have fewer distinct 3-grams of words, by"
        meaning = (
            f"at equal length accepted answers {what} {loss:.1%} than those of the {TITLES[arm]}; at most {limit:.0%}"
        )
        yield Check(name=name, passed=loss <= limit, value=loss, limit=limit, meaning=meaning)


def _texts(rows: Sequence[ProbeAnswer]) -> str:
    """Accepted answers in the order of their passages' ids, which are hashes."""
    accepted = sorted((row for row in rows if row.accepted), key=lambda row: (row.seed_id, row.task, row.answer))
    return "\n".join(row.answer[:MAX_CHARS_PER_ANSWER] for row in accepted)


def diversity(text: str) -> tuple[float, float]:
    """Compression ratio (bytes by bytes after zlib) and the share of distinct 3-grams of words."""
    data = utf8(text)
    grams = Counter(ngrams(words(text), 3))
    return max(len(data), 1) / len(zlib.compress(data, 6)), max(len(grams), 1) / max(grams.total(), 1)


def _coverage(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """The effective number of passages with accepted answers, and the largest share of a source.

    That fewer passages have an accepted answer may be chance; more answers for each of these passages is not excused.
    """
    ours, theirs = pair.values(coverage)
    accepted, accepted_before = (sum(row.accepted for row in rows) for rows in pair.arms)
    crowded = (ours / accepted) / (theirs / accepted_before)
    fewer = pair.change(covered, alpha=CHANCE, relative=True)
    yield Check(
        name="coverage",
        passed=crowded >= gate.min_coverage and (ours / theirs >= gate.min_coverage or fewer.high >= 0),
        value=ours / theirs,
        limit=gate.min_coverage,
        meaning=f"{accepted} accepted answers cover {ours:.0f} passages (e to the entropy), {accepted_before} of the "
        f"{TITLES[arm]} {theirs:.0f}",
    )
    offered = Counter(dict((row.seed_id, row.source) for rows in pair.arms for row in rows).values())
    taken, before = (Counter(row.source for row in rows if row.accepted) for rows in pair.arms)
    worst = max(sorted(taken), key=lambda name: taken[name] / offered[name])
    share = offered[worst] / offered.total()
    limit = max(gate.max_source_share * share, before[worst] / before.total())
    expected = limit * taken.total()
    passed = taken[worst] <= expected + 2 * math.sqrt(expected)
    yield Check(
        name="source share",
        passed=passed,
        value=taken[worst] / taken.total(),
        limit=limit,
        meaning=f"{taken[worst] / taken.total():.0%} of accepted answers are about {worst}, {share:.0%} of the "
        f"passages are; at most {gate.max_source_share:g} times that, or as many as the {TITLES[arm]} has",
    )


def _copying(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """The median share of copied words among accepted answers."""
    if any(all(row.copied is None for row in rows if row.accepted) for rows in pair.arms):
        meaning = "no accepted answer has a share of copied words; screen.filters needs prompt_echo"
        yield Check(name="copying", passed=False, limit=gate.max_copying, meaning=meaning)
        return
    figure = median_of(lambda row: row.copied)
    change = pair.change(figure, alpha=CHANCE)
    ours, theirs = pair.values(figure)
    yield Check(
        name="copying",
        passed=change.value <= gate.max_copying or change.low <= 0,
        value=change.value,
        low=change.low,
        high=change.high,
        limit=gate.max_copying,
        meaning=f"half of the accepted answers copy at least {ours:.0%} of their words; {TITLES[arm]}: {theirs:.0%}",
    )


def _length(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """The mean length of accepted answers, in both directions."""
    change = pair.change(mean_length, alpha=CHANCE, relative=True)
    ours, theirs = pair.values(mean_length)
    yield Check(
        name="length",
        passed=abs(change.value) <= gate.max_length_change or change.low <= 0 <= change.high,
        value=change.value,
        low=change.low,
        high=change.high,
        limit=gate.max_length_change,
        meaning=f"accepted answers have {ours:.0f} characters, those of the {TITLES[arm]} {theirs:.0f}",
    )


def _surprise(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """Percentiles of bits per byte of accepted answers: text that says only what is likely loses the tails.

    The measure is an n-gram model of real core passages, not the base model's likelihood: it costs no GPU and is the
    same for each base model.
    """
    if sum(len(text) for text in measurement.core) < MIN_CORE_CHARS:
        meaning = f"the core has less than {MIN_CORE_CHARS:,} characters of real text to measure with (evolve.core)"
        yield Check(name="surprise", passed=False, limit=gate.max_surprise_change, meaning=meaning)
        return
    student = _student(tuple(measurement.core))
    ours, theirs = (_percentiles(student, rows) for rows in pair.arms)
    for percentile, value, before in zip(_PERCENTILES, ours, theirs, strict=True):
        change = value / before - 1
        yield Check(
            name=f"surprise p{percentile}",
            passed=abs(change) <= gate.max_surprise_change,
            value=change,
            limit=gate.max_surprise_change,
            meaning=f"{percentile} % of accepted answers take at most {value:.2f} bits per byte after real text, of "
            f"the {TITLES[arm]}'s {before:.2f}",
        )


_PERCENTILES = (10, 50, 90)


@lru_cache(maxsize=1)
def _student(core: tuple[str, ...]) -> ByteStudent:
    return ByteStudent.train(core)


def _percentiles(student: ByteStudent, rows: Sequence[ProbeAnswer]) -> np.ndarray:
    texts = [row.answer for row in rows if row.accepted and row.answer]
    return np.percentile(student.bits_of(texts) / [utf8_size(text) for text in texts], _PERCENTILES)


def _hidden(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """The share of accepted answers that filters keep which no run uses: it falls if only the screen was learnt.

    Chance excuses twice the limit at most: with few accepted answers it would excuse whatever this guard is for.

    A challenger with r times as many accepted answers, r ≥ MIN_RISE, is refused below 1 / √r of the reference's share:
    halfway, on a log scale, between "they keep none of the additional answers" (1 / r) and "the share is the same".
    Where the hidden filters keep few answers of anybody, no difference of a few points would show it.
    """
    if any(all(row.hidden is None for row in rows if row.accepted) for rows in pair.arms):
        meaning = "no hidden filter judged any accepted answer (evolve.hidden)"
        yield Check(name="hidden screen", passed=False, limit=gate.max_hidden_gap, meaning=meaning)
        return
    figure = share_of(lambda row: row.hidden, lambda row: row.accepted and row.hidden is not None)
    change = pair.change(figure, alpha=gate.alpha)
    ours, theirs = pair.values(figure)
    accepted, accepted_before = (sum(row.accepted for row in rows) for rows in pair.arms)
    rise = accepted / accepted_before
    is_excused = change.high >= 0 and change.value >= -2 * gate.max_hidden_gap
    is_over_optimised = rise >= MIN_RISE and ours < theirs / math.sqrt(rise)
    yield Check(
        name="hidden screen",
        passed=not is_over_optimised and (change.value >= -gate.max_hidden_gap or is_excused),
        value=change.value,
        low=change.low,
        high=change.high,
        limit=-gate.max_hidden_gap,
        meaning=f"the hidden filters keep {ours:.0%} of the {accepted} accepted answers, of the {TITLES[arm]}'s "
        f"{accepted_before} {theirs:.0%}",
    )


def _rightness(measurement: Measurement, arm: str, pair: Pair, gate: Gate) -> Iterator[Check]:
    """The share of all answers that the verifier holds right, accepted or not: it may not fall beyond chance."""
    tasks = judged_tasks(measurement.answers)
    if not tasks:
        meaning = (
            "the verifier judged no answer: screen.filters or evolve.hidden needs grounded, in a language it reads"
        )
        yield Check(name="rightness", passed=False, limit=-gate.max_rightness_loss, meaning=meaning)
        return
    figure = share_of(is_right, lambda row: counts_for_rightness(row, tasks))
    change = pair.change(figure, alpha=gate.alpha)
    ours, theirs = pair.values(figure)
    yield Check(
        name="rightness",
        passed=change.high >= -gate.max_rightness_loss,
        value=change.value,
        low=change.low,
        high=change.high,
        limit=-gate.max_rightness_loss,
        meaning=f"the verifier holds {ours:.1%} of all answers right, of the {TITLES[arm]}'s {theirs:.1%}",
    )


_GUARDS: tuple[_Guard, ...] = (
    _different, _diversity, _coverage, _copying, _length, _surprise, _hidden, _rightness,
)  # fmt: skip

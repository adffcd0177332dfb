"""Eight ways in which a generator collapses, each planted in a challenger, and the guards that are to see it."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.evolve.trial import MIX, Day
from benchmarks.evolve.writer import Writer, judged
from pipeline.evolve.measurement import CHALLENGER, TrainingMix
from stages.evolve.answer import ProbeAnswer
from stages.evolve.student import ByteStudent
from stages.record import Seed

_ANSWERS_TO_CHOOSE_FROM = 3


@dataclass(frozen=True)
class Collapse:
    """`guards`: at least one of these has to fail. `answers`: those of the challenger."""

    name: str
    guards: tuple[str, ...]
    answers: Callable[[Day, Writer], list[ProbeAnswer]]
    training: TrainingMix = MIX


def _plain(day: Day, writer: Writer) -> list[ProbeAnswer]:
    return day.written(writer)


def _cold(day: Day, writer: Writer) -> list[ProbeAnswer]:
    """As at temperature 0.2: the same few clauses and words everywhere."""
    common = [word for word, _ in Counter(day.texts.vocabulary).most_common(30)]
    return day.written(replace(writer, clauses=day.texts.clauses[:6], vocabulary=common, knowledge=1.0))


def _flood(day: Day, writer: Writer) -> list[ProbeAnswer]:
    """Three answers in ten are about one passage, which is easy to write about: the screen keeps most of them."""
    choice, passages = random.Random(writer.seed), day.passages["probe"]
    support = {row.seed_id: row.rightness or 0.0 for row in day.champion if row.accepted}
    easy = next(passage for passage in passages if passage.id == max(support, key=lambda seed: support[seed]))
    written = []
    for place, passage in enumerate(passages):
        about = easy if choice.random() < 0.3 else passage
        written.append((about, replace(writer, seed=f"{writer.seed} {place}", refused=0.0).answer(about)))
    return judged(CHALLENGER, written)


def _copies(day: Day, writer: Writer) -> list[ProbeAnswer]:
    """Passages as answers, with as many other words as the screen's limit on copies asks for."""
    return day.written(replace(writer, reworded=0.03))


def _terse(day: Day, writer: Writer) -> list[ProbeAnswer]:
    """Two thirds of each answer."""
    written = [(passage, writer.answer(passage)) for passage in day.passages["probe"]]
    return judged(CHALLENGER, [(passage, text[: 2 * len(text) // 3]) for passage, text in written])


def _likely(day: Day, writer: Writer) -> list[ProbeAnswer]:
    """Common words, and the clauses that are the least surprising after real text."""
    common = [word for word, _ in Counter(day.texts.vocabulary).most_common(300)]
    student = ByteStudent.train([seed.text for seed in day.texts.by_role["train"]])
    bits = student.bits_of(day.texts.clauses) / [len(clause.encode()) for clause in day.texts.clauses]
    likely = [day.texts.clauses[place] for place in np.argsort(bits)[: len(bits) // 20]]
    return day.written(replace(writer, vocabulary=common, clauses=likely, knowledge=1.0))


def _templates(day: Day, writer: Writer) -> list[ProbeAnswer]:
    """Of several answers one that the screen keeps and the hidden filter does not."""
    tries = [day.written(replace(writer, seed=f"{writer.seed} {n}")) for n in range(_ANSWERS_TO_CHOOSE_FROM)]
    return [max(rows, key=lambda row: (row.accepted, row.hidden is False)) for rows in zip(*tries, strict=True)]


def _memorised(day: Day, writer: Writer) -> list[ProbeAnswer]:
    """Half of the answers are ones of the training, whatever the passage."""
    choice = random.Random(writer.seed)
    training = [writer.answer(passage) for passage in day.texts.by_role["train"][:40]]
    written: list[tuple[Seed, str]] = []
    for passage in day.passages["probe"]:
        written.append((passage, choice.choice(training) if choice.random() < 0.5 else writer.answer(passage)))
    return judged(CHALLENGER, written)


COLLAPSES = (
    Collapse("rows replaced", ("real share",), _plain, TrainingMix(examples=1000, real=0)),
    Collapse("temperature 0.2", ("compression", "distinct 3-grams"), _cold),
    Collapse("flood from one passage", ("coverage",), _flood),
    Collapse("passages as answers", ("copying",), _copies),
    Collapse("terse", ("length",), _terse),
    Collapse("least surprising", ("surprise p10", "surprise p50", "surprise p90"), _likely),
    Collapse("templates that the screen likes", ("hidden screen",), _templates),
    Collapse("ten times the epochs", ("best step",), _memorised, replace(MIX, loss=1.3, best_loss=1.1)),
)

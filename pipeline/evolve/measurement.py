"""What a verdict rests on: answers of all arms, figures of their students, and what the candidate was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.store.registry import ArmFigures
from stages.evolve.answer import PLANTED, ProbeAnswer
from stages.evolve.students import StudentFigure
from stages.storage.utf8 import utf8_size

BASE, CHAMPION, PREVIOUS, CHALLENGER = "base", "champion", "previous", "challenger"
TITLES = {BASE: "base model", CHAMPION: "champion", PREVIOUS: "previous champion"}  # in reasons
GOOD, BAD = PLANTED  # answers of known worth that are judged with the others
COPIES = "copy"  # the reason of answers that only copy the passage (filter prompt_echo)


@dataclass(frozen=True, slots=True)
class TrainingMix:
    """What an adapter was trained on. Losses are those of held-out examples, in nats a token."""

    examples: int
    real: int  # of them: real text, not a generator's
    best_loss: float | None = None  # of all steps that were evaluated
    loss: float | None = None  # of the step that is used


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measured passages of one domain: what each arm wrote about them, and what its students then knew.

    `variants`: by arm, the id of its variant. `answers`: by arm; also GOOD and BAD, where answers were planted.
    `students`, `vault`: figures on the held-out documents and on those of the vault (empty: not opened). `core`: real
    passages that nothing is trained on. `training`, `champion_training`: None where nothing was trained.
    """

    domain: str
    variants: Mapping[str, str]
    answers: Mapping[str, Sequence[ProbeAnswer]]
    students: Sequence[StudentFigure]
    core: Sequence[str]
    vault: Sequence[StudentFigure] = ()
    training: TrainingMix | None = None
    champion_training: TrainingMix | None = None
    trains: bool = True  # whether this kind of candidate is trained at all


def bits_by_draw(students: Sequence[StudentFigure], arm: str, budget: str) -> np.ndarray:
    """Bits [draws, documents] of one arm's students; both in the order of their names."""
    rows = sorted(
        (row.draw, row.document, row.bits) for row in students if row.generator == arm and row.budget == budget
    )
    draws, documents = {row[0] for row in rows}, {row[1] for row in rows}
    if len(rows) != len(draws) * len(documents):
        raise ValueError(f"students of {arm}, {budget}: {len(rows)} figures are not one for each draw and document")
    return np.array([bits for *_, bits in rows]).reshape(len(draws), len(documents))


def is_right(row: ProbeAnswer) -> bool:
    """Whether the verifier holds the answer right: its score is above that of an average answer."""
    return row.rightness is not None and row.rightness > 0


def judged_tasks(answers: Mapping[str, Sequence[ProbeAnswer]]) -> frozenset[str]:
    """The tasks that the verifier judges: those with a score for any arm's answer."""
    return frozenset(row.task for rows in answers.values() for row in rows if row.rightness is not None)


def counts_for_rightness(row: ProbeAnswer, tasks: frozenset[str]) -> bool:
    """Whether the answer counts for the share of right ones: the verifier judged it, or it was rejected unread."""
    return row.task in tasks and (row.rightness is not None or not row.accepted)


def arm_figures(measurement: Measurement, arm: str) -> ArmFigures:
    """What the verdict records of one arm."""
    answers = measurement.answers[arm]
    accepted = [row for row in answers if row.accepted]
    tasks = judged_tasks(measurement.answers)
    judged = [row for row in answers if counts_for_rightness(row, tasks)]
    copied = [row.copied for row in accepted if row.copied is not None]
    students = [row for row in measurement.students if row.generator == arm]
    return ArmFigures(
        variant=measurement.variants[arm],
        answers=len(answers),
        accepted=len(accepted),
        rightness=sum(map(is_right, judged)) / len(judged) if judged else None,
        copied=float(np.median(copied)) if copied else None,
        copies=sum(row.reason == COPIES for row in answers),
        tokens=sum(row.tokens for row in answers),
        text_bytes=sum(utf8_size(row.text) for row in accepted),
        mean_length=float(np.mean([len(row.answer) for row in accepted])) if accepted else 0.0,
        bits_per_byte={
            budget: sum(row.bits for row in students if row.budget == budget)
            / sum(row.bytes for row in students if row.budget == budget)
            for budget in sorted({row.budget for row in students})
        },
    )

"""One date of a domain: the arms write about its passages, and the gate judges the challenger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from benchmarks.evolve.texts import OPTIONS, Texts
from benchmarks.evolve.writer import Writer, write
from pipeline.evolve.gate import Decision, judge, judge_vault
from pipeline.evolve.measurement import BASE, CHALLENGER, CHAMPION, Measurement, TrainingMix
from stages.evolve.answer import ProbeAnswer
from stages.evolve.students import StudentFigure, train_students
from stages.record import Seed

MIX = TrainingMix(examples=1000, real=300)
_BASE_REFUSED = 0.35  # the base model's answers are cut off more often


@dataclass(frozen=True)
class Day:
    """The measured passages of one date, and what base model and champion wrote about them."""

    texts: Texts
    date: str

    @cached_property
    def passages(self) -> dict[str, list[Seed]]:
        """By role."""
        return self.texts.of_date(self.date)

    @cached_property
    def champion(self) -> list[ProbeAnswer]:
        """Of the writer that challengers are compared with."""
        return self.written(Writer(self.texts, f"champion {self.date}"))

    @cached_property
    def base(self) -> list[ProbeAnswer]:
        """Of a writer that is accepted less often."""
        return self.written(Writer(self.texts, f"base {self.date}", refused=_BASE_REFUSED))

    def written(self, writer: Writer) -> list[ProbeAnswer]:
        """A writer's answers to the date's probe passages."""
        return write(writer, CHAMPION, self.passages["probe"])

    def measured(self, challenger: Sequence[ProbeAnswer], training: TrainingMix = MIX) -> Measurement:
        """The arms' answers and the students on the date's held-out documents."""
        arms = {BASE: self.base, CHAMPION: self.champion, CHALLENGER: challenger}
        answers = {arm: [replace(row, generator=arm) for row in rows] for arm, rows in arms.items()}
        return Measurement(
            domain=self.texts.domain,
            variants={BASE: "base", CHAMPION: "c0", CHALLENGER: "c1"},
            answers=answers,
            students=self.students(answers, "held-out"),
            core=[seed.text for seed in self.passages["core"]],
            training=training,
            champion_training=MIX,
        )

    def students(self, answers: Mapping[str, Sequence[ProbeAnswer]], role: str) -> list[StudentFigure]:
        """Students of champion and challenger."""
        return train_students(
            {arm: answers[arm] for arm in (CHAMPION, CHALLENGER)},
            self.passages["probe"],
            self.passages["core"],
            self.passages[role],
            draws=range(OPTIONS.draws),
            salt=self.date,
        )

    def decide(self, measurement: Measurement, openings: int) -> Decision:
        """The first test, and where it is passed the vault's."""
        first = judge(measurement, OPTIONS.gate, real_share=OPTIONS.real_share)
        if not first.passed:
            return first
        opened = replace(measurement, vault=self.students(measurement.answers, "vault"))
        second = judge_vault(opened, OPTIONS.gate, openings=openings)
        return replace(second, checks=(*first.checks, *second.checks))

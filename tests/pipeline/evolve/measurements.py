"""A small measurement of generators: answers of all arms and figures of their students, good enough for the gate."""

import random
from dataclasses import replace

from pipeline.evolve.measurement import BASE, CHALLENGER, CHAMPION, Measurement, TrainingMix
from stages.evolve.answer import ProbeAnswer
from stages.evolve.students import StudentFigure

WORDS = [
    a + b for a in ("ten", "lea", "cour", "not", "dam", "par", "rem", "cla") for b in ("ant", "se", "t", "ice", "age")
]
PASSAGES, DRAWS, DOCUMENTS = 80, 6, 12


def sentence(choice, length=60):
    return " ".join(choice.choice(WORDS) + str(choice.randrange(50)) for _ in range(length)) + "."


def answers(generator, seed=0, length=60):
    """Three of four are accepted, the same passages for each seed."""
    choice = random.Random(f"{generator} {seed}")
    rows = []
    for number in range(PASSAGES):
        text, accepted = sentence(choice, length), number % 4 > 0
        rows.append(
            ProbeAnswer(
                generator=generator,
                domain="law",
                seed_id=f"{number * 7919 % 1000:03d}",
                document_id=f"d{number // 2}",
                source=f"source {number % 2}",
                task="explain",
                text=text,
                answer=text,
                accepted=accepted,
                reason="" if accepted else "unsupported",
                copied=choice.uniform(0.1, 0.3),
                rightness=choice.uniform(0.5, 1.5) if accepted else -1.0,
                hidden=choice.random() < 0.8 if accepted else None,
                tokens=200 + choice.randrange(20),
            )
        )
    return rows


def students(gain=0.02, gain_at_equal_tokens=0.0, noise=0.0005):
    """Figures in which the challenger's students need so much less than the champion's."""
    choice = random.Random(1)
    rows = []
    for draw in range(DRAWS):
        for document in range(DOCUMENTS):
            bits = 3000 * choice.uniform(0.8, 1.2)
            for budget, saved in (("cost", gain), ("tokens", gain_at_equal_tokens)):
                for arm, less in ((CHAMPION, 0.0), (CHALLENGER, saved)):
                    total = bits * (1 - less + choice.gauss(0, noise))
                    rows.append(StudentFigure(arm, "law", draw, budget, f"h{document}", total, 1000))
    return rows


def measurement(**changes):
    """A challenger that is a little better and passes; `changes` are other fields."""
    values = {
        "domain": "law",
        "variants": {BASE: "base", CHAMPION: "aaa", CHALLENGER: "bbb"},
        "answers": {arm: answers(arm) for arm in (BASE, CHAMPION, CHALLENGER)},
        "students": students(),
        "core": [sentence(random.Random(f"core {n}")) for n in range(40)],
        "vault": students(),
        "training": TrainingMix(examples=1000, real=310, best_loss=1.1, loss=1.1),
        "champion_training": TrainingMix(examples=900, real=280),
    }
    return Measurement(**values | changes)


def with_challenger(change, **changes):
    """The same with the challenger's accepted answers changed one by one: `change(number, answer)`."""
    base = measurement(**changes)
    rows = [change(number, row) for number, row in enumerate(base.answers[CHALLENGER])]
    return replace(base, answers={**base.answers, CHALLENGER: [row for row in rows if row is not None]})

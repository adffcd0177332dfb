"""Students: what the rows of each generator are worth, in bits per byte of real text that a student then needs.

A student learns real text and the rows that one generator (an arm) wrote about a random half of the measured passages.
The real text holds these passages themselves, so that a row that only copies its passage teaches nothing new. All arms
get the same half in the same order (they are paired) and one of two budgets: `tokens`, equal bytes of accepted text;
`cost`, equal tokens of the prompts and answers of all candidates, so that a generator whose answers are accepted more
often has more text. The budget is what the scarcest arm has on that half.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import pyarrow as pa

from stages.evolve.answer import PLANTED, ProbeAnswer
from stages.evolve.student_pool import StudentPool
from stages.record import Seed, content_id
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind
from stages.storage.utf8 import utf8, utf8_size
from stages.storage.writer import ShardWriter

BUDGETS = ("tokens", "cost")

STUDENT = pa.schema(
    [
        ("generator", pa.string()),  # base | champion | previous | challenger
        ("domain", pa.string()),
        ("draw", pa.int64()),
        ("budget", pa.string()),  # tokens | cost
        ("document", pa.string()),  # of the held-out passages
        ("bits", pa.float64()),  # of all of its passages
        ("bytes", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class StudentFigure:
    """A row of STUDENT: the bits of one held-out document for one student."""

    generator: str
    domain: str
    draw: int
    budget: str
    document: str
    bits: float
    bytes: int


class TrainStudents:
    """Payload: `domain`; `draws`, their numbers; `salt`, which changes the halves (the date); and FileRefs of `answers`
    (ProbeAnswers of all arms), `passages`, `core` and `held_out` (Seeds). Writes rows of STUDENT.

    One draw takes about a second; several draws in one shard share the reading of the texts.
    """

    kind = StageKind("students")

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        domain = payload["domain"]
        arms: dict[str, list[ProbeAnswer]] = {}
        for row in _rows(spec.root, payload["answers"], [field.name for field in fields(ProbeAnswer)]):
            if row["domain"] == domain and row["generator"] not in PLANTED:
                arms.setdefault(row["generator"], []).append(ProbeAnswer(**row))
        texts = [self._seeds(spec.root, payload[name], domain) for name in ("passages", "core", "held_out")]
        figures = train_students(arms, *texts, draws=payload["draws"], salt=payload["salt"])
        out.rows_in = len(figures)
        out.keep_rows(figures)

    @staticmethod
    def _seeds(root: str, refs: Iterable[Sequence], domain: str) -> list[Seed]:
        rows = _rows(root, refs, [field.name for field in fields(Seed)])
        return [Seed(**row) for row in rows if row["domain"] == domain]


def _rows(root: str, refs: Iterable[Sequence], columns: list[str]) -> Iterator[dict]:
    for ref in refs:
        for batch in read_input(root, FileRef(*ref), columns):
            yield from batch.to_pylist()


def train_students(
    arms: Mapping[str, Sequence[ProbeAnswer]],
    passages: Sequence[Seed],
    core: Sequence[Seed],
    held_out: Sequence[Seed],
    *,
    draws: Iterable[int],
    salt: str,
) -> list[StudentFigure]:
    """Trains a student for each draw, arm and budget and measures it on each held-out document.

    `arms`: by generator its answers to `passages`, all of one domain. The result does not depend on their order.
    """
    if not held_out:
        return []
    domain = held_out[0].domain
    lessons: list[tuple[str, int, str, list[str]]] = []  # generator, draw, budget, texts
    for draw in draws:
        half = random_half(passages, f"{salt} {domain} {draw}")
        real = [seed.text for seed in (*core, *half)]
        for generator, budget, rows in draw_rows(arms, [seed.id for seed in half]):
            lessons.append((generator, draw, budget, real + rows))
    column: dict[str, int] = {}
    for *_, texts in lessons:
        for text in texts:
            column.setdefault(text, len(column))
    chosen = np.zeros((len(lessons), len(column)), np.int32)
    for student, (*_, texts) in enumerate(lessons):
        np.add.at(chosen[student], [column[text] for text in texts], 1)
    documents: dict[str, int] = {}
    document = np.array([documents.setdefault(seed.document_id, len(documents)) for seed in held_out])
    sizes = np.bincount(document, [utf8_size(seed.text) for seed in held_out])
    bits = StudentPool(list(column), [seed.text for seed in held_out]).bits(chosen)
    return [
        StudentFigure(generator, domain, draw, budget, name, float(total), int(size))
        for (generator, draw, budget, _), of_passages in zip(lessons, bits, strict=True)
        for name, total, size in zip(documents, np.bincount(document, of_passages), sizes, strict=True)
    ]


def random_half(passages: Sequence[Seed], salt: str) -> list[Seed]:
    """Half of the passages (rounded up) in random order. It depends on their ids and `salt` alone."""
    ordered = sorted(passages, key=lambda seed: seed.id)
    order = np.random.default_rng(int(content_id(salt), 16)).permutation(len(ordered))
    return [ordered[place] for place in order[: -(-len(ordered) // 2)]]


def draw_rows(
    arms: Mapping[str, Sequence[ProbeAnswer]], passage_ids: Sequence[str]
) -> Iterator[tuple[str, str, list[str]]]:
    """For each arm and budget the texts that its student learns of these passages: generator, budget, texts.

    Every arm spends its budget to the byte or token: of the last answer as much of the text is taken as is left.
    """
    place = {passage: number for number, passage in enumerate(passage_ids)}
    answers = {
        generator: sorted(
            (answer for answer in rows if answer.seed_id in place),
            key=lambda answer: (place[answer.seed_id], answer.task, answer.answer, answer.text),
        )
        for generator, rows in arms.items()
    }
    prices = {
        "tokens": {
            generator: [utf8_size(answer.text) * answer.accepted for answer in rows]
            for generator, rows in answers.items()
        },
        "cost": {generator: [answer.tokens for answer in rows] for generator, rows in answers.items()},
    }
    for budget in BUDGETS:
        limit = min(sum(price) for price in prices[budget].values()) if answers else 0
        for generator, rows in answers.items():
            yield generator, budget, list(_spend(rows, prices[budget][generator], limit))


def _spend(answers: Sequence[ProbeAnswer], prices: Sequence[int], budget: int) -> Iterator[str]:
    """The accepted texts that a budget pays for, in order; the last one is cut."""
    bounds = np.concatenate([[0], np.cumsum(prices, dtype=np.int64)])
    for answer, (before, after) in zip(answers, pairwise(bounds), strict=True):
        if not answer.accepted or before >= budget:
            continue
        data = utf8(answer.text)
        if after > budget:
            data = data[: len(data) * (budget - before) // (after - before)]
        if text := data.decode(errors="ignore"):
            yield text

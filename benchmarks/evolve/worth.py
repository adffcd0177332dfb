"""What are accepted rows worth to a student that weighs them apart from real text, and what would other texts be worth?

    python -m benchmarks.evolve worth DATA DATE [DRAWS]

DATA is a data set with the evolution of DATE: its stages hold the answers of base model and challenger to the measured
passages. A student learns the real text and half of the passages, a second one the texts of an arm, all arms with the
same bytes; they are mixed with weights that are fitted on half of the held-out documents (expectation maximisation),
with a third part that gives each byte 1/256. The other half is measured, and the other way round. Arms: the accepted
rows of each generator; those of the other domains' base model; real text of the domain that no student has seen; and
the end of the student's own real text, since two models of one text are together better than one of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.figures import Figures, processor
from stages.evolve.answer import PLANTED, ProbeAnswer
from stages.evolve.student import ByteStudent, windows
from stages.evolve.students import draw_rows, random_half
from stages.record import Seed

STEPS = 60  # of the fit of the weights


def main(arguments: Sequence[str]) -> int:
    folder = Path(arguments[0]) / "evolve" / arguments[1] / "stages"
    draws = int(arguments[2]) if len(arguments) > 2 else 3
    answers = [ProbeAnswer(**row) for row in _rows(folder, "probe-screen/part-*[0-9a-f].parquet", ProbeAnswer)]
    texts = {
        name: [Seed(**row) for row in _rows(folder, f"gathered/{pattern}", Seed)]
        for name, pattern in (
            ("passages", "part-?????-of-?????-????????????????.parquet"),
            ("core", "*.core.parquet"),
            ("held_out", "*.held-out.parquet"),
            ("train", "*.train.parquet"),
        )
    }
    figures = Figures("evolve", f"python -m benchmarks.evolve worth DATA {' '.join(arguments[1:])}", processor())
    for domain in sorted({answer.domain for answer in answers}):
        of_domain = {name: [seed for seed in seeds if seed.domain == domain] for name, seeds in texts.items()}
        for arm, saved in savings(answers, domain, of_domain, draws).items():
            figures.put(f"worth: {domain}, {arm}, % of bits saved, mean of {draws} draws", float(np.mean(saved)))
            figures.put(f"worth: {domain}, {arm}, standard deviation", float(np.std(saved)), better="lower")
    return 0


def savings(
    answers: Sequence[ProbeAnswer], domain: str, texts: Mapping[str, Sequence[Seed]], draws: int
) -> dict[str, list[float]]:
    """By arm the share of bits, in percent, that its texts save in each draw."""
    held_out = texts["held_out"]
    window, lengths = windows([seed.text for seed in held_out])
    documents = sorted({seed.document_id for seed in held_out})
    is_second = np.repeat([documents.index(seed.document_id) % 2 == 1 for seed in held_out], lengths)
    saved: dict[str, list[float]] = {}
    for draw in range(draws):
        half = random_half(texts["passages"], f"worth {domain} {draw}")
        real = [seed.text for seed in (*texts["core"], *half)]
        parts = [ByteStudent.train(real).probabilities(window), np.full(len(window), 1 / 256)]
        alone = _bits(np.stack(parts), is_second)
        for arm, rows in _arms(answers, domain, half, real, [seed.text for seed in texts["train"]]):
            mixed = _bits(np.stack([*parts, ByteStudent.train(rows).probabilities(window)]), is_second)
            saved.setdefault(arm, []).append(100 * (alone - mixed) / alone)
    return saved


def _arms(
    answers: Sequence[ProbeAnswer], domain: str, half: Sequence[Seed], real: Sequence[str], unseen: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    generators: dict[str, list[ProbeAnswer]] = {}
    for answer in answers:
        if answer.domain == domain and answer.generator not in PLANTED:
            generators.setdefault(answer.generator, []).append(answer)
    rows = {
        name: texts for name, budget, texts in draw_rows(generators, [seed.id for seed in half]) if budget == "tokens"
    }
    yield from rows.items()
    size = sum(len(text) for text in rows["base"])
    others = [
        answer.text for answer in answers if answer.domain != domain and answer.generator == "base" and answer.accepted
    ]
    for name, texts in (("other domain", others), ("unseen real text", unseen), ("its own text", real[::-1])):
        yield name, list(_cut(texts, size))


def _cut(texts: Sequence[str], characters: int) -> Iterator[str]:
    for text in texts:
        if characters <= 0:
            return
        yield text[:characters]
        characters -= len(text)


def _bits(probabilities: np.ndarray, is_second: np.ndarray) -> float:
    """The bits of all bytes by a mixture of models [M, N], its weights fitted on the half that is not measured."""
    bits = 0.0
    for measured in (is_second, ~is_second):
        weights = np.full(len(probabilities), 1 / len(probabilities))
        fitted = probabilities[:, ~measured]
        for _ in range(STEPS):
            shares = weights[:, None] * fitted
            weights = (shares / shares.sum(0)).mean(1)
        bits -= float(np.log2(weights @ probabilities[:, measured]).sum())
    return bits


def _rows(folder: Path, pattern: str, kind: type) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(pattern)):
        yield from pq.read_table(path, columns=[field.name for field in fields(kind)]).to_pylist()

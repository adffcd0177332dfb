"""Histograms of a date's rows (length and scores), small enough for a manifest, and the texts of the canary.

The canary is a few fixed texts, good and bad, that each run scores. With the same encoder, head and machine the scores
are equal; if they are not, something has changed that no hash shows.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from stages.record import Candidate
from stages.storage.stats import Histogram

SCORE_BINS = 10  # of a score between 0 and 1
MAX_SCORE = 10.0  # in a histogram
CANARY_DIGITS = 4
_TEXTS = (
    ("law", "en", "The controller shall erase personal data without undue delay where consent has been withdrawn."),
    (
        "medicine",
        "en",
        "A rash with small blisters on one side of the body suggests a reactivated varicella infection.",
    ),
    ("law", "en", "It is important to note that this topic is very important in many ways, and each of them matters."),
    (
        "medicine",
        "en",
        "the of where withdrawn delay been data has consent erase personal undue controller without shall",
    ),
    ("law", "es", "El plazo de prescripción comienza cuando se produce el incumplimiento y se interrumpe por escrito."),
    (
        "medicine",
        "es",
        "Hay muchas cosas que considerar en este tema tan importante, y cada una de ellas importa mucho.",
    ),
    ("law", "zh", "劳动者解除劳动合同，应当提前三十日以书面形式通知用人单位，试用期内提前三日通知即可。"),
    ("medicine", "zh", "需要注意的是，这个话题在很多方面都非常重要，有许多事情需要考虑，而每一件都很重要。"),
)


def add_histograms(
    histograms: dict[str, Histogram], characters: Iterable[int], scores: Iterable[Sequence[Mapping[str, Any]]]
) -> None:
    """Adds rows to the histogram `length` (bins are powers of the square root of 2) and to those of filters (tenths).

    `characters`: the rows' lengths. `scores`: the rows' `[{"filter": …, "score": …}, …]`.
    """
    for count in characters:
        _add(histograms, "length", round(2 * math.log2(max(count, 1))))
    for row in scores:
        for score in row:
            _add(histograms, score["filter"], _score_bin(float(score["score"])))


def _score_bin(score: float) -> int:
    """Tenths. Scores in nats may be below 0 and above 1; those beyond 10 are in the outermost bins."""
    if 0 <= score <= 1:
        return min(int(score * SCORE_BINS), SCORE_BINS - 1)
    return math.floor(min(max(score, -MAX_SCORE), MAX_SCORE) * SCORE_BINS)


def _add(histograms: dict[str, Histogram], name: str, bin_number: int) -> None:
    histograms.setdefault(name, Histogram())[str(bin_number)] += 1


def sum_histograms(parts: Iterable[dict[str, Histogram]]) -> dict[str, dict[str, int]]:
    """The sum of the shards' histograms, with names and bins in order."""
    sums: dict[str, Histogram] = {}
    for histograms in parts:
        for name, rows in histograms.items():
            sums.setdefault(name, Histogram()).update(rows)
    return {name: dict(sorted(rows.items(), key=lambda item: int(item[0]))) for name, rows in sorted(sums.items())}


def canary() -> list[Candidate]:
    """The fixed texts as candidates. Each is also its own passage."""
    return [_row(number, *fixed_text) for number, fixed_text in enumerate(_TEXTS)]


def _row(number: int, domain: str, language: str, text: str) -> Candidate:
    values: dict[str, Any] = {
        field.name: 0 if field.type in (int, "int") else "" for field in fields(Candidate) if field.name != "scores"
    }
    values |= {"text": text, "messages": [{"role": "assistant", "content": text}], "rejected": None, "adapter": None}
    values |= {"id": f"canary-{number}", "domain": domain, "language": language, "parents": [], "passage": text}
    values["writes"] = "answer"
    return Candidate(**values)

"""Trains the quality filter's head from real pages, and measures it where it counts: on sources it has not seen."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filters.corruptions import CORRUPTIONS, Page, equalise, sentences
from filters.head_file import READ
from filters.logistic import auc, fit
from filters.quality import Head, features, prepared, seeds_hash
from filters.words import CHARACTERS, words
from stages.ports import Encoder
from stages.record import Seed

PER_SOURCE = 160  # pages; more of one source teach its style
BAD_PER_PAGE = 2
LEAST = 40  # characters; shorter texts are too little to judge by
L2 = 0.01
KEEP = 0.95  # of real pages, in each language
ABSTAIN_BELOW = 0.75  # held-out AUC in a language
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Example:
    text: str
    good: int  # 1 | 0
    kind: str  # a corruption's name; "" for a real page
    source: str
    domain: str
    language: str
    page: int


def train_and_report(
    seeds: Sequence[Seed], rows: Sequence[Example], encoder: Encoder, path: Path, seed: int
) -> list[dict[str, Any]]:
    """Trains a head on `rows`, the examples of `seeds`, writes it to `path`, and returns the report's rows.

    A row's split is in_source (other pages of the same sources, 5 folds), held_out (sources left out whole, one by
    one) or unseen_kind (held out, and the corruption left out too). It has group, rows, auc, caught (the share of bad
    texts below the score that keeps 95 % of the good ones) and two trivial baselines: auc_length, and auc_distinct by
    the share of distinct words. Figures are None in groups without both kinds. Raises ValueError with fewer than two
    sources.
    """
    sources = sorted({row.source for row in rows})
    if len(sources) < 2:
        raise ValueError("pages of at least two sources are needed, to leave one out")
    x = features(encoder, [row.text for row in rows])
    y = np.array([row.good for row in rows])
    folds = np.array([row.page % FOLDS for row in rows])
    origin = np.array([sources.index(row.source) for row in rows])
    held_out = _out_of_fold(x, y, origin)
    report = [
        *_measure("in_source", _out_of_fold(x, y, folds), rows),
        *_measure("held_out", held_out, rows),
        *_unseen_kinds(x, y, origin, rows),
    ]
    thresholds = _thresholds(held_out, rows)
    weights, bias = _fit(x, y)
    Head(
        encoder=encoder.card.name,
        encoder_sha256=encoder.card.sha256,
        weights=[round(float(weight), 6) for weight in weights],
        bias=round(bias, 6),
        thresholds=thresholds,
        card={
            "task": "real page against corruptions of real pages; not a measure of truth or usefulness",
            "pages": int(y.sum()),
            "corruptions": int((1 - y).sum()),
            "kinds": sorted(CORRUPTIONS),
            "sources": {name: int(y[origin == index].sum()) for index, name in enumerate(sources)},
            "seeds_sha256": seeds_hash([item.id for item in seeds]),
            "seed": seed,
            "l2": L2,
            "depths": READ,
            "threshold": f"keeps {KEEP:.0%} of real pages of sources left out, by language",
            "abstains": sorted({row.language for row in rows} - thresholds.keys()),
            "report": report,
        },
    ).write(path)
    return report


def examples(seeds: Sequence[Seed], seed: int, per_source: int) -> list[Example]:
    """Good and bad texts a page, of equal length by construction; pages drawn by source, corruptions in turn."""
    chosen: list[Seed] = []
    for source in sorted({item.source for item in seeds}):
        of = sorted((item for item in seeds if item.source == source), key=lambda item: item.id)
        chosen += random.Random(f"{seed} {source}").sample(of, min(per_source, len(of)))
    kinds = list(CORRUPTIONS)
    made: list[Example] = []
    for number, item in enumerate(chosen):
        rng = random.Random(f"{seed} {item.id}")
        others = [other for other in chosen if other.language == item.language and other.title != item.title]
        page = Page(_opening(item, rng), _opening(rng.choice(others or chosen), rng), item.language)
        made += _of_page(page, item, number, kinds, rng)
    return made


def _of_page(page: Page, item: Seed, number: int, kinds: list[str], rng: random.Random) -> Iterator[Example]:
    texts = [("", prepared(page.text, item.language))]
    for offset in range(BAD_PER_PAGE):
        kind = kinds[(number * BAD_PER_PAGE + offset) % len(kinds)]
        texts.append((kind, prepared(CORRUPTIONS[kind](page, rng), item.language)))
    # All as long as the shortest, so that length tells nothing; a corruption that changed nothing teaches nothing.
    length = min(len(text) for _, text in texts)
    cut = [(kind, equalise(text, length)) for kind, text in texts]
    if length > LEAST * CHARACTERS.get(item.language, 1.0):
        for kind, text in cut:
            if kind == "" or text != cut[0][1]:
                yield Example(text, int(kind == ""), kind, item.source, item.domain, item.language, number)


def _opening(item: Seed, rng: random.Random) -> str:
    """Some whole sentences from the page, as many as an answer has."""
    wanted = rng.randint(120, 480) * CHARACTERS.get(item.language, 1.0)
    parts = sentences(item.text)
    start = rng.randrange(max(1, len(parts) // 2))
    made = ""
    for part in parts[start:]:
        made += ("" if item.language == "zh" or not made else " ") + part
        if len(made) >= wanted:
            break
    return made


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    weight = np.where(y == 1, (y == 0).sum() / max(1, (y == 1).sum()), 1.0)
    return fit(x, y, weight, L2)


def _out_of_fold(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Every row's logit by a head that was fitted without its fold."""
    logit = np.zeros(len(y))
    for value in np.unique(fold):
        weights, bias = _fit(x[fold != value], y[fold != value])
        logit[fold == value] = x[fold == value] @ weights + bias
    return logit


def _unseen_kinds(
    x: np.ndarray, y: np.ndarray, origin: np.ndarray, rows: Sequence[Example]
) -> Iterator[dict[str, Any]]:
    """Each corruption judged by heads that know neither it nor the source."""
    kinds = np.array([row.kind for row in rows])
    for kind in CORRUPTIONS:
        asked = _of_kind(rows, kind)
        logit = np.zeros(len(y))
        for value in np.unique(origin):
            train = (origin != value) & (kinds != kind)
            weights, bias = _fit(x[train], y[train])
            logit[origin == value] = x[origin == value] @ weights + bias
        yield _row("unseen_kind", f"kind {kind}", asked, logit, rows)


def _measure(split: str, logit: np.ndarray, rows: Sequence[Example]) -> Iterator[dict[str, Any]]:
    yield _row(split, "all", np.ones(len(rows), bool), logit, rows)
    for what in ("language", "domain", "source"):
        values = np.array([getattr(row, what) for row in rows])
        for value in np.unique(values):
            yield _row(split, f"{what} {value}", values == value, logit, rows)
    pairs = np.array([f"{row.domain} {row.language}" for row in rows])
    for value in np.unique(pairs):
        yield _row(split, f"domain, language {value}", pairs == value, logit, rows)
    for kind in CORRUPTIONS:
        yield _row(split, f"kind {kind}", _of_kind(rows, kind), logit, rows)


def _of_kind(rows: Sequence[Example], kind: str) -> np.ndarray:
    """The texts of one corruption and the pages they were made of."""
    made_of = {row.page for row in rows if row.kind == kind}
    return np.array([row.kind == kind or (row.good == 1 and row.page in made_of) for row in rows])


def _row(split: str, group: str, asked: np.ndarray, logit: np.ndarray, rows: Sequence[Example]) -> dict[str, Any]:
    picked = [row for row, wanted in zip(rows, asked, strict=True) if wanted]
    y, score = np.array([row.good for row in picked]), logit[asked]
    lengths = np.array([len(row.text) for row in picked])
    distinct = np.array([len(set(words(row.text))) / max(1, len(words(row.text))) for row in picked])
    figures: dict[str, float | None] = dict.fromkeys(("auc", "caught", "auc_length", "auc_distinct"))
    if 0 < y.sum() < len(y):
        least = np.quantile(score[y == 1], 1 - KEEP)
        figures = {
            "auc": round(auc(score, y), 3),
            "caught": round(float((score[y == 0] < least).mean()), 3),
            "auc_length": round(auc(lengths, y), 3),
            "auc_distinct": round(auc(distinct, y), 3),
        }
    return {"split": split, "group": group, "rows": len(picked), **figures}


def _thresholds(logit: np.ndarray, rows: Sequence[Example]) -> dict[str, float]:
    """By language, from sources left out; none where the held-out AUC is too low to judge by."""
    good = np.array([row.good for row in rows])
    languages = np.array([row.language for row in rows])
    found: dict[str, float] = {}
    for language in sorted(set(languages)):
        of = languages == language
        if auc(logit[of], good[of]) >= ABSTAIN_BELOW:
            least = float(np.quantile(logit[of & (good == 1)], 1 - KEEP))
            found[language] = round(float(1 / (1 + np.exp(-least))), 4)
    return found

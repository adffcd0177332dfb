"""How well a quality head tells good from bad where it counts: on sources and corruptions that it has not seen."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from filters.heads.corruptions import CORRUPTIONS, sentences
from filters.heads.examples import CORRUPTION, Example
from filters.heads.logistic import auc, fit, probability, spearman
from filters.text.words import ngrams, words

FOLDS = 5
BINS = 10  # of a reliability curve
KEEP = 0.95  # of good texts: `caught` is what falls below the score that keeps them
BASELINES = ("length", "distinct", "source", "heuristics")

Judge = Callable[[np.ndarray], np.ndarray]  # indices of rows -> their logits
Fitter = Callable[[np.ndarray], Judge]  # indices of rows to train on -> a judge


def balance(y_N: np.ndarray) -> np.ndarray:
    """Weights by which good and bad rows count the same in all, [N]."""
    return np.where(y_N == 1, (y_N == 0).sum() / max(1, (y_N == 1).sum()), 1.0)


def out_of_fold(fitter: Fitter, fold_N: np.ndarray) -> np.ndarray:
    """Every row's logit by a judge that was fitted without its fold, [N]."""
    logit = np.zeros(len(fold_N))
    for value in np.unique(fold_N):
        out = np.flatnonzero(fold_N == value)
        logit[out] = fitter(np.flatnonzero(fold_N != value))(out)
    return logit


def linear(x_ND: np.ndarray, y_N: np.ndarray, l2: float) -> Fitter:
    """A logistic head over features that stand."""

    def fitter(train: np.ndarray) -> Judge:
        weights, bias = fit(x_ND[train], y_N[train], balance(y_N[train]), l2)
        return lambda asked: x_ND[asked] @ weights + bias

    return fitter


def groups_of_sources(rows: Sequence[Example], most: int) -> np.ndarray:
    """A fold a row, [N]: whole sources together in `most` folds, each domain's dealt in turn; labelled texts singly."""
    order = sorted({(row.domain, row.language, row.source) for row in rows if row.by == CORRUPTION})
    place = {source: number % most for number, (_, _, source) in enumerate(order)}
    return np.array([place[row.source] if row.by == CORRUPTION else row.page % most for row in rows])


def report(
    rows: Sequence[Example], held_out_N: np.ndarray, fold_N: np.ndarray, in_source_N: np.ndarray | None
) -> list[dict[str, Any]]:
    """Rows of split `in_source` (other pages of the same sources) and `held_out` (sources left out), by group.

    Labelled texts have a split by who scored them, and their grades for Spearman's correlation. Each row
    has group, rows, auc, f1 (at logit 0), spearman, caught (the share of bad texts below the score that keeps 95 % of
    the good ones) and `auc_` of trivial baselines on the same rows: length, the share of distinct words, the source's
    name, heuristics fitted on the other folds. None where a group has only good or only bad texts.
    """
    beside = baselines(rows, fold_N)
    made = np.array([row.by == CORRUPTION for row in rows])
    found = [] if in_source_N is None else list(_measure("in_source", in_source_N, rows, beside, made))
    found += _measure("held_out", held_out_N, rows, beside, made)
    for name in sorted({row.by for row in rows} - {CORRUPTION}):
        found += _measure(name, held_out_N, rows, beside, np.array([row.by == name for row in rows]))
    return found


def unseen_kinds(fitter: Fitter, rows: Sequence[Example], fold_N: np.ndarray) -> list[dict[str, Any]]:
    """Each corruption judged by judges that know neither it nor the row's source: split `unseen_kind`."""
    kinds, beside = np.array([row.kind for row in rows]), baselines(rows, fold_N)
    made = []
    for kind in CORRUPTIONS:
        asked, logit = of_kind(rows, kind), np.zeros(len(rows))
        for value in np.unique(fold_N[asked]):
            out = np.flatnonzero(asked & (fold_N == value))
            logit[out] = fitter(np.flatnonzero((fold_N != value) & (kinds != kind)))(out)
        made.append(_row("unseen_kind", f"kind {kind}", asked, logit, rows, beside))
    return made


def unseen_kinds_of_known_sources(
    fitter: Fitter, rows: Sequence[Example], judged_N: np.ndarray
) -> list[dict[str, Any]]:
    """Each corruption judged on some pages by judges that know other pages of the same sources, and not the corruption.

    Easier than `unseen_kinds`, as it asks nothing of unknown sources: split `unseen_kind_known_source`.
    """
    kinds, beside = np.array([row.kind for row in rows]), baselines(rows, judged_N)
    made = []
    for kind in CORRUPTIONS:
        asked, logit = of_kind(rows, kind) & judged_N, np.zeros(len(rows))
        if asked.any():
            logit[asked] = fitter(np.flatnonzero(~judged_N & (kinds != kind)))(np.flatnonzero(asked))
        made.append(_row("unseen_kind_known_source", f"kind {kind}", asked, logit, rows, beside))
    return made


def of_kind(rows: Sequence[Example], kind: str) -> np.ndarray:
    """Which rows are of one corruption, or the pages that it was made of, [N]."""
    made_of = {row.page for row in rows if row.kind == kind}
    return np.array([row.kind == kind or (row.good == 1 and row.page in made_of) for row in rows])


def baselines(rows: Sequence[Example], fold_N: np.ndarray) -> dict[str, np.ndarray]:
    """What reads no text well: scores by name, each [N]."""
    y = np.array([row.good for row in rows])
    x = np.array([heuristics(row.text) for row in rows])
    origin = np.array([row.source for row in rows])
    share = {name: y[origin == name].mean() for name in np.unique(origin)}
    return {
        "length": np.array([float(len(row.text)) for row in rows]),
        "distinct": x[:, 0],
        "source": np.array([share[name] for name in origin]),
        "heuristics": out_of_fold(linear(x, y, 1e-3), fold_N) if len(np.unique(fold_N)) > 1 else np.zeros(len(y)),
    }


def heuristics(text: str) -> list[float]:
    """Distinct words and 3-grams, lengths of words and sentences and their spread, marks, digits, capitals."""
    tokens = words(text) or [""]
    runs = ngrams(tokens, 3) or [("",)]
    each = [float(len(token)) for token in tokens]
    parts = [float(len(words(part))) for part in sentences(text)] or [0.0]
    return [
        len(set(tokens)) / len(tokens),
        len(set(runs)) / len(runs),
        float(np.mean(each)),
        float(np.std(each)),
        float(np.mean(parts)),
        float(np.std(parts)),
        sum(character in ",;:，；：、" for character in text) / len(tokens),
        sum(map(str.isdigit, text)) / max(1, len(text)),
        sum(map(str.isupper, text)) / max(1, len(text)),
    ]


def platt(logit_N: np.ndarray, y_N: np.ndarray) -> tuple[float, float]:
    """Slope and offset that make a logit a probability where good and bad are as many (Platt, 1999)."""
    slope, offset = fit(logit_N[:, None], y_N, balance(y_N), 1e-6)
    return float(slope[0]), offset


def calibration(rows: Sequence[Example], logit_N: np.ndarray, fold_N: np.ndarray) -> list[dict[str, Any]]:
    """By domain and language: the expected calibration error before and after scaling, and both reliability curves.

    The scale of a row's fold is fitted on the other folds. A curve is [mean probability, share of good, share of rows]
    a bin; good and bad weigh the same. Groups of one source, or with one kind of text only, are left out.
    """
    y, pairs = np.array([row.good for row in rows]), np.array([f"{row.domain} {row.language}" for row in rows])
    made = []
    for name in np.unique(pairs):
        of = pairs == name
        if len(np.unique(fold_N[of])) < 2 or not 0 < y[of].sum() < of.sum():
            continue
        scaled = np.zeros(of.sum())
        for value in np.unique(fold_N[of]):
            out = fold_N[of] == value
            slope, offset = platt(logit_N[of][~out], y[of][~out])
            scaled[out] = slope * logit_N[of][out] + offset
        weight = balance(y[of])
        before, after = (curve(probability(z), y[of], weight) for z in (logit_N[of], scaled))
        made.append(
            {
                "group": str(name),
                "rows": int(of.sum()),
                "ece_before": round(expected_error(before), 4),
                "ece_after": round(expected_error(after), 4),
                "before": before,
                "after": after,
            }
        )
    return made


def curve(p_N: np.ndarray, y_N: np.ndarray, weight_N: np.ndarray) -> list[list[float]]:
    """[mean probability, share of good, share of all weight] of each bin that is not empty."""
    place = np.minimum((p_N * BINS).astype(int), BINS - 1)
    total, points = weight_N.sum(), []
    for number in range(BINS):
        of = place == number
        if (mass := weight_N[of].sum()) > 0:
            point = ((p_N[of] * weight_N[of]).sum() / mass, (y_N[of] * weight_N[of]).sum() / mass, mass / total)
            points.append([round(float(value), 4) for value in point])
    return points


def expected_error(points: Sequence[Sequence[float]]) -> float:
    """Of a reliability curve: the mean distance of probability and share (Guo et al., 2017, section 2)."""
    return sum(mass * abs(mean - share) for mean, share, mass in points)


def agreement(score_N: np.ndarray, good_N: np.ndarray, graded_N: np.ndarray) -> dict[str, float | None]:
    """auc, f1 at score 0 and Spearman's rank correlation with `graded`; None with one kind alone."""
    if not 0 < good_N.sum() < len(good_N):
        return {"auc": None, "f1": None, "spearman": None}
    said = score_N > 0
    right = int((said & (good_N == 1)).sum())
    f1 = 2 * right / max(1, said.sum() + good_N.sum())
    rank = spearman(score_N, graded_N)
    found = {"auc": auc(score_N, good_N), "f1": f1, "spearman": rank}
    return {name: round(value, 3) if np.isfinite(value) else None for name, value in found.items()}


def _measure(
    split: str, logit: np.ndarray, rows: Sequence[Example], beside: dict[str, np.ndarray], asked: np.ndarray
) -> Iterator[dict[str, Any]]:
    yield _row(split, "all", asked, logit, rows, beside)
    pairs = [f"{row.domain} {row.language}" for row in rows]
    columns = {name: [getattr(row, name) for row in rows] for name in ("language", "domain", "source")}
    for what, values in (columns | {"domain, language": pairs}).items():
        for value in np.unique(np.array(values)[asked]):
            yield _row(split, f"{what} {value}", asked & (np.array(values) == value), logit, rows, beside)
    for kind in CORRUPTIONS if any(row.kind for row, of in zip(rows, asked, strict=True) if of) else ():
        yield _row(split, f"kind {kind}", asked & of_kind(rows, kind), logit, rows, beside)


def _row(
    split: str,
    group: str,
    asked: np.ndarray,
    logit: np.ndarray,
    rows: Sequence[Example],
    beside: dict[str, np.ndarray],
) -> dict[str, Any]:
    y, score = np.array([row.good for row in rows])[asked], logit[asked]
    graded = np.array([row.good if row.score is None else row.score for row in rows])[asked]
    figures: dict[str, float | None] = dict(agreement(score, y, graded))
    known = 0 < y.sum() < len(y)
    caught = (score[y == 0] < np.quantile(score[y == 1], 1 - KEEP)).mean() if known else None
    figures["caught"] = None if caught is None else round(float(caught), 3)
    for name in BASELINES:
        figures[f"auc_{name}"] = round(auc(beside[name][asked], y), 3) if known else None
    return {"split": split, "group": group, "rows": int(asked.sum()), **figures}

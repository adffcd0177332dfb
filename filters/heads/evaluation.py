"""How well a quality head tells good from bad text on sources and corruptions that it was not trained on."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from filters.heads.corruptions import CORRUPTIONS, sentences
from filters.heads.examples import CORRUPTION, Example
from filters.heads.logistic import fit, probability
from filters.heads.metrics import auc, balance, f1, spearman
from filters.text.words import ngrams, words

FOLDS = 5
RELIABILITY_BINS = 10
KEPT_SHARE = 0.95  # of good texts: `caught` is the share of bad texts below the score that keeps so many
BASELINES = ("length", "distinct", "source", "heuristics")

Judge = Callable[[np.ndarray], np.ndarray]  # indices of rows -> their logits
Fitter = Callable[[np.ndarray], Judge]  # indices of rows to train on -> a judge


def out_of_fold(fitter: Fitter, fold_N: np.ndarray) -> np.ndarray:
    """Each row's logit by a judge that was trained without the row's fold, [N]."""
    logit = np.zeros(len(fold_N))
    for fold in np.unique(fold_N):
        left_out = np.flatnonzero(fold_N == fold)
        logit[left_out] = fitter(np.flatnonzero(fold_N != fold))(left_out)
    return logit


def linear(x_ND: np.ndarray, y_N: np.ndarray, l2: float) -> Fitter:
    """Fits logistic heads over fixed features."""

    def fitter(train: np.ndarray) -> Judge:
        weights, bias = fit(x_ND[train], y_N[train], balance(y_N[train]), l2)
        return lambda rows: x_ND[rows] @ weights + bias

    return fitter


def folds_by_source(rows: Sequence[Example], count: int) -> np.ndarray:
    """Each row's fold, [N]: all rows of a source in one of `count` folds, each domain spread over them.

    Labelled texts are assigned one by one.
    """
    order = sorted({(row.domain, row.language, row.source) for row in rows if row.by == CORRUPTION})
    fold = {source: number % count for number, (_, _, source) in enumerate(order)}
    return np.array([fold[row.source] if row.by == CORRUPTION else row.page % count for row in rows])


def report(
    rows: Sequence[Example], held_out_N: np.ndarray, fold_N: np.ndarray, in_source_N: np.ndarray | None
) -> list[dict[str, Any]]:
    """Figures of split `in_source` (other pages of known sources) and `held_out` (unknown sources), by group.

    Labelled texts have a split named by who scored them; their scores are what Spearman's correlation is with.

    Each item has split, group, rows, auc, f1 (at logit 0), spearman, caught (the share of bad texts below the score
    that keeps 95 % of the good ones), and `auc_<name>` of trivial baselines on the same rows: length, the share of
    distinct words, the source's name, and heuristics fitted on the other folds. Figures are None for groups of one kind
    of text.
    """
    baseline_scores = baselines(rows, fold_N)
    page_rows = np.array([row.by == CORRUPTION for row in rows])
    figures = [] if in_source_N is None else list(_by_group("in_source", in_source_N, rows, baseline_scores, page_rows))
    figures += _by_group("held_out", held_out_N, rows, baseline_scores, page_rows)
    for name in sorted({row.by for row in rows} - {CORRUPTION}):
        labelled = np.array([row.by == name for row in rows])
        figures += _by_group(name, held_out_N, rows, baseline_scores, labelled)
    return figures


def unseen_kinds(fitter: Fitter, rows: Sequence[Example], fold_N: np.ndarray) -> list[dict[str, Any]]:
    """Each corruption, judged by heads trained without it and without the row's source: split `unseen_kind`."""
    kinds, baseline_scores = np.array([row.kind for row in rows]), baselines(rows, fold_N)
    figures = []
    for kind in CORRUPTIONS:
        chosen, logit = of_kind(rows, kind), np.zeros(len(rows))
        for fold in np.unique(fold_N[chosen]):
            left_out = np.flatnonzero(chosen & (fold_N == fold))
            logit[left_out] = fitter(np.flatnonzero((fold_N != fold) & (kinds != kind)))(left_out)
        figures.append(_figures("unseen_kind", f"kind {kind}", chosen, logit, rows, baseline_scores))
    return figures


def unseen_kinds_of_known_sources(
    fitter: Fitter, rows: Sequence[Example], judged_N: np.ndarray
) -> list[dict[str, Any]]:
    """Each corruption on some pages, judged by heads trained without it on other pages of the same sources.

    Easier than `unseen_kinds`: the sources are known. Split `unseen_kind_known_source`.
    """
    kinds, baseline_scores = np.array([row.kind for row in rows]), baselines(rows, judged_N)
    figures = []
    for kind in CORRUPTIONS:
        chosen, logit = of_kind(rows, kind) & judged_N, np.zeros(len(rows))
        if chosen.any():
            logit[chosen] = fitter(np.flatnonzero(~judged_N & (kinds != kind)))(np.flatnonzero(chosen))
        figures.append(_figures("unseen_kind_known_source", f"kind {kind}", chosen, logit, rows, baseline_scores))
    return figures


def of_kind(rows: Sequence[Example], kind: str) -> np.ndarray:
    """Which rows are of one corruption, or are the pages that it was applied to, [N]."""
    pages = {row.page for row in rows if row.kind == kind}
    return np.array([row.kind == kind or (row.good == 1 and row.page in pages) for row in rows])


def baselines(rows: Sequence[Example], fold_N: np.ndarray) -> dict[str, np.ndarray]:
    """Scores by simple properties of the rows, by the baseline's name, each [N]."""
    y = np.array([row.good for row in rows])
    x = np.array([heuristics(row.text) for row in rows])
    source = np.array([row.source for row in rows])
    good_share = {name: y[source == name].mean() for name in np.unique(source)}
    return {
        "length": np.array([float(len(row.text)) for row in rows]),
        "distinct": x[:, 0],
        "source": np.array([good_share[name] for name in source]),
        "heuristics": out_of_fold(linear(x, y, 1e-3), fold_N) if len(np.unique(fold_N)) > 1 else np.zeros(len(y)),
    }


def heuristics(text: str) -> list[float]:
    """Distinct words and 3-grams, lengths of words and sentences and their spread, marks, digits, capitals."""
    tokens = words(text) or [""]
    trigrams = ngrams(tokens, 3) or [("",)]
    word_lengths = [float(len(token)) for token in tokens]
    sentence_lengths = [float(len(words(part))) for part in sentences(text)] or [0.0]
    return [
        len(set(tokens)) / len(tokens),
        len(set(trigrams)) / len(trigrams),
        float(np.mean(word_lengths)),
        float(np.std(word_lengths)),
        float(np.mean(sentence_lengths)),
        float(np.std(sentence_lengths)),
        sum(character in ",;:，；：、" for character in text) / len(tokens),
        sum(map(str.isdigit, text)) / max(1, len(text)),
        sum(map(str.isupper, text)) / max(1, len(text)),
    ]


def platt(logit_N: np.ndarray, y_N: np.ndarray) -> tuple[float, float]:
    """Slope and offset that make a logit a probability, where good and bad are equally frequent (Platt, 1999)."""
    slope, offset = fit(logit_N[:, None], y_N, balance(y_N), 1e-6)
    return float(slope[0]), offset


def calibration(rows: Sequence[Example], logit_N: np.ndarray, fold_N: np.ndarray) -> list[dict[str, Any]]:
    """By domain and language: the expected calibration error and the reliability curve, before and after scaling.

    The scale of a row's fold is fitted on the other folds. A curve has [mean probability, share of good, share of rows]
    for each bin; good and bad texts weigh the same. Groups of one source, or of one kind of text, are left out.
    """
    y, pairs = np.array([row.good for row in rows]), np.array([f"{row.domain} {row.language}" for row in rows])
    figures = []
    for name in np.unique(pairs):
        chosen = pairs == name
        if len(np.unique(fold_N[chosen])) < 2 or not 0 < y[chosen].sum() < chosen.sum():
            continue
        scaled = np.zeros(chosen.sum())
        for fold in np.unique(fold_N[chosen]):
            left_out = fold_N[chosen] == fold
            slope, offset = platt(logit_N[chosen][~left_out], y[chosen][~left_out])
            scaled[left_out] = slope * logit_N[chosen][left_out] + offset
        weight = balance(y[chosen])
        before, after = (reliability(probability(logit), y[chosen], weight) for logit in (logit_N[chosen], scaled))
        figures.append(
            {
                "group": str(name),
                "rows": int(chosen.sum()),
                "ece_before": round(calibration_error(before), 4),
                "ece_after": round(calibration_error(after), 4),
                "before": before,
                "after": after,
            }
        )
    return figures


def reliability(p_N: np.ndarray, y_N: np.ndarray, weight_N: np.ndarray) -> list[list[float]]:
    """[mean probability, share of good, share of all weight] of each bin that is not empty."""
    bin_N = np.minimum((p_N * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    total, points = weight_N.sum(), []
    for number in range(RELIABILITY_BINS):
        inside = bin_N == number
        if (mass := weight_N[inside].sum()) > 0:
            mean = (p_N[inside] * weight_N[inside]).sum() / mass
            good = (y_N[inside] * weight_N[inside]).sum() / mass
            points.append([round(float(value), 4) for value in (mean, good, mass / total)])
    return points


def calibration_error(points: Sequence[Sequence[float]]) -> float:
    """Mean distance of probability and share on a reliability curve (Guo et al., 2017, section 2)."""
    return sum(mass * abs(mean - share) for mean, share, mass in points)


def agreement(score_N: np.ndarray, good_N: np.ndarray, grade_N: np.ndarray) -> dict[str, float | None]:
    """auc, f1 at score 0, and Spearman's rank correlation with `grade_N`; None if there is one kind of text."""
    if not 0 < good_N.sum() < len(good_N):
        return {"auc": None, "f1": None, "spearman": None}
    figures = {"auc": auc(score_N, good_N), "f1": f1(score_N, good_N), "spearman": spearman(score_N, grade_N)}
    return {name: round(value, 3) if np.isfinite(value) else None for name, value in figures.items()}


def _by_group(
    split: str,
    logit: np.ndarray,
    rows: Sequence[Example],
    baseline_scores: dict[str, np.ndarray],
    chosen: np.ndarray,
) -> Iterator[dict[str, Any]]:
    yield _figures(split, "all", chosen, logit, rows, baseline_scores)
    pairs = [f"{row.domain} {row.language}" for row in rows]
    columns = {name: [getattr(row, name) for row in rows] for name in ("language", "domain", "source")}
    for column, values in (columns | {"domain, language": pairs}).items():
        for value in np.unique(np.array(values)[chosen]):
            group = chosen & (np.array(values) == value)
            yield _figures(split, f"{column} {value}", group, logit, rows, baseline_scores)
    if any(row.kind for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen):
        for kind in CORRUPTIONS:
            yield _figures(split, f"kind {kind}", chosen & of_kind(rows, kind), logit, rows, baseline_scores)


def _figures(
    split: str,
    group: str,
    chosen: np.ndarray,
    logit: np.ndarray,
    rows: Sequence[Example],
    baseline_scores: dict[str, np.ndarray],
) -> dict[str, Any]:
    y, score = np.array([row.good for row in rows])[chosen], logit[chosen]
    grade = np.array([row.good if row.score is None else row.score for row in rows])[chosen]
    figures: dict[str, float | None] = dict(agreement(score, y, grade))
    both_kinds = 0 < y.sum() < len(y)
    caught = (score[y == 0] < np.quantile(score[y == 1], 1 - KEPT_SHARE)).mean() if both_kinds else None
    figures["caught"] = None if caught is None else round(float(caught), 3)
    for name in BASELINES:
        figures[f"auc_{name}"] = round(auc(baseline_scores[name][chosen], y), 3) if both_kinds else None
    return {"split": split, "group": group, "rows": int(chosen.sum()), **figures}

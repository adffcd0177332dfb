"""Measures a verifier: on labelled answers, and on pairs of documents and sources that it was not trained on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from filters.grounding.support import content_of
from filters.heads.grounded.claims import claims_of
from filters.heads.grounded.labels import GroundedLabel
from filters.heads.grounded.quadruples import Quadruple
from filters.heads.grounded.verifier_card import JUDGE, LIKELIHOODS, LIKELIHOODS_WITH_JUDGE, OWN
from filters.heads.grounded.z_scores import mean_z_score
from filters.heads.limits import PRECISION
from filters.heads.metrics import auc, wilson
from stages.ports import Verifier

TRIVIAL_FAULTS = frozenset({"copy", "empty", "truncated"})  # that other filters look for
MIN_RANKED = 3  # rows of each kind, below which no AUC is reported


def answer_scores(verifier: Verifier, passages: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """Float64 [N]: the score of each answer's least supported claim; nan for an answer without claims."""
    pairs = [(index, claim) for index, answer in enumerate(answers) for claim in claims_of(answer)]
    least = np.full(len(answers), np.inf)
    if pairs:
        scores = verifier.score([passages[index] for index, _ in pairs], [claim for _, claim in pairs])
        np.minimum.at(least, [index for index, _ in pairs], scores)
    return np.where(np.isfinite(least), least, np.nan)


def label_scores(
    verifier: Verifier,
    labels: Sequence[GroundedLabel],
    scales: Mapping[str, Sequence[float]],
    asked: Verifier | None = None,
) -> dict[str, np.ndarray]:
    """Scores of labelled answers by scorer: the verifier, it with the others, each of these, and baselines.

    Args:
        verifier: the verifier.
        labels: N answers.
        scales: of the scores that are combined.
        asked: a language model that is asked besides; its scale is that of JUDGE.
    """
    passages, answers = [label.passage for label in labels], [label.answer for label in labels]
    scores_by_name = {OWN: _without_gaps(answer_scores(verifier, passages, answers))}
    if asked is not None:
        scores_by_name[JUDGE] = _without_gaps(answer_scores(asked, passages, answers))
    names = LIKELIHOODS if asked is None else LIKELIHOODS_WITH_JUDGE
    likelihoods = [{name: label.scores[name] for name in LIKELIHOODS if name in label.scores} for label in labels]
    read = [dict(zip(scores_by_name, row, strict=True)) for row in zip(*scores_by_name.values(), strict=True)]
    scores_by_name["combined"] = np.array(
        [
            mean_z_score(own | {name: known[name] for name in names if name in known}, scales)
            for own, known in zip(read, likelihoods, strict=True)
        ]
    )
    for name in LIKELIHOODS:
        if all(name in known for known in likelihoods):
            scores_by_name[name] = np.array([known[name] for known in likelihoods])
    scores_by_name["shared words"] = np.array([_shared(label) for label in labels])
    scores_by_name["shortness"] = np.array([-len(answer) for answer in answers], float)
    scores_by_name["answer alone"] = answer_scores(verifier, [""] * len(labels), answers)
    scores_by_name["answer alone"] = np.nan_to_num(scores_by_name["answer alone"])
    return scores_by_name


def _without_gaps(score_N: np.ndarray) -> np.ndarray:
    """The scores, with the least of them for answers without claims."""
    return np.where(np.isnan(score_N), np.nanmin(score_N) if np.isfinite(score_N).any() else 0.0, score_N)


def _shared(label: GroundedLabel) -> float:
    """The share of the answer's content words that the passage has, as of the filter `support`."""
    wanted = content_of(label.answer)
    return len(wanted & content_of(label.passage)) / max(1, len(wanted))


def label_report(labels: Sequence[GroundedLabel], scores: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The AUC of each scorer on groups of labelled answers. A fault's group has all good answers and those with it."""
    good = np.array([label.good for label in labels])
    groups = {"all": np.ones(len(labels), bool)}
    if any(label.kept is not None for label in labels):
        groups["kept by the other filters"] = np.array([bool(label.kept) for label in labels])
    groups["without copies, empty and truncated"] = np.array([not TRIVIAL_FAULTS & set(r.fault) for r in labels])
    for fault in sorted({label.fault[0] for label in labels if label.fault and not label.good}):
        groups[f"fault {fault}"] = np.array([bool(r.good or fault in r.fault[:1]) for r in labels])
    for domain in sorted({label.domain for label in labels}):
        groups[f"domain {domain}"] = np.array([label.domain == domain for label in labels])
    rows = []
    for name, chosen in groups.items():
        if min(good[chosen].sum(), (1 - good[chosen]).sum()) >= MIN_RANKED:
            row: dict[str, Any] = {"group": name, "rows": int(chosen.sum()), "good": int(good[chosen].sum())}
            row["auc"] = {scorer: round(auc(score[chosen], good[chosen]), 3) for scorer, score in scores.items()}
            rows.append(row)
    return rows


def limit_of(score_N: np.ndarray, good_N: np.ndarray) -> float | None:
    """The lowest score from which on 90 % of the answers are right, by Wilson's lower bound at 95 %.

    The shares of good and bad answers are those of the labels. None where there are too few labels: at least 25
    right answers without a wrong one among them are needed.
    """
    order = np.argsort(-score_N, kind="stable")
    right = np.cumsum(good_N[order])
    ends = [
        index
        for index in range(len(order))
        if wilson(right[index] / (index + 1), index + 1) >= PRECISION
        and (index + 1 == len(order) or score_N[order[index]] > score_N[order[index + 1]])
    ]
    return round(float(score_N[order[ends[-1]]]), 4) if ends else None


def pair_report(verifier: Verifier, quadruples: Sequence[Quadruple], split: str) -> list[dict[str, Any]]:
    """The AUC of good against bad pairs of quadruples, by kind, by source, and of people's statements by source."""
    sure = [item for item in quadruples if item.sure]
    passages = [passage for item in sure for passage in item.passages for _ in item.claims]
    claims = [claim for item in sure for _ in item.passages for claim in item.claims]
    scores = verifier.score(passages, claims).reshape(-1, 2, 2)
    groups: dict[str, Callable[[Quadruple], bool]] = {"all": lambda item: True}
    groups |= {f"kind {kind}": lambda item, kind=kind: item.kind == kind for kind in sorted({q.kind for q in sure})}
    for source in sorted({item.source for item in sure}):
        groups[f"source {source}"] = lambda item, source=source: item.source == source
        groups[f"people, {source}"] = lambda item, source=source: item.human and item.easy and item.source == source
    rows = []
    for name, belongs in groups.items():
        chosen = np.array([belongs(item) for item in sure], bool)
        if chosen.any():
            own = scores[chosen].reshape(-1, 4)
            value = auc(own.ravel(), np.tile([1, 0, 0, 1], len(own)))
            rows.append({"split": split, "group": name, "rows": int(chosen.sum()), "auc": round(value, 3)})
    return rows

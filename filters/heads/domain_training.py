"""Trains the domain head on real pages, and measures it on sources that it was not trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from filters.heads.examples import Example
from filters.heads.head import CARD_DEPTHS, DEPTHS, DomainHead
from filters.heads.logistic import fit, probability
from filters.heads.metrics import auc, balance
from stages.ports import Encoder

L2 = 0.01
KEPT_SHARE = 0.99  # of real pages of sources left out: sets the threshold
GENERAL = "general"  # pages of no domain: examples against the others, without a head of their own
MIN_AUC = 0.75  # held out, in a language; below it the head does not judge the language
MAX_THRESHOLD = 0.5  # what is more likely of the domain than not is kept


def train_domains(rows: Sequence[Example], encoder: Encoder, path: Path, seed: int) -> list[dict[str, Any]]:
    """Trains a head for each domain of the examples' real pages and writes them to `path`.

    Returns rows like those of `evaluation.report`, with split `domain`; `caught` is the share of other domains' pages
    below the threshold. With a single domain nothing is written, and the list is empty.
    """
    pages = [row for row in rows if row.good]
    domains = sorted({row.domain for row in pages} - {GENERAL})
    if len({row.domain for row in pages}) < 2:
        return []
    x = encoder.encode([row.text for row in pages], DEPTHS).astype(np.float64)
    page_source = np.array([row.source for row in pages])
    report, weights, bias, thresholds, abstains = [], {}, {}, {}, {}
    for domain in domains:
        y = np.array([row.domain == domain for row in pages]).astype(int)
        logit = np.zeros(len(y))
        for source in np.unique(page_source):
            left_out = page_source == source
            if 0 < y[~left_out].sum() < (~left_out).sum():
                w, b = fit(x[~left_out], y[~left_out], balance(y[~left_out]), L2)
                logit[left_out] = x[left_out] @ w + b
        score, languages = probability(logit), np.array([row.language for row in pages])
        not_judged = [
            name
            for name in np.unique(languages)
            if not auc(logit[languages == name], y[languages == name]) >= MIN_AUC  # nan: no page of one kind
        ]
        judged = (y == 1) & ~np.isin(languages, not_judged)
        if not judged.any():
            continue
        abstains[domain] = [str(name) for name in not_judged]
        thresholds[domain] = round(min(float(np.quantile(score[judged], 1 - KEPT_SHARE)), MAX_THRESHOLD), 4)
        w, b = fit(x, y, balance(y), L2)
        weights[domain], bias[domain] = [round(float(value), 6) for value in w], round(float(b), 6)
        groups = {f"domain {domain}": np.ones(len(y), bool)}
        groups |= {f"domain, language {domain} {name}": languages == name for name in np.unique(languages)}
        for group, chosen in groups.items():
            if 0 < y[chosen].sum() < chosen.sum():
                caught = float((score[chosen & (y == 0)] < thresholds[domain]).mean())
                report.append(
                    {
                        "split": "domain",
                        "group": group,
                        "rows": int(chosen.sum()),
                        "auc": round(auc(logit[chosen], y[chosen]), 3),
                        "caught": round(caught, 3),
                        "auc_length": round(auc(np.array([len(r.text) for r in pages])[chosen], y[chosen]), 3),
                    }
                )
    card = {
        "task": "the domain of real pages against all others",
        "pages": {name: sum(row.domain == name for row in pages) for name in sorted({row.domain for row in pages})},
        "seed": seed,
        "l2": L2,
        "threshold": f"keeps {KEPT_SHARE:.0%} of real pages of sources left out, in the languages judged;"
        f" {MAX_THRESHOLD} at most",
        "depths": CARD_DEPTHS,
        "report": report,
    }
    DomainHead(encoder.card.name, encoder.card.sha256, card, weights, bias, thresholds, abstains).write(path)
    return report

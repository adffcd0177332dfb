"""Trains the domain head on real pages and measures it on sources that it has not seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from filters.domain import DomainHead
from filters.heads.evaluation import balance
from filters.heads.examples import Example
from filters.heads.head import DEPTHS, READ
from filters.heads.logistic import auc, fit, probability
from stages.ports import Encoder

L2 = 0.01
KEEP = 0.99  # of real pages of sources left out
GENERAL = "general"  # pages of neither: they train the others' heads and get none
ABSTAIN_BELOW = 0.75  # held-out AUC in a language
CAP = 0.5  # a threshold is never stricter: what is likelier in than out stays


def train_domains(rows: Sequence[Example], encoder: Encoder, path: Path, seed: int) -> list[dict[str, Any]]:
    """Writes a head of the examples' domains to `path`; report rows as `quality_evaluation.report`, split `domain`.

    Real pages alone are used. `caught` is the share of other domains' pages below the threshold. Nothing is written,
    and no row given, with one domain only.
    """
    pages = [row for row in rows if row.good]
    domains = sorted({row.domain for row in pages} - {GENERAL})
    if len({row.domain for row in pages}) < 2:
        return []
    x = encoder.encode([row.text for row in pages], DEPTHS).astype(np.float64)
    origin = np.array([row.source for row in pages])
    report, weights, bias, thresholds, abstains = [], {}, {}, {}, {}
    for domain in domains:
        y = np.array([row.domain == domain for row in pages]).astype(int)
        logit = np.zeros(len(y))
        for source in np.unique(origin):
            out = origin == source
            if 0 < y[~out].sum() < (~out).sum():
                w, b = fit(x[~out], y[~out], balance(y[~out]), L2)
                logit[out] = x[out] @ w + b
        score, languages = probability(logit), np.array([row.language for row in pages])
        blind = [
            name
            for name in np.unique(languages)
            if not auc(logit[languages == name], y[languages == name]) >= ABSTAIN_BELOW  # nan: it has no such pages
        ]
        judged = (y == 1) & ~np.isin(languages, blind)
        if not judged.any():
            continue
        abstains[domain] = [str(name) for name in blind]
        thresholds[domain] = round(min(float(np.quantile(score[judged], 1 - KEEP)), CAP), 4)
        w, b = fit(x, y, balance(y), L2)
        weights[domain], bias[domain] = [round(float(value), 6) for value in w], round(float(b), 6)
        groups = {f"domain {domain}": np.ones(len(y), bool)}
        groups |= {f"domain, language {domain} {name}": languages == name for name in np.unique(languages)}
        for group, asked in groups.items():
            if 0 < y[asked].sum() < asked.sum():
                caught = float((score[asked & (y == 0)] < thresholds[domain]).mean())
                report.append(
                    {
                        "split": "domain",
                        "group": group,
                        "rows": int(asked.sum()),
                        "auc": round(auc(logit[asked], y[asked]), 3),
                        "caught": round(caught, 3),
                        "auc_length": round(auc(np.array([len(r.text) for r in pages])[asked], y[asked]), 3),
                    }
                )
    card = {
        "task": "the domain of real pages against all others",
        "pages": {name: sum(row.domain == name for row in pages) for name in sorted({row.domain for row in pages})},
        "seed": seed,
        "l2": L2,
        "threshold": f"keeps {KEEP:.0%} of real pages of sources left out, in the languages judged; {CAP} at most",
        "depths": READ,
        "report": report,
    }
    DomainHead(encoder.card.name, encoder.card.sha256, card, weights, bias, thresholds, abstains).write(path)
    return report

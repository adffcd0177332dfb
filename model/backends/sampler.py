"""Which token comes next: penalty, temperature, top-k and top-p as in transformers, drawn by each row's own seed.

One uniform number per row and step, found in the row's cumulated probabilities: a draw depends on the row's seed, its
step and its scores, never on its neighbours in the batch. transformers' own top-p sorts the whole vocabulary and its
multinomial draw reads one shared stream; here only the top-k candidates are sorted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from configs.schema import Sampling


def uniforms(seed: int, count: int) -> np.ndarray:
    """Float64 [count] in [0, 1) by the counter-based Philox generator: the same on every machine."""
    return np.random.Generator(np.random.Philox(key=seed % 2**64)).random(count)


@dataclass(frozen=True, slots=True)
class Draws:
    """What one row needs to draw its tokens: the settings and a uniform number for each step."""

    sampling: Sampling
    uniforms: np.ndarray

    @classmethod
    def of(cls, sampling: Sampling, seed: int) -> "Draws":
        return cls(sampling, uniforms(seed, sampling.max_tokens))


def draw(logits_BV: torch.Tensor, rows: Sequence[Draws], steps: Sequence[int], seen: Sequence[list[int]]) -> list[int]:
    """The next token of each row. `steps` counts the tokens drawn so far; `seen` are prompt and drawn tokens."""
    logits_BV = logits_BV.float()
    if any(row.sampling.repetition_penalty != 1 for row in rows):
        logits_BV = _penalised(logits_BV, rows, seen)
    tokens = [0] * len(rows)
    width = logits_BV.shape[1]
    cuts: dict[bool, list[int]] = {}
    for index, row in enumerate(rows):  # a row without top-k must not make its neighbours sort the vocabulary
        cuts.setdefault(_candidates(row.sampling) == 0, []).append(index)
    for whole, indices in cuts.items():
        count = width if whole else min(width, max(_candidates(rows[i].sampling) for i in indices))
        part_BV = logits_BV if len(indices) == len(rows) else logits_BV[indices]
        top = torch.topk(part_BV, count, dim=1)
        drawn = _from_candidates(top.values, [rows[i] for i in indices], [steps[i] for i in indices])
        chosen = top.indices.gather(1, drawn.to(top.indices.device)[:, None])[:, 0].tolist()
        for index, token in zip(indices, chosen, strict=True):
            tokens[index] = token
    return tokens


def _candidates(sampling: Sampling) -> int:
    return 1 if sampling.temperature == 0 else sampling.top_k


def _from_candidates(scores_BK: torch.Tensor, rows: Sequence[Draws], steps: Sequence[int]) -> torch.Tensor:
    """The rank of the candidate drawn in each row; candidates are sorted, best first."""
    heat = torch.tensor([row.sampling.temperature or 1.0 for row in rows], dtype=torch.float64)
    keep = torch.tensor([_candidates(row.sampling) or scores_BK.shape[1] for row in rows])
    top_p = torch.tensor([row.sampling.top_p for row in rows], dtype=torch.float64)
    uniform = torch.tensor([row.uniforms[step] for row, step in zip(rows, steps, strict=True)], dtype=torch.float64)
    scores_BK = scores_BK.cpu().double() / heat[:, None]
    scores_BK[torch.arange(scores_BK.shape[1]) >= keep[:, None]] = -torch.inf
    share_BK = torch.softmax(scores_BK, dim=1)
    before_BK = share_BK.cumsum(1) - share_BK
    share_BK[before_BK >= top_p[:, None]] = 0  # the first candidate has nothing before it: it always stays
    upto_BK = share_BK.cumsum(1)
    drawn = torch.searchsorted(upto_BK, (uniform * upto_BK[:, -1])[:, None], right=True)[:, 0]
    return torch.minimum(drawn, (share_BK > 0).sum(1) - 1)


def _penalised(logits_BV: torch.Tensor, rows: Sequence[Draws], seen: Sequence[list[int]]) -> torch.Tensor:
    """Scores of seen tokens moved away from being drawn: divided when positive, else multiplied (as CTRL does)."""
    longest = max(map(len, seen))
    # Filled up with a token of the row itself: writing one score twice changes nothing, a padding token would.
    ids_BT = torch.tensor([row + row[:1] * (longest - len(row)) for row in seen], device=logits_BV.device)
    penalty = torch.tensor([row.sampling.repetition_penalty for row in rows], device=logits_BV.device)[:, None]
    scores_BT = logits_BV.gather(1, ids_BT)
    return logits_BV.scatter(1, ids_BT, torch.where(scores_BT < 0, scores_BT * penalty, scores_BT / penalty))

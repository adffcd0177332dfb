"""Draws the next token of each row: repetition penalty, temperature, top-k and top-p with the meaning of transformers.

Each row has a seed of its own and uses one uniform number per step, which selects from its cumulated probabilities. So
a token depends on the row's seed, step and scores alone, not on the other rows of the batch. (transformers draws all
rows from one random stream, and sorts the whole vocabulary for top-p; here only the top-k candidates are sorted.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from configs.schema import Sampling


def uniforms(seed: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 [count], by the counter-based Philox generator: equal on all machines."""
    return np.random.Generator(np.random.Philox(key=seed % 2**64)).random(count)


@dataclass(frozen=True, slots=True)
class Draws:
    """What one row draws its tokens with: the settings and a uniform number for each step."""

    sampling: Sampling
    uniforms: np.ndarray

    @classmethod
    def from_seed(cls, sampling: Sampling, seed: int) -> "Draws":
        return cls(sampling, uniforms(seed, sampling.max_tokens))


def draw(logits_BV: torch.Tensor, rows: Sequence[Draws], steps: Sequence[int], seen: Sequence[list[int]]) -> list[int]:
    """The next token of each row. `steps`: tokens drawn so far; `seen`: the tokens of the prompt and those drawn."""
    logits_BV = logits_BV.float()
    if any(row.sampling.repetition_penalty != 1 for row in rows):
        logits_BV = _penalise(logits_BV, rows, seen)
    tokens = [0] * len(rows)
    width = logits_BV.shape[1]
    rows_by_all: dict[bool, list[int]] = {}  # by whether all tokens are candidates: then the vocabulary is sorted
    for index, row in enumerate(rows):
        rows_by_all.setdefault(_candidates(row.sampling) == 0, []).append(index)
    for is_all, indices in rows_by_all.items():
        count = width if is_all else min(width, max(_candidates(rows[i].sampling) for i in indices))
        part_BV = logits_BV if len(indices) == len(rows) else logits_BV[indices]
        top = torch.topk(part_BV, count, dim=1)
        drawn = _from_candidates(top.values, [rows[i] for i in indices], [steps[i] for i in indices])
        chosen = top.indices.gather(1, drawn.to(top.indices.device)[:, None])[:, 0].tolist()
        for index, token in zip(indices, chosen, strict=True):
            tokens[index] = token
    return tokens


def _candidates(sampling: Sampling) -> int:
    """How many tokens may be drawn; 0: all."""
    return 1 if sampling.temperature == 0 else sampling.top_k


def _from_candidates(scores_BK: torch.Tensor, rows: Sequence[Draws], steps: Sequence[int]) -> torch.Tensor:
    """The rank of the candidate drawn in each row. `scores_BK`: of the K best candidates, the best first."""
    temperature = torch.tensor([row.sampling.temperature or 1.0 for row in rows], dtype=torch.float64)
    keep = torch.tensor([_candidates(row.sampling) or scores_BK.shape[1] for row in rows])
    top_p = torch.tensor([row.sampling.top_p for row in rows], dtype=torch.float64)
    uniform = torch.tensor([row.uniforms[step] for row, step in zip(rows, steps, strict=True)], dtype=torch.float64)
    scores_BK = scores_BK.cpu().double() / temperature[:, None]
    scores_BK[torch.arange(scores_BK.shape[1]) >= keep[:, None]] = -torch.inf
    probability_BK = torch.softmax(scores_BK, dim=1)
    before_BK = probability_BK.cumsum(1) - probability_BK
    probability_BK[before_BK >= top_p[:, None]] = 0  # the first candidate always stays: nothing is before it
    cumulated_BK = probability_BK.cumsum(1)
    drawn = torch.searchsorted(cumulated_BK, (uniform * cumulated_BK[:, -1])[:, None], right=True)[:, 0]
    return torch.minimum(drawn, (probability_BK > 0).sum(1) - 1)


def _penalise(logits_BV: torch.Tensor, rows: Sequence[Draws], seen: Sequence[list[int]]) -> torch.Tensor:
    """Makes tokens that were seen less likely: positive scores are divided, others multiplied (CTRL, Keskar et al.
    2019)."""
    longest = max(map(len, seen))
    # rows are filled up with a token of their own: its score is then written twice, which changes nothing
    ids_BT = torch.tensor([row + row[:1] * (longest - len(row)) for row in seen], device=logits_BV.device)
    penalty = torch.tensor([row.sampling.repetition_penalty for row in rows], device=logits_BV.device)[:, None]
    scores_BT = logits_BV.gather(1, ids_BT)
    return logits_BV.scatter(1, ids_BT, torch.where(scores_BT < 0, scores_BT * penalty, scores_BT / penalty))

"""Draws the next token of each sequence of a batch, by the options of its request.

A sequence draws with one uniform number a token, from a random stream of its own seed: what it draws depends on its
seed and its logits alone, not on the other sequences of the batch.
"""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from model.serve.port import SamplingOptions, TokenLogprob

MAX_CANDIDATES = 1024  # for top-p and min-p; the whole vocabulary is sorted only where these do not reach top_p


@dataclass(eq=False)
class Draws:
    """How one sequence draws: its options, its random stream, and the tokens that penalties count."""

    options: SamplingOptions
    end_tokens: frozenset[int]
    prompt: Sequence[int]
    generated: Counter[int] = field(default_factory=Counter)
    drawn: int = 0
    _random: np.random.Generator | None = None

    def __post_init__(self) -> None:
        options = self.options
        self.is_greedy = options.temperature == 0  # the most likely token is taken
        self._has_penalties = bool(
            options.frequency_penalty or options.presence_penalty or options.repetition_penalty != 1
        )
        self._is_changed = self._has_penalties or bool(options.logit_bias)

    @property
    def changes_logits(self) -> bool:
        """Whether biases or penalties apply to the next token."""
        return self._is_changed or self.drawn < self.options.min_tokens

    def uniform(self) -> float:
        """Returns the next number of the random stream, in [0, 1)."""
        if self._random is None:
            seed = secrets.randbits(63) if self.options.seed is None else self.options.seed % 2**64
            self._random = np.random.Generator(np.random.Philox(key=seed))
        return self._random.random()

    def count(self, token: int) -> None:
        """Counts a token that was drawn."""
        self.drawn += 1
        if self._has_penalties:
            self.generated[token] += 1


def draw(logits_BV: torch.Tensor, rows: Sequence[Draws]) -> list[int]:
    """Returns the next token of each row. `logits_BV` is not changed."""
    changed = [index for index, row in enumerate(rows) if row.changes_logits]
    if changed:
        logits_BV = logits_BV.float().clone()
        for index in changed:
            _adjust(logits_BV[index], rows[index])
    tokens: list[int] = logits_BV.float().argmax(-1).tolist()
    sampled = [index for index, row in enumerate(rows) if not row.is_greedy]
    if sampled:
        part_BV = logits_BV if len(sampled) == len(rows) else logits_BV[sampled]
        for index, token in zip(sampled, _sample(part_BV.float(), [rows[i] for i in sampled]), strict=True):
            tokens[index] = token
    for row, token in zip(rows, tokens, strict=True):
        row.count(token)
    return tokens


def logprobs(logits_BV: torch.Tensor, tokens: Sequence[int], counts: Sequence[int]) -> list[TokenLogprob]:
    """Returns the log-probability of a token in each row, and `counts[row]` most likely alternatives."""
    log_p_BV = logits_BV.float().log_softmax(-1)
    index = torch.tensor(tokens, device=log_p_BV.device)
    chosen = log_p_BV.gather(1, index[:, None])[:, 0].tolist()
    most = max(counts, default=0)
    best = torch.topk(log_p_BV, min(most, log_p_BV.shape[1]), dim=1)
    values, places = best.values.tolist(), best.indices.tolist()
    return [
        TokenLogprob(token, chosen[row], tuple(zip(places[row][:count], values[row][:count], strict=True)))
        for row, (token, count) in enumerate(zip(tokens, counts, strict=True))
    ]


def _adjust(logits_V: torch.Tensor, row: Draws) -> None:
    """Applies biases, minimum length and penalties of one row, in place.

    The repetition penalty divides positive logits of seen tokens and multiplies others (CTRL, arXiv 1909.05858); the
    frequency and presence penalties are those of OpenAI's API.
    """
    options, device = row.options, logits_V.device
    if options.logit_bias:
        places = torch.tensor(list(options.logit_bias), device=device)
        logits_V[places] += torch.tensor(list(options.logit_bias.values()), device=device, dtype=logits_V.dtype)
    if row.drawn < options.min_tokens and (ends := row.end_tokens | set(options.stop_token_ids)):
        logits_V[torch.tensor(sorted(ends), device=device)] = -torch.inf
    if options.repetition_penalty != 1:
        seen = torch.tensor(sorted({*row.prompt, *row.generated}), device=device)
        scores = logits_V[seen]
        penalty = options.repetition_penalty
        logits_V[seen] = torch.where(scores < 0, scores * penalty, scores / penalty)
    if row.generated and (options.frequency_penalty or options.presence_penalty):
        places = torch.tensor(list(row.generated), device=device)
        counts = torch.tensor(list(row.generated.values()), device=device, dtype=logits_V.dtype)
        logits_V[places] -= options.frequency_penalty * counts + options.presence_penalty


def _sample(logits_BV: torch.Tensor, rows: Sequence[Draws]) -> list[int]:
    """Returns a token of each row, drawn from what temperature, min-p, top-k and top-p leave."""
    device = logits_BV.device
    temperature = torch.tensor([row.options.temperature for row in rows], device=device)
    p_BV = (logits_BV / temperature[:, None]).softmax(-1)
    uniform = torch.tensor([row.uniform() for row in rows], device=device, dtype=torch.float64)
    is_cut = [row.options.top_p < 1 or row.options.top_k > 0 or row.options.min_p > 0 for row in rows]
    tokens = [0] * len(rows)
    if free := [index for index, cut in enumerate(is_cut) if not cut]:
        for index, token in zip(free, _pick(p_BV[free], uniform[free]).tolist(), strict=True):
            tokens[index] = token
    if cut := [index for index, value in enumerate(is_cut) if value]:
        for index, token in zip(cut, _pick_cut(p_BV[cut], uniform[cut], [rows[i] for i in cut]), strict=True):
            tokens[index] = token
    return tokens


def _pick_cut(p_BV: torch.Tensor, uniform_B: torch.Tensor, rows: Sequence[Draws]) -> list[int]:
    """Returns a token of each row, all of which have a top-k, a top-p or a min-p.

    As in vLLM, top-p is a share of what min-p and top-k leave.
    """
    device, width = p_BV.device, p_BV.shape[1]
    top_k = torch.tensor([row.options.top_k or width for row in rows], device=device)
    top_p = torch.tensor([row.options.top_p for row in rows], device=device)
    min_p = torch.tensor([row.options.min_p for row in rows], device=device)
    count = min(width, MAX_CANDIDATES)
    best = torch.topk(p_BV, count, dim=1)
    cumulated = best.values.sum(1)
    is_limited = (top_k <= count) | (best.values[:, -1] < min_p * best.values[:, 0])
    is_enough = is_limited | ((top_k >= width) & (cumulated >= top_p))
    if count < width and not bool(is_enough.all()):
        best = torch.sort(p_BV, dim=1, descending=True)
        is_limited |= True
    p_BK, token_BK = best
    rank_K = torch.arange(p_BK.shape[1], device=device)
    p_BK = p_BK.masked_fill((rank_K >= top_k[:, None]) | (p_BK < min_p[:, None] * p_BK[:, :1]), 0)
    left_B = torch.where(is_limited, p_BK.sum(1), 1.0)
    before_BK = p_BK.cumsum(1) - p_BK  # the first candidate always stays: nothing is before it
    place_B = _pick(p_BK.masked_fill(before_BK >= (top_p * left_B)[:, None], 0), uniform_B)
    return token_BK.gather(1, place_B[:, None])[:, 0].tolist()


def _pick(p_BK: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """Returns the place at which the cumulated probability passes the uniform number, [B]."""
    cumulated_BK = p_BK.double().cumsum(1)
    target_B1 = (uniform_B * cumulated_BK[:, -1])[:, None]
    place_B = torch.searchsorted(cumulated_BK, target_B1, right=True)[:, 0]
    last_B = (p_BK > 0).double().mul(torch.arange(1, p_BK.shape[1] + 1, device=p_BK.device)).argmax(1)
    return torch.minimum(place_B, last_B)

"""The decoding loop of the transformers backend, with continuous batching.

`generate` of transformers keeps a batch until its longest answer ends and copies the whole key-value cache at each
step. Here a row leaves the batch when it is finished, waiting prompts take its place, and the cache grows in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from model.backends.sampler import Draws, draw
from stages.ports import ProgressCallback

_CACHE_GROWTH = 64  # positions that a full cache gets more
_PREFILL_TOKENS = 2048  # prompt tokens read at once: larger activations do not fit into a CPU's cache


@dataclass(slots=True, eq=False)
class Draft:
    """An answer in progress: the prompt's tokens, the tokens drawn so far, and whether an end token was drawn.

    `log_probability`: of the tokens at temperature 1 without penalties, in nats; None where it is not asked for.
    """

    prompt: list[int]
    draws: Draws
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False
    log_probability: float | None = None

    @property
    def finished(self) -> bool:
        """Whether it ended, or has as many tokens as it may have."""
        return self.stopped or len(self.tokens) >= self.draws.sampling.max_tokens


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    drafts: Sequence[Draft],
    *,
    slots: int,
    ends: frozenset[int],
    filler: int,
    progress: ProgressCallback | None = None,
) -> None:
    """Draws the tokens of all drafts, in place, at most `slots` drafts at a time, the longest prompts first.

    `ends`: tokens that end an answer; they are not kept. `filler`: any token, for padding. `progress` is called after
    each step with the number of finished drafts and of all tokens drawn so far.
    """
    waiting = sorted(drafts, key=lambda draft: len(draft.prompt))
    batch = _Batch(model, ends, filler)
    while waiting or batch.rows:
        free = slots - batch.live
        if waiting and (not batch.live or (batch.mergeable and free >= max(1, slots // 4))):
            batch.admit([waiting.pop() for _ in range(min(free, len(waiting)))])
        else:
            batch.step()
        if progress is not None:
            progress(len(drafts) - len(waiting) - batch.live, batch.drawn_tokens)
        if len(batch.rows) - batch.live >= max(1, slots // 8) or not batch.live:
            batch.keep_live()


class _Batch:
    """The rows that are decoded and their cache. Finished rows stay until the cache is copied for another reason."""

    def __init__(self, model: PreTrainedModel, ends: frozenset[int], filler: int):
        self.model, self.ends, self.filler = model, ends, filler
        self.rows: list[Draft] = []
        self.drawn_tokens = 0  # of all rows, also of those that have left
        self.cache = _new_cache(model)
        self.mask_BT = torch.zeros(0, 0, dtype=torch.long)
        # a cache with a sliding window forgets positions, so that rows of different age cannot share it
        self.mergeable = all(isinstance(layer, _Layer) for layer in self.cache.layers)

    @property
    def live(self) -> int:
        return sum(not row.finished for row in self.rows)

    def admit(self, rows: list[Draft]) -> None:
        """Reads the prompts of new rows, draws their first tokens, and adds them below the live rows.

        Neighbouring rows with the same prompt share one reading of it.
        """
        parts = [(self.cache, self.mask_BT, self._keep())]
        groups = [list(group) for _, group in groupby(rows, key=lambda row: row.prompt)]
        size = len(groups) if not self.mergeable else max(1, _PREFILL_TOKENS // max(1, len(rows[0].prompt)))
        for start in range(0, len(groups), size):
            chunk = groups[start : start + size]
            longest = max(len(group[0].prompt) for group in chunk)
            gaps = [longest - len(group[0].prompt) for group in chunk]
            ids = [[self.filler] * gap + group[0].prompt for gap, group in zip(gaps, chunk, strict=True)]
            mask_BT = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps])
            cache = _new_cache(self.model)
            logits_BV = self._forward(torch.tensor(ids), mask_BT, cache)
            places = [place for place, group in enumerate(chunk) for _ in group]
            new = [row for group in chunk for row in group]
            self._advance(new, logits_BV if len(new) == len(chunk) else logits_BV[places])
            parts.append((cache, mask_BT, places))
        kept = [self.rows[index] for index in parts[0][2]]
        self._merge(parts)
        self.rows = kept + rows

    def step(self) -> None:
        """One more token for every live row."""
        self.mask_BT = pad(self.mask_BT, (0, 1), value=1)
        last = torch.tensor([row.tokens[-1:] or [self.filler] for row in self.rows])
        self._advance(self.rows, self._forward(last, self.mask_BT, self.cache))

    def keep_live(self) -> None:
        """Removes the finished rows."""
        keep = self._keep()
        self._merge([(self.cache, self.mask_BT, keep)])
        self.rows = [self.rows[index] for index in keep]

    def _keep(self) -> list[int]:
        return [index for index, row in enumerate(self.rows) if not row.finished]

    def _forward(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
        device = self.model.device
        out = self.model(
            input_ids=ids_BT.to(device),
            attention_mask=mask_BT.to(device),
            position_ids=positions_BT.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]

    def _advance(self, rows: list[Draft], logits_BV: torch.Tensor) -> None:
        live = [index for index, row in enumerate(rows) if not row.finished]
        chosen = [rows[index] for index in live]
        logits_BV = logits_BV if len(live) == len(rows) else logits_BV[live]
        drawn = draw(
            logits_BV,
            [row.draws for row in chosen],
            [len(row.tokens) for row in chosen],
            [row.prompt + row.tokens for row in chosen],
        )
        is_asked = any(row.log_probability is not None for row in chosen)
        log_p = _log_probabilities(logits_BV, drawn) if is_asked else [0.0] * len(drawn)
        for row, token, value in zip(chosen, drawn, log_p, strict=True):
            if token in self.ends:
                row.stopped = True
            else:
                row.tokens.append(token)
                self.drawn_tokens += 1
                if row.log_probability is not None:
                    row.log_probability += value

    def _merge(self, parts: list[tuple[DynamicCache, torch.Tensor, list[int]]]) -> None:
        """Makes one batch of all parts. A part: a cache, its mask and the rows of it to keep,
        which may repeat."""
        parts = [part for part in parts if part[2]]
        if not parts:
            self.cache, self.mask_BT = _new_cache(self.model), torch.zeros(0, 0, dtype=torch.long)
        elif self.mergeable:
            masks = [mask_BT[keep] for _, mask_BT, keep in parts]
            length = max(int(mask_BT.sum(1).max()) for mask_BT in masks)  # rows end at the right; the rest is padding
            self.mask_BT = torch.cat([pad(mask_BT, (length - mask_BT.shape[1], 0)) for mask_BT in masks])
            self.cache = _new_cache(self.model)
            for index, layer in enumerate(self.cache.layers):
                assert isinstance(layer, _Layer)
                layer.join([(cache.layers[index], keep) for cache, _, keep in parts], length)
        else:
            (self.cache, self.mask_BT, keep) = parts[0]
            self.cache.batch_select_indices(torch.tensor(keep, device=self.model.device))
            self.mask_BT = self.mask_BT[keep]


def _log_probabilities(logits_BV: torch.Tensor, tokens: list[int]) -> list[float]:
    logits_BV = logits_BV.float()
    index = torch.tensor(tokens, device=logits_BV.device)[:, None]
    return (logits_BV.gather(1, index)[:, 0] - logits_BV.logsumexp(1)).tolist()


def _new_cache(model: PreTrainedModel) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    cache.layers = [_Layer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _Layer(DynamicLayer):
    """Keys and values [B, H, T, D] in larger buffers: a step writes one position instead of copying all of them."""

    def __init__(self):
        super().__init__()
        self.buffers: list[torch.Tensor] = []

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, states = self.get_seq_length(), (key_states, value_states)
        end = start + key_states.shape[-2]
        if not self.buffers or end > self.buffers[0].shape[-2]:
            old = self.buffers
            self.buffers = [_zeros(part, part.shape[0], end + _CACHE_GROWTH) for part in states]
            for buffer, before in zip(self.buffers, old):  # noqa: B905 (none the first time)
                buffer[:, :, :start] = before[:, :, :start]
        for buffer, part in zip(self.buffers, states, strict=True):
            buffer[:, :, start:end] = part
        return self._set_length(end)

    def join(self, parts: Sequence[tuple[object, list[int]]], length: int) -> None:
        """Fills this new layer with the last `length` positions of the kept rows of each part, aligned at the right."""
        count = sum(len(keep) for _, keep in parts)
        row = 0
        for layer, keep in parts:
            assert isinstance(layer, _Layer)
            if not self.buffers:
                self.lazy_initialization(*layer.buffers)
                self.buffers = [_zeros(buffer, count, length + _CACHE_GROWTH) for buffer in layer.buffers]
            used = layer.get_seq_length()
            take = min(length, used)
            rows = torch.tensor(keep, device=self.buffers[0].device)
            for target, source in zip(self.buffers, layer.buffers, strict=True):
                picked = source[:, :, used - take : used].index_select(0, rows)
                target[row : row + len(keep), :, length - take : length] = picked
            row += len(keep)
        self._set_length(length)

    def _set_length(self, length: int):
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)
        return self.keys, self.values


def _zeros(like: torch.Tensor, rows: int, length: int) -> torch.Tensor:
    # not uninitialised memory: a NaN in a masked position would still make the attention's sum NaN
    return like.new_zeros(rows, like.shape[1], length, like.shape[3])

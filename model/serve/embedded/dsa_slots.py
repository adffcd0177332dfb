"""`DsaSlots`: the DSA model over slots. The arenas are the `Pages` of its layers, one row a slot."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from model.attention import decode
from model.attention.pages import Pages
from model.lm import DsaForCausalLM
from model.lm.kv_cache import DsaCache
from model.serve.embedded.decode_graphs import DecodeGraphs
from model.serve.embedded.decode_pass import DecodePass
from model.serve.embedded.joined_network import JoinedNetwork
from model.serve.embedded.prompt_pass import MAX_TOKENS_PER_PASS, PromptPass
from model.serve.embedded.slot_model import SlotModel, integers
from model.serve.port import AdapterRef


class DsaSlots(SlotModel):
    """See `SlotModel`. Where a GPU runs the kernels, short prompts and decode steps (no adapters) are CUDA graphs."""

    def __init__(self, network: DsaForCausalLM, slots: int, max_length: int) -> None:
        config = network.config
        dense_below = config.sparsity.dense_below if config.attention == "sparse" else None
        super().__init__(network, slots, max_length, network.layers, dense_below)
        self._cache = DsaCache(len(network.layers))
        self._cache.start(slots, network.device)
        gate: Any = network.layers[0].attention.gate  # pyright: ignore
        keys_like = torch.empty(
            len(network.layers) * slots, 0, config.num_key_value_heads, config.head_dim,
            device=network.device, dtype=network.dtype,
        )  # fmt: skip
        pages = Pages.empty(keys_like, gate, config.sparsity)
        pages.reserve(max_length + 1)
        for number, layer in enumerate(self._cache.layers):
            layer.set_pages(pages.rows(number * slots, (number + 1) * slots))  # pyright: ignore
        self._pages = pages
        joined = JoinedNetwork(network, max_length + 1)
        self._prompt_pass, self._decode_pass = PromptPass(joined, pages), DecodePass(joined, pages)
        self._longest_short = min(self.dense_below or MAX_TOKENS_PER_PASS, MAX_TOKENS_PER_PASS, max_length)
        self._parts: dict[int, DsaCache] = {}  # the first slots, by their number
        sizes = config.head_dim, config.gate_dim, config.sparsity.block
        self._graphs: DecodeGraphs | None = None
        self._has_graphs = decode.has_kernels(*sizes, network.dtype, network.device)
        if self._has_graphs:
            self._capture()

    @classmethod
    def bytes_per_token(cls, network: DsaForCausalLM) -> int:
        """Returns the bytes of keys, values and block summaries for each token."""
        config = network.config
        keys_and_values = 2 * config.num_key_value_heads * config.head_dim
        levels = config.fanout / (config.fanout - 1)  # of summaries, each smaller by `fanout` than the one below
        summaries = math.ceil(config.num_key_value_heads * config.gate_dim * levels / config.block)
        return config.num_hidden_layers * (keys_and_values + summaries) * network.dtype.itemsize

    def clear(self) -> None:
        for tensor in (self._pages.keys, self._pages.values, self._pages.tail, *self._pages.levels):
            tensor.zero_()
        if self._has_graphs:
            self._capture()

    def _capture(self) -> None:
        """Compiles the kernels, and captures all graphs. The slots must be free."""
        self._graphs = None
        self._prompt_pass.drop_graphs()
        self._compile_prefill()
        self._prompt_pass.capture(self._longest_short)
        self._graphs = DecodeGraphs(self._decode_pass, self.slots, self.dense_below, self.network.device)
        self._graphs.capture_all()

    @torch.inference_mode()
    def prefill(
        self,
        first_slot: int,
        chunks: Sequence[Sequence[int]],
        offset: int,
        adapters: Sequence[AdapterRef | None],
        between_layers: Callable[[], None],
        *,
        all_logits: bool = False,
    ) -> torch.Tensor:
        longest = max(map(len, chunks))
        if not any(adapters):
            if offset or all_logits or longest > self._longest_short:
                return self._prompt_pass.read(first_slot, chunks, offset, between_layers, all_logits=all_logits)
            slots = range(first_slot, first_slot + len(chunks))
            return self._prompt_pass.read_short(slots, chunks, between_layers)
        cache = self._cache.rows(first_slot, first_slot + len(chunks))
        cache.lengths = [offset] * len(chunks)
        cache.positions_B.fill_(offset)
        # Padded on the left, so that the last tokens are at the same place; the model moves the padding.
        ids = [[0] * (longest - len(chunk)) + list(chunk) for chunk in chunks]
        mask_BT = None
        if any(len(chunk) < longest for chunk in chunks):
            mask = [[0] * (longest - len(chunk)) + [1] * len(chunk) for chunk in chunks]
            mask_BT = integers(mask, self.network.device)
        with self._breaks.calling(between_layers):
            logits_BTV = self._with_adapters(
                adapters,
                input_ids=integers(ids, self.network.device),
                attention_mask=mask_BT,
                past_key_values=cache,
                logits_to_keep=0 if all_logits else 1,
            ).logits
        return logits_BTV[0] if all_logits else logits_BTV[:, -1]

    def _compile_prefill(self) -> None:
        """Reads meaningless chunks, so that no request waits until the kernels of each length are compiled."""
        sparsity, chunk = self.network.config.sparsity, 2 * self.network.config.block
        offsets = [0, chunk]  # dense
        if self.dense_below is not None:
            offsets += sparsity.offsets_of_all_widths(chunk, self.max_length)
        for offset in offsets:
            if offset + chunk <= self.max_length:
                self.prefill(0, [[0] * chunk], offset, [None], lambda: None)

    @torch.inference_mode()
    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], adapters: Sequence[AdapterRef | None]
    ) -> torch.Tensor:
        is_sparse = self.dense_below is not None and max(positions) >= self.dense_below
        if not any(adapters):
            if self._graphs is not None:
                return self._graphs.step(tokens, positions, is_sparse)
            ids_B = integers(tokens, self.network.device)
            positions_B = integers(positions, self.network.device, torch.int32)
            return self._decode_pass.run(ids_B, positions_B, is_sparse=is_sparse)
        ids_BT = integers(tokens, self.network.device)[:, None]
        cache = self._first_slots(len(tokens))
        cache.lengths = list(positions)
        cache.positions_B.copy_(integers(positions, self.network.device))
        return self._with_adapters(adapters, input_ids=ids_BT, past_key_values=cache).logits[:, -1]

    def _first_slots(self, count: int) -> DsaCache:
        if count not in self._parts:
            self._parts[count] = self._cache.rows(0, count)
        return self._parts[count]

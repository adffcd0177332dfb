"""`HfSlots`: any causal model of transformers with full attention, over slots.

The arenas are the layers of its KV cache. Each row has its own length, so masks are given for each pass.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from configs.errors import ConfigError
from model.serve.embedded.slot_model import SlotModel, integers
from model.serve.port import AdapterRef


class HfSlots(SlotModel):
    """See `SlotModel`.

    Raises:
        ConfigError: a layer of the model has a sliding window or a state, which slots cannot hold.
    """

    def __init__(self, network: Any, slots: int, max_length: int) -> None:
        kinds = {type(layer) for layer in DynamicCache(config=network.config).layers}
        if kinds - {DynamicLayer}:
            names = ", ".join(sorted(kind.__name__ for kind in kinds - {DynamicLayer}))
            raise ConfigError(
                f"model: {network.config.model_type} has layers without full attention ({names}); "
                "the embedded engine cannot serve it, use --engine vllm"
            )
        super().__init__(network, slots, max_length, network.get_decoder().layers, None)
        if network.device.type == "cpu" and network.dtype == torch.float32 and torch.backends.mkl.is_available():
            _store_by_columns(network.get_decoder())
        count = network.config.get_text_config().num_hidden_layers
        self._window = _Window()
        self._layers = [_SlotLayer(self._window, slots, max_length + 1) for _ in range(count)]
        self._cache = Cache(layers=[*self._layers])
        self._position_T = torch.arange(max_length + 1, device=network.device)

    @classmethod
    def bytes_per_token(cls, network: Any) -> int:
        """Returns the bytes of keys and values for each token."""
        config = network.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return 2 * config.num_hidden_layers * heads * head_dim * network.dtype.itemsize

    def clear(self) -> None:
        for layer in self._layers:
            layer.clear()

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
        longest, device = max(map(len, chunks)), self.network.device
        end = offset + longest
        self._window.set(first_slot, first_slot + len(chunks), end, offset)
        position_T = self._position_T[offset:end]
        mask_BHTT = (self._position_T[:end] <= position_T[:, None])[None, None]
        last_B = integers([len(chunk) - 1 for chunk in chunks], device)
        places_P = last_B.unique()
        # Padded on the right: padding is behind what its row attends, and is overwritten by the next tokens.
        ids_BT = integers([[*chunk, *([0] * (longest - len(chunk)))] for chunk in chunks], device)
        with self._breaks.calling(between_layers):
            logits_BTV = self._with_adapters(
                adapters,
                input_ids=ids_BT,
                attention_mask=mask_BHTT.expand(len(chunks), 1, longest, end),
                position_ids=position_T[None].expand(len(chunks), longest),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=0 if all_logits else places_P,
            ).logits
        if all_logits:
            return logits_BTV[0]
        return logits_BTV[torch.arange(len(chunks), device=device), torch.searchsorted(places_P, last_B)]

    @torch.inference_mode()
    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], adapters: Sequence[AdapterRef | None]
    ) -> torch.Tensor:
        device = self.network.device
        position_B = integers(positions, device)
        end = max(positions) + 1
        mask_BHTT = (self._position_T[:end] <= position_B[:, None])[:, None, None]
        outer = self._window.get()  # of a prefill, between whose layers this step may be
        self._window.set(0, len(tokens), end, position_B)
        logits_BTV = self._with_adapters(
            adapters,
            input_ids=integers(tokens, device)[:, None],
            attention_mask=mask_BHTT,
            position_ids=position_B[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        self._window.set(*outer)
        return logits_BTV[:, -1]


class _Window:
    """The part of the arenas that a pass uses: slots `first` to `last` and positions to `end`, without these two.

    It writes at `at`.
    """

    def __init__(self) -> None:
        self.first = self.last = self.end = 0
        self.at: int | torch.Tensor = 0

    def get(self) -> tuple[int, int, int, int | torch.Tensor]:
        """Returns what `set` was given."""
        return self.first, self.last, self.end, self.at

    def set(self, first: int, last: int, end: int, at: int | torch.Tensor) -> None:
        """Names the part. `at`: the position of the first token of each row, or one position for each row."""
        self.first, self.last, self.end, self.at = first, last, end, at


class _SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, [slots, heads, positions, D]."""

    def __init__(self, window: _Window, slots: int, max_length: int) -> None:
        super().__init__()
        self._window, self._slots, self._max_length = window, slots, max_length
        self._arenas: list[torch.Tensor] = []

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        window = self._window
        if not self._arenas:
            self.lazy_initialization(key_states, value_states)
        views = []
        for arena, states in zip(self._arenas, (key_states, value_states), strict=True):
            rows = arena[window.first : window.last]
            if isinstance(window.at, int):
                rows[:, :, window.at : window.end] = states
            else:
                rows[torch.arange(rows.shape[0], device=rows.device), :, window.at] = states[:, :, 0]
            views.append(rows[:, :, : window.end])
        return tuple(views)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        # Zeros: a NaN in a masked place would still make the attention's sum NaN.
        self._arenas = [
            states.new_zeros(self._slots, states.shape[1], self._max_length, states.shape[3])
            for states in (key_states, value_states)
        ]
        self.is_initialized = True

    @torch.inference_mode()
    def clear(self) -> None:
        """Fills the arenas with zeros."""
        for arena in self._arenas:
            arena.zero_()

    def get_seq_length(self) -> int:
        return self._window.at if isinstance(self._window.at, int) else self._window.end - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._window.end, 0

    def get_max_cache_shape(self) -> int:
        return self._max_length

    def get_max_length(self) -> int:
        return self._max_length


def _store_by_columns(network: torch.nn.Module) -> None:
    """Stores the weights of linear layers, [out, in], by columns: MKL multiplies four to eight rows faster with them.

    docs/lab/serving.md has the times. The values are the same.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.t().contiguous().t()

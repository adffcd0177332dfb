"""`SlotModel`: a language model over slots, each of which holds the KV cache of one sequence.

Slots are rows of arenas that are allocated once, so nothing is copied when sequences come and go. A decode step runs
over the first slots up to the last one in use. It also writes a meaningless token into slots that are free or still
being read, behind what is read: a place that the next write to that slot overwrites. So there is room for one token
more than `max_length`.
"""

import contextlib
import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.errors import ConfigError
from model.serve.embedded.lora import MixedAdapters
from model.serve.port import AdapterRef


class SlotModel(ABC):
    """A model over slots. `adapters` names the adapter of each row; None: the base model.

    Args:
        network: the base model.
        slots: sequences at once.
        max_length: tokens of each.
        layers: of the network.
        dense_below: longest text whose attention is dense; None: of all texts.
    """

    def __init__(
        self, network: Any, slots: int, max_length: int, layers: Iterable[torch.nn.Module], dense_below: int | None
    ) -> None:
        self.network, self.slots, self.max_length, self.dense_below = network, slots, max_length, dense_below
        self.vocab_size: int = network.config.get_text_config().vocab_size
        self.end_tokens = end_tokens_of(network)
        self._with_adapters, self._breaks = MixedAdapters(network), LayerBreaks(layers)

    @abstractmethod
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
        """Reads one chunk of tokens into each of the slots from `first_slot` on, and returns the logits [B, V] of each
        chunk's last token; with `all_logits`, of one chunk's T tokens, [T, V].

        Args:
            first_slot: the first slot.
            chunks: token ids. Of several chunks the lengths may differ only where `offset` is 0.
            offset: tokens that these slots hold already.
            adapters: one for each chunk.
            between_layers: is called between two layers; it may call `decode`.
            all_logits: one chunk only.
        """

    @abstractmethod
    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], adapters: Sequence[AdapterRef | None]
    ) -> torch.Tensor:
        """Reads one token into each of the first slots, at the positions, and returns logits [B, V]."""

    @abstractmethod
    def clear(self) -> None:
        """Empties the slots, and makes CUDA graphs anew. Weights and adapters stay."""

    def restart(self) -> None:
        """Repairs what a step that failed may have left broken, and proves it by reading two tokens into slot 0."""
        gc.collect()
        if self.network.device.type == "cuda":
            torch.cuda.empty_cache()
        self.clear()
        self.prefill(0, [[0]], 0, [None], lambda: None)
        self.decode([0], [1], [None])
        self.wait()

    def wait(self) -> None:
        """Waits until what was started on a GPU is finished."""
        if self.network.device.type == "cuda":
            torch.cuda.current_stream().synchronize()

    def load_adapter(self, adapter: AdapterRef) -> None:
        """Loads an adapter. Raises ConfigError: it does not fit the model."""
        self._with_adapters.load(adapter)

    def unload_adapter(self, adapter: AdapterRef) -> None:
        """Frees an adapter."""
        self._with_adapters.unload(adapter)


class LayerBreaks:
    """Calls a function before each layer of a network's pass, but not of the passes that this function starts."""

    def __init__(self, layers: Iterable[torch.nn.Module]) -> None:
        self._between: Callable[[], None] | None = None
        for layer in layers:
            layer.register_forward_pre_hook(self._pause)

    @contextlib.contextmanager
    def calling(self, between_layers: Callable[[], None]) -> Iterator[None]:
        """Calls the function inside the block."""
        self._between = between_layers
        try:
            yield
        finally:
            self._between = None

    def _pause(self, module: torch.nn.Module, inputs: object) -> None:
        between, self._between = self._between, None
        if between is not None:
            between()
            self._between = between


def integers(
    rows: Sequence[int] | Sequence[Sequence[int]], device: torch.device, dtype: torch.dtype = torch.int64
) -> torch.Tensor:
    """Returns a tensor of Python's integers. `torch.tensor` takes eight times as long, and no other thread runs."""
    return torch.from_numpy(np.array(rows, dtype=np.int64)).to(device, dtype)


def choose_sizes(
    slots: int | None, max_length: int | None, longest: int, bytes_per_token: int, budget: int, device: str
) -> tuple[int, int]:
    """Returns the number of slots, and the tokens of each, that fit into `budget` bytes.

    Args:
        slots: as asked for; None: 8 on a CPU, 64 on a GPU, fewer if the memory is small.
        max_length: as asked for; None: the model's longest text, shorter if the memory is small.
        longest: the model's longest text.
        bytes_per_token: of the KV cache.
        budget: bytes for the KV cache.
        device: cpu or cuda.

    Raises:
        ConfigError: what was asked for does not fit.
    """
    if max_length is not None and max_length > longest:
        raise ConfigError(f"max_length: {max_length} tokens, but the model reads at most {longest}; lower it")
    tokens = budget // bytes_per_token
    wanted_slots = slots or (64 if device == "cuda" else 8)
    length = max_length or min(longest, max(tokens // wanted_slots, min(longest, 2048)))
    fitting = tokens // length
    if slots is None:
        wanted_slots = min(wanted_slots, fitting)
    if not 0 < wanted_slots <= fitting:
        raise ConfigError(
            f"slots: {max(wanted_slots, 1)} sequences of {length} tokens need "
            f"{max(wanted_slots, 1) * length * bytes_per_token / 2**30:.1f} GiB for keys and values, but there are "
            f"{budget / 2**30:.1f} GiB; lower slots or max_length"
        )
    return wanted_slots, length


def kv_budget(device: torch.device, cpu_bytes: int) -> int:
    """Returns bytes for the KV cache: `cpu_bytes` on a CPU; on a GPU 85 % of what is free."""
    if device.type != "cuda":
        return cpu_bytes
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * 0.85)


def load_config(folder: Path) -> Any:
    """Returns the configuration of a model folder. Raises ConfigError."""
    from transformers import AutoConfig

    import model.lm  # noqa: F401 - registers the DSA model

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder}: no model that can be loaded ({str(error).splitlines()[0]}); give a folder with the config.json "
            "of a model"
        ) from None


def end_tokens_of(network: Any) -> frozenset[int]:
    """Returns the tokens that end an answer, as the model's generation configuration says."""
    value = network.generation_config.eos_token_id
    if value is None:
        value = getattr(network.config, "eos_token_id", None)
    return frozenset() if value is None else frozenset([value] if isinstance(value, int) else value)

"""All that differs between the versions of vLLM that the plugin runs on, 0.26 to 0.30."""

from typing import Any

import torch
from vllm.v1.kv_cache_interface import MLAAttentionSpec  # pyright: ignore

try:
    from vllm.v1.kv_cache_interface import KVCacheLayout  # pyright: ignore
except ImportError:  # before 0.28
    KVCacheLayout: Any = None

# Tokens of one state of a cache: `compress_ratio` until 0.28, then `tokens_per_state`.
_STATE_FIELD = "tokens_per_state" if "tokens_per_state" in MLAAttentionSpec.__dataclass_fields__ else "compress_ratio"


def one_state_a_page(block: int, width: int) -> Any:
    """Returns the specification of a cache that has one row of `width` numbers of float32 for each page."""
    return MLAAttentionSpec(
        block_size=block, num_kv_heads=1, head_size=width, dtype=torch.float32, **{_STATE_FIELD: block}
    )


def state_rows(cache: torch.Tensor, heads: int) -> torch.Tensor:
    """Returns a view [pages, heads, width of a head] of the cache of `one_state_a_page`.

    vLLM gives [pages, 1, width] until 0.28, [pages, 1, 1, width] since.
    """
    return cache.view(cache.shape[0], heads, -1)


class CacheLayout:
    """The layout methods of an attention backend: pages [pages, heads, tokens, 2 × head size], in this order in memory.

    The first two methods are for 0.26 to 0.28, where a backend states shapes; later versions ask for the third.
    """

    @staticmethod
    def get_kv_cache_shape(
        num_blocks: int, block_size: int, num_kv_heads: int, head_size: int, cache_dtype_str: str = "auto"
    ) -> tuple[int, ...]:
        """The shape of keys and values."""
        return num_blocks, num_kv_heads, block_size, 2 * head_size

    @staticmethod
    def get_kv_cache_stride_order(include_num_layers_dimension: bool = False) -> tuple[int, ...]:
        """The dimensions in memory are those of the shape; layers are not interleaved."""
        if include_num_layers_dimension:
            raise NotImplementedError  # so vLLM asks whether layers can be interleaved; it catches this
        return 0, 1, 2, 3

    @classmethod
    def supported_kv_cache_layouts(cls) -> tuple[Any, ...] | None:
        """The same for 0.29 and later: heads before tokens."""
        return None if KVCacheLayout is None else (KVCacheLayout.LBHNC, KVCacheLayout.BLHNC)


class StateLayout(CacheLayout):
    """The same for the cache of `one_state_a_page`: [pages, 1, width]."""

    @staticmethod
    def get_kv_cache_shape(
        num_blocks: int, block_size: int, num_kv_heads: int, head_size: int, cache_dtype_str: str = "auto"
    ) -> tuple[int, ...]:
        """The shape of the states; `block_size` counts states."""
        return num_blocks, block_size, head_size

    @staticmethod
    def get_kv_cache_stride_order(include_num_layers_dimension: bool = False) -> tuple[int, ...]:
        """As of `CacheLayout`."""
        if include_num_layers_dimension:
            raise NotImplementedError  # as above
        return 0, 1, 2


def lengths_on_host(metadata: Any) -> list[int]:
    """Returns the length of each text after the step; exact where several tokens are read. May wait for the GPU."""
    for name in ("seq_lens_cpu_upper_bound", "_seq_lens_cpu"):
        lengths = getattr(metadata, name, None)
        if lengths is not None:
            return lengths.tolist()
    return metadata.seq_lens.tolist()

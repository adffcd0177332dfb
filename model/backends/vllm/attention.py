"""vLLM's FlashAttention backend, with this project's kernel (`triton_kernel`) for sequences that are decoding.

vLLM orders the sequences of a step: first those that decode one token, then those that read prompts. The metadata
builder splits the step there; the layers run our kernel on the first part and FlashAttention on the second. If the
kernel cannot serve one of the layers, FlashAttention does everything. `VllmEngine` registers the backend as an override
of FLASH_ATTN, as vLLM's registry of attention backends allows.
"""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from vllm.v1.attention.backend import AttentionCGSupport, AttentionType  # pyright: ignore
from vllm.v1.attention.backends.flash_attn import (  # pyright: ignore
    FlashAttentionBackend,
    FlashAttentionImpl,
    FlashAttentionMetadataBuilder,
)

from model.backends.vllm import triton_kernel as triton_attention

log = logging.getLogger(__name__)
HOPPER = 9  # compute capability; others were not measured
PROGRAMS = 2  # of the kernel for each multiprocessor, at least: below, FlashAttention is faster, which splits sequences
NARROW = ("fp8", "fp8_e4m3")  # names of a cache of 8 bits


@dataclass(frozen=True, slots=True)
class Written:
    """The sequences of a step that write one token each: the first `count`, which are all unless `more` follow."""

    count: int
    table: torch.Tensor  # (count, pages of one)
    lengths: torch.Tensor  # (count,)
    more: bool


class ShortAttention(FlashAttentionImpl):
    """vLLM's FlashAttention layer, with our kernel for the sequences of a step that write one token each."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.plain = (
            triton_attention.attends(self.num_heads, self.num_kv_heads, self.head_size)
            and self.attn_type == AttentionType.DECODER
            and self.kv_cache_dtype in ("auto", "bfloat16", "float16", *NARROW)
            and self.sliding_window == (-1, -1)
            and self.alibi_slopes is None
            and self.sinks is None
            and not self.logits_soft_cap
            and not self.batch_invariant_enabled
            and self.dcp_world_size == 1
        )
        self.least = 0
        if torch.cuda.is_available():
            gpu = torch.cuda.get_device_properties()
            self.plain = self.plain and gpu.major == HOPPER
            self.least = -(-PROGRAMS * gpu.multi_processor_count // self.num_kv_heads)  # sequences

    def takes(self, layer: Any) -> bool:
        """Whether the kernel reads this layer's cache: (pages, shared heads, tokens a page, 2 × width); one of 8 bits
        with queries of 8 bits and one scale for each of queries, keys and values."""
        cache = layer.kv_cache
        shaped = cache.ndim == 4 and cache.shape[1] == self.num_kv_heads and cache.shape[-1] == 2 * self.head_size
        if not (self.plain and shaped) or self.kv_cache_dtype not in NARROW:
            return self.plain and shaped
        single = layer._q_scale.numel() == layer._k_scale.numel() == layer._v_scale.numel() == 1
        return single and self.supports_quant_query_input

    def forward(
        self,
        layer: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kv_cache: torch.Tensor,
        attn_metadata: Any,
        output: torch.Tensor,
        *rest: Any,
        **named: Any,
    ) -> torch.Tensor:
        """As FlashAttentionImpl.forward. The builder has chosen: a CUDA graph fixes it."""
        written: Written | None = getattr(attn_metadata, "written", None)  # no metadata: vLLM measures memory
        if written is None:
            return super().forward(layer, query, key, value, kv_cache, attn_metadata, output, *rest, **named)
        count, scale, value_scale = written.count, self.scale, 1.0
        keys, values = kv_cache.transpose(1, 2).split(self.head_size, dim=-1)
        if self.kv_cache_dtype in NARROW:
            keys, values = keys.view(torch.float8_e4m3fn), values.view(torch.float8_e4m3fn)
            scale, value_scale = scale * layer._q_scale_float * layer._k_scale_float, layer._v_scale_float
        triton_attention.attend(
            query[:count], keys, values, output[:count], written.table, written.lengths, scale, value_scale
        )
        if written.more:  # of keys and values only those in the cache are read
            super().forward(layer, query[count:], key, value, kv_cache, attn_metadata, output[count:], *rest, **named)
        return output


class ShortBuilder(FlashAttentionMetadataBuilder):
    """Builds the metadata of a step, and decides which of its sequences go through our kernel."""

    # FlashAttention 3 lets one graph serve steps of both kinds; here each kind has its own.
    _cudagraph_support = AttentionCGSupport.UNIFORM_BATCH
    supports_update_block_table = False
    reorder_batch_threshold = 1  # vLLM's older runner orders a step on demand, its newer one always

    def build(self, common_prefix_len: int, common_attn_metadata: Any, fast_build: bool = False) -> Any:
        """As FlashAttentionMetadataBuilder.build; of the sequences that read alone where others write."""
        about = common_attn_metadata
        count = 0 if common_prefix_len else self._writing(about)
        if not count:
            return super().build(common_prefix_len, about, fast_build)
        more = count < about.num_reqs
        metadata: Any = super().build(0, _after(about, count), fast_build) if more else super().build(0, about, True)
        metadata.written = Written(count, about.block_table_tensor[:count], about.seq_lens[:count], more)
        return metadata

    @cached_property  # asked at the first step, when the caches are there
    def least(self) -> int | None:
        """How many sequences the kernel is for, at least; None where a layer is not the kernel's."""
        layers = [self.compilation_config.static_forward_context[name] for name in self.layer_names]
        if not all(isinstance(layer.impl, ShortAttention) and layer.impl.takes(layer) for layer in layers):
            return None
        impl, cache = layers[0].impl, layers[0].kv_cache  # layers of one builder are alike
        dtype = torch.float8_e4m3fn if impl.kv_cache_dtype in NARROW else cache.dtype
        heads = impl.num_heads, impl.num_kv_heads, impl.head_size
        if not triton_attention.right(*heads, cache.shape[2], dtype, cache.device):
            log.warning("decode_kernel: wrong results in a trial on this GPU; FlashAttention is used instead")
            return None
        return impl.least

    def _writing(self, about: Any) -> int:
        """How many sequences, from the first, go through the kernel."""
        unusual = (getattr(about, name, None) for name in ("rswa_prefix_lens", "mm_req_doc_ranges"))
        if self.least is None or about.causal is not True or any(what is not None for what in unusual):
            return 0
        count = about.num_reqs
        if about.max_query_len > 1:
            longer = about.query_start_loc_cpu[: count + 1].diff() != 1
            count = int(longer.int().argmax())
        return count if count >= self.least else 0


def _after(about: Any, count: int) -> Any:
    """The step without its first `count` sequences, of one token each."""
    fields = "seq_lens", "block_table_tensor", "slot_mapping", "positions", "is_prefilling", "seq_lens_cpu_upper_bound"
    values = {name: getattr(about, name, None) for name in fields}
    return replace(
        about,
        query_start_loc=about.query_start_loc[count:] - count,
        query_start_loc_cpu=about.query_start_loc_cpu[count:] - count,
        num_reqs=about.num_reqs - count,
        num_actual_tokens=about.num_actual_tokens - count,
        **{name: value[count:] for name, value in values.items() if value is not None},
    )


class ShortBackend(FlashAttentionBackend):
    """The attention backend that is registered with vLLM."""

    @staticmethod
    def get_impl_cls() -> type[ShortAttention]:
        return ShortAttention

    @staticmethod
    def get_builder_cls() -> type[ShortBuilder]:
        return ShortBuilder

"""vLLM's FlashAttention backend with this project's kernel (`triton_attention`) for steps that only write.

Steps that read prompts, and layers that the kernel does not know, stay with vLLM's. `VllmEngine` registers it as an
override of FLASH_ATTN, as vLLM's registry of attention backends allows.
"""

from typing import Any

import torch
from vllm.v1.attention.backend import AttentionCGSupport, AttentionType  # pyright: ignore
from vllm.v1.attention.backends.flash_attn import (  # pyright: ignore
    FlashAttentionBackend,
    FlashAttentionImpl,
    FlashAttentionMetadataBuilder,
)

from model.backends import triton_attention

HOPPER = 9  # compute capability; others were not measured
PROGRAMS = 2  # of the kernel for each multiprocessor, at least: below, FlashAttention is faster, which splits sequences


class ShortAttention(FlashAttentionImpl):
    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.plain = (
            triton_attention.attends(self.num_heads, self.num_kv_heads, self.head_size)
            and self.attn_type == AttentionType.DECODER
            and self.kv_cache_dtype in ("auto", "bfloat16", "float16")
            and self.sliding_window == (-1, -1)
            and self.alibi_slopes is None
            and self.sinks is None
            and not self.logits_soft_cap
            and not self.batch_invariant_enabled
        )
        self.least = 0
        if torch.cuda.is_available():
            gpu = torch.cuda.get_device_properties()
            self.plain = self.plain and gpu.major == HOPPER
            self.least = -(-PROGRAMS * gpu.multi_processor_count // self.num_kv_heads)  # sequences

    def forward(
        self,
        layer: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kv_cache: torch.Tensor,
        attn_metadata: Any,
        output: torch.Tensor,
        *rest: Any,
        **named: Any,
    ) -> torch.Tensor:
        """As FlashAttentionImpl.forward. What is chosen hangs on Python's numbers alone, which a CUDA graph fixes."""
        if not self._short(kv_cache, attn_metadata):
            return super().forward(layer, query, key, value, kv_cache, attn_metadata, output, *rest, **named)
        count = attn_metadata.num_actual_tokens
        keys, values = kv_cache.transpose(1, 2).split(self.head_size, dim=-1)
        table, lengths = attn_metadata.block_table, attn_metadata.seq_lens
        triton_attention.attend(query[:count], keys, values, output[:count], table, lengths, self.scale)
        return output

    def _short(self, kv_cache: torch.Tensor, about: Any) -> bool:
        """Whether the step is one of single tokens, of enough sequences, over a cache as the kernel reads it:
        (pages, shared heads, tokens a page, 2 × width)."""
        return (
            self.plain
            and about is not None  # None: vLLM measures memory
            and about.max_query_len == 1
            and about.num_actual_tokens >= self.least
            and not about.use_cascade
            and getattr(about, "rswa_prefix_lens", None) is None
            and self.dcp_world_size == 1
            and kv_cache.ndim == 4
            and kv_cache.shape[-1] == 2 * self.head_size
        )


class ShortBuilder(FlashAttentionMetadataBuilder):
    # FlashAttention 3 lets one graph serve steps of both kinds; here each kind has its own.
    _cudagraph_support = AttentionCGSupport.UNIFORM_BATCH


class ShortBackend(FlashAttentionBackend):
    @staticmethod
    def get_impl_cls() -> type[ShortAttention]:
        return ShortAttention

    @staticmethod
    def get_builder_cls() -> type[ShortBuilder]:
        return ShortBuilder

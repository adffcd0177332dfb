"""Keys, values and block summaries of a layer in vLLM's pages: their declaration, and what vLLM gives for each step.

vLLM allocates two caches a layer that share one block table. A page holds the keys and values of one block, and in the
other cache one row of float32 numbers for each key head:

    while the block is incomplete   the maximum, minimum and sum of its keys before RoPE, D numbers each
    once it is complete             the nodes of the tree that this block completes, levels 1 to 3 in that order
    behind both                     the block's own summary, the leaf

Node n of level l is in the page of its last block, (n + 1) × fanout ** l - 1. So whatever a page holds depends on the
page's own text and what precedes it, as vLLM's prefix cache requires.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase  # pyright: ignore
from vllm.v1.attention.backend import (  # pyright: ignore
    AttentionBackend,
    AttentionCGSupport,
    AttentionImplBase,
    AttentionMetadataBuilder,
)
from vllm.v1.attention.backends.utils import split_decodes_and_prefills  # pyright: ignore

from model.attention.sparsity import Sparsity
from model.serve.vllm_plugin import vllm_versions


@dataclass(frozen=True, slots=True)
class Prefill:
    """A text that reads several tokens in a step."""

    first: int  # its tokens in the step
    last: int
    length: int  # of the text after the step
    pages: torch.Tensor  # numbers of the text's pages, [pages], int64


@dataclass(frozen=True, slots=True)
class StepMetadata:
    """The texts of a step: first those that read one token, then the others. Padding has slot -1 and length 0."""

    decodes: int  # texts that read one token
    lengths_B: torch.Tensor  # of these, the token included; int32
    table_BN: torch.Tensor  # and their pages; int32
    slots_T: torch.Tensor  # the place of each token of the step: page × block + place in the page
    tokens: int
    prefills: Sequence[Prefill]


class StepBuilder(AttentionMetadataBuilder):
    """Builds `StepMetadata`. Nothing waits for the GPU where all texts read one token."""

    _cudagraph_support = AttentionCGSupport.UNIFORM_SINGLE_TOKEN_DECODE
    reorder_batch_threshold = 1  # vLLM puts texts that read one token first

    def __init__(self, kv_cache_spec: Any, layer_names: list[str], vllm_config: Any, device: torch.device) -> None:
        super().__init__(kv_cache_spec, layer_names, vllm_config, device)
        self.block = kv_cache_spec.block_size

    def build(self, common_prefix_len: int, common_attn_metadata: Any, fast_build: bool = False) -> StepMetadata:
        """Returns the step's metadata."""
        step = common_attn_metadata
        decodes, _, _, _ = split_decodes_and_prefills(step, decode_threshold=1)
        prefills: list[Prefill] = []
        if decodes < step.num_reqs:
            starts, lengths = step.query_start_loc_cpu.tolist(), vllm_versions.lengths_on_host(step)
            for text in range(decodes, step.num_reqs):
                first, last = starts[text], starts[text + 1]
                if first < last:
                    length = max(lengths[text], last - first)
                    pages = step.block_table_tensor[text, : -(-length // self.block)].long()
                    prefills.append(Prefill(first, last, length, pages))
        return StepMetadata(
            decodes,
            step.seq_lens[:decodes],
            step.block_table_tensor[:decodes],
            step.slot_mapping,
            step.num_actual_tokens,
            prefills,
        )


class _StateBuilder(StepBuilder):
    """The layers read the metadata of keys and values alone."""

    def build(self, common_prefix_len: int, common_attn_metadata: Any, fast_build: bool = False) -> Any:
        return None


class _Implementation(AttentionImplBase):
    """vLLM asks a backend for one; the layer itself attends."""

    def __init__(self) -> None:
        pass


class _Backend(AttentionBackend):
    supported_dtypes = [torch.float32, torch.bfloat16, torch.float16]  # noqa: RUF012 - as vLLM declares it

    @staticmethod
    def get_impl_cls() -> type[_Implementation]:
        return _Implementation

    @classmethod
    def is_sparse(cls) -> bool:
        return True


@functools.cache
def backends(block: int) -> tuple[type[AttentionBackend], type[AttentionBackend]]:
    """Returns the backends of keys and values, and of summaries, for pages of `block` tokens, and no others."""

    class DsaBackend(vllm_versions.CacheLayout, _Backend):
        @staticmethod
        def get_name() -> str:
            return "GRISTMILL_DSA"

        @staticmethod
        def get_builder_cls() -> type[StepBuilder]:
            return StepBuilder

        @staticmethod
        def get_supported_kernel_block_sizes() -> list[int]:
            return [block]

    class DsaStateBackend(vllm_versions.StateLayout, _Backend):
        @staticmethod
        def get_name() -> str:
            return "GRISTMILL_DSA_STATE"

        @staticmethod
        def get_builder_cls() -> type[StepBuilder]:
            return _StateBuilder

        @staticmethod
        def get_supported_kernel_block_sizes() -> list[int]:
            return [block]

    return DsaBackend, DsaStateBackend


class StateCache(nn.Module, AttentionLayerBase):
    """The cache of the summaries as vLLM sees it: a layer that never runs."""

    def __init__(self, sparsity: Sparsity, heads: int, width: int, name: str, vllm_config: Any) -> None:
        super().__init__()
        self.kv_cache = torch.tensor([])  # vLLM replaces it
        self.sparsity, self.heads, self.width = sparsity, heads, width
        vllm_config.compilation_config.static_forward_context[name] = self

    def get_attn_backend(self) -> type[AttentionBackend]:
        """As vLLM asks for it."""
        return backends(self.sparsity.block)[1]

    def get_kv_cache_spec(self, vllm_config: Any) -> Any:
        """As vLLM asks for it."""
        return vllm_versions.one_state_a_page(self.sparsity.block, self.heads * self.width)

    def rows(self) -> torch.Tensor:
        """Returns the summaries [pages, key heads, width]."""
        return vllm_versions.state_rows(self.kv_cache, self.heads)

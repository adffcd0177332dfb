"""`SparseAttention`: the attention of `model.lm.layers` over vLLM's pages. Shapes: see `model.attention`."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from vllm.distributed import (  # pyright: ignore
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
)
from vllm.forward_context import get_forward_context  # pyright: ignore
from vllm.model_executor.layers.attention import Attention as DenseAttention  # pyright: ignore
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase  # pyright: ignore
from vllm.model_executor.layers.linear import (  # pyright: ignore
    ColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
)
from vllm.v1.kv_cache_interface import FullAttentionSpec  # pyright: ignore

from model.attention.decode import apply_rope
from model.lm.config import DsaConfig
from model.serve.vllm_plugin.paged_attention import PagedCache, row_width, upper_levels
from model.serve.vllm_plugin.paged_cache import Prefill, StateCache, StepMetadata, backends


class Gate(nn.Module):
    """The gate's weights, divided over the GPUs by key heads."""

    def __init__(self, config: DsaConfig, heads: int, name: str) -> None:
        super().__init__()
        K, D, E = config.num_key_value_heads, config.head_dim, config.gate_dim
        self.query = ColumnParallelLinear(config.hidden_size, K * E, bias=False, prefix=f"{name}.query")
        self.summary = nn.Parameter(torch.empty(heads, 3 * D, E), requires_grad=False)
        self.summary.weight_loader = self._load_summary  # pyright: ignore

    @staticmethod
    def _load_summary(parameter: nn.Parameter, weight_KDE: torch.Tensor) -> None:
        heads = parameter.shape[0]
        parameter.data.copy_(weight_KDE.narrow(0, get_tensor_model_parallel_rank() * heads, heads))


class Projections(nn.Module):
    """What sparse and dense attention share: projections and the head gate, divided over the GPUs by key heads."""

    def __init__(self, vllm_config: Any, name: str) -> None:
        super().__init__()
        config: DsaConfig = vllm_config.model_config.hf_config
        C, D, shards = config.hidden_size, config.head_dim, get_tensor_model_parallel_world_size()
        self.heads, self.groups, self.head_dim = (
            config.num_attention_heads // shards,
            config.num_key_value_heads // shards,
            D,
        )
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        self.qkv_proj = QKVParallelLinear(C, D, heads, groups, bias=False, prefix=f"{name}.qkv_proj")
        self.o_proj = RowParallelLinear(heads * D, C, bias=False, prefix=f"{name}.o_proj")
        self.head_gate = ColumnParallelLinear(C, heads, bias=True, prefix=f"{name}.head_gate")

    def project(self, x_TC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns queries [T, H, D], keys and values [T, K, D], and the head gate before its sigmoid [T, H]."""
        H, K, D = self.heads, self.groups, self.head_dim
        q, k, v = self.qkv_proj(x_TC)[0].split([H * D, K * D, K * D], -1)
        return q.unflatten(-1, (H, D)), k.unflatten(-1, (K, D)), v.unflatten(-1, (K, D)), self.head_gate(x_TC)[0]


class FullAttention(Projections):
    """Attention of a model without a gate, by the backend that vLLM chooses."""

    def __init__(self, vllm_config: Any, name: str) -> None:
        super().__init__(vllm_config, name)
        self.attn = DenseAttention(
            self.heads,
            self.head_dim,
            self.head_dim**-0.5,
            num_kv_heads=self.groups,
            cache_config=vllm_config.cache_config,
            prefix=f"{name}.attn",
        )

    def forward(self, x_TC: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
        """Returns the output [T, C]."""
        q_THD, k_TKD, v_TKD, head_gate_TH = self.project(x_TC)
        cos_THD, sin_THD = cos_TD[:, None], sin_TD[:, None]
        q_THD, k_TKD = apply_rope(q_THD, cos_THD, sin_THD), apply_rope(k_TKD, cos_THD, sin_THD)
        out_TC = self.attn(q_THD.flatten(1), k_TKD.flatten(1), v_TKD.flatten(1).contiguous())
        out_THD = out_TC.view(q_THD.shape) * torch.sigmoid(head_gate_TH)[..., None]
        return self.o_proj(out_THD.flatten(1))[0]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a layer calculated for tokens of a step."""

    q_THD: torch.Tensor  # before RoPE
    k_TKD: torch.Tensor  # before RoPE
    v_TKD: torch.Tensor
    gate_TKE: torch.Tensor  # gate queries
    head_gate_TH: torch.Tensor  # before the sigmoid
    cos_TD: torch.Tensor  # of RoPE's angles, D = half a head
    sin_TD: torch.Tensor

    def part(self, rows: slice) -> "Tokens":
        """Returns some of the tokens."""
        return Tokens(*(getattr(self, field.name)[rows] for field in fields(self)))

    def rotate(self, x_THD: torch.Tensor) -> torch.Tensor:
        """Returns the tokens' queries or keys with their positions."""
        if x_THD.is_cuda:
            from model.attention import triton_rope

            return triton_rope.rotate(x_THD[None], self.cos_TD, self.sin_TD)[0]
        return apply_rope(x_THD, self.cos_TD[:, None], self.sin_TD[:, None])

    def gated(self, out_THD: torch.Tensor) -> torch.Tensor:
        """Returns the heads' outputs, each scaled by its head gate."""
        return out_THD * torch.sigmoid(self.head_gate_TH)[..., None]


class SparseAttention(Projections, AttentionLayerBase):
    """Attention over the blocks that the gate chooses. To vLLM it is an attention layer with its own backend."""

    def __init__(self, vllm_config: Any, name: str) -> None:
        super().__init__(vllm_config, name)
        config: DsaConfig = vllm_config.model_config.hf_config
        self.gate = Gate(config, self.groups, f"{name}.gate")
        self.gate_dim, self.sparsity = config.gate_dim, config.sparsity
        self.max_length = vllm_config.model_config.max_model_len
        self.levels = upper_levels(self.sparsity, self.max_length)
        self.layer_name = f"{name}.attn"
        vllm_config.compilation_config.static_forward_context[self.layer_name] = self
        width = row_width(self.levels, self.head_dim, self.gate_dim)
        self.state = StateCache(self.sparsity, self.groups, width, f"{name}.attn.state", vllm_config)
        self.kv_cache = torch.tensor([])  # vLLM replaces it

    def get_attn_backend(self) -> Any:
        """As vLLM asks for it."""
        return backends(self.sparsity.block)[0]

    def get_kv_cache_spec(self, vllm_config: Any) -> Any:
        """As vLLM asks for it."""
        return FullAttentionSpec(
            block_size=self.sparsity.block,
            num_kv_heads=self.groups,
            head_size=self.head_dim,
            head_size_v=self.head_dim,
            dtype=vllm_config.model_config.dtype,
        )

    def forward(self, x_TC: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
        """Returns the output [T, C]."""
        steps = get_forward_context().attn_metadata
        q_THD, k_TKD, v_TKD, head_gate_TH = self.project(x_TC)
        gate_TKE = self.gate.query(x_TC)[0].unflatten(-1, (self.groups, self.gate_dim)) * self.gate_dim**-0.5
        tokens = Tokens(q_THD, k_TKD, v_TKD, gate_TKE, head_gate_TH, cos_TD, sin_TD)
        out_THD = torch.zeros(q_THD.shape, dtype=q_THD.dtype, device=q_THD.device)
        if isinstance(steps, dict):
            step: StepMetadata = steps[self.layer_name]
            cache = PagedCache(self.sparsity, self.kv_cache, self.state.rows(), self.gate.summary, self.levels)
            if step.decodes:
                decode = _decode_by_kernels if x_TC.is_cuda else _decode
                decode(cache, tokens.part(slice(0, step.decodes)), step, out_THD[: step.decodes])
            for prefill in step.prefills:
                rows = slice(prefill.first, prefill.last)
                _prefill(cache, tokens.part(rows), prefill, out_THD[rows])
        elif x_TC.is_cuda:
            self._use_memory(tokens)
        return self.o_proj(out_THD.flatten(1))[0]

    def _use_memory(self, tokens: Tokens) -> None:
        """Attends a text of full length: vLLM is measuring how much memory a step needs, and there are no pages."""
        T, S = len(tokens.q_THD), self.sparsity.block
        blocks = max(-(-T // S), self.max_length // S)
        kv_PKSD = tokens.k_TKD.new_zeros(blocks, self.groups, S, 2 * self.head_dim)
        rows_PKW = tokens.cos_TD.new_zeros(blocks, self.groups, self.state.width)
        cache = PagedCache(self.sparsity, kv_PKSD, rows_PKW, self.gate.summary, self.levels)
        pages_N = torch.arange(blocks, device=kv_PKSD.device)
        cache.attend_text(tokens.q_THD, tokens.gate_TKE, pages_N, blocks * S - T)


def _decode_by_kernels(cache: PagedCache, tokens: Tokens, step: StepMetadata, out_BHD: torch.Tensor) -> None:
    """One token of each text, by the Triton kernels."""
    from model.serve.vllm_plugin import triton_choose, triton_decode

    texts = {"lengths_B": step.lengths_B, "table_BN": step.table_BN}
    q_BHD = triton_decode.store(
        cache, tokens.q_THD, tokens.k_TKD, tokens.v_TKD, tokens.cos_TD, tokens.sin_TD, slots_B=step.slots_T, **texts
    )
    chosen_BKR = triton_choose.choose(cache, tokens.gate_TKE, **texts)
    triton_decode.attend(cache, q_BHD, chosen_BKR, tokens.head_gate_TH, out_BHD=out_BHD, **texts)


def _decode(cache: PagedCache, tokens: Tokens, step: StepMetadata, out_BHD: torch.Tensor) -> None:
    """One token of each text, in plain PyTorch."""
    positions = [length - 1 for length in step.lengths_B.tolist() if length > 0]  # padding is last
    rows, table_BN = slice(0, len(positions)), step.table_BN[: len(positions)]
    tokens, selected = tokens.part(rows), None
    cache.store_tokens(tokens.rotate(tokens.k_TKD), tokens.v_TKD, tokens.k_TKD, table_BN, positions)
    if max(positions, default=0) >= cache.sparsity.dense_below:
        selected = cache.choose_blocks(tokens.gate_TKE, table_BN, positions)
    if positions:
        attended_BHD = cache.attend_tokens(tokens.rotate(tokens.q_THD), selected, table_BN, positions)
        out_BHD[rows] = tokens.gated(attended_BHD)


def _prefill(cache: PagedCache, tokens: Tokens, prefill: Prefill, out_THD: torch.Tensor) -> None:
    """Several tokens of one text."""
    offset = prefill.length - len(out_THD)
    cache.extend(tokens.rotate(tokens.k_TKD), tokens.v_TKD, tokens.k_TKD, prefill.pages, offset)
    attended_THD = cache.attend_text(tokens.rotate(tokens.q_THD), tokens.gate_TKE, prefill.pages, offset)
    out_THD.copy_(tokens.gated(attended_THD))

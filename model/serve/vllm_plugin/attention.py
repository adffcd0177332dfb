"""`SparseAttention`: the attention of `model.lm.layers` over vLLM's pages. Shapes: see `model.attention`."""

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

    def finish(self, out_THD: torch.Tensor, head_gate_TH: torch.Tensor) -> torch.Tensor:
        """Returns the layer's output [T, C]."""
        return self.o_proj((out_THD * torch.sigmoid(head_gate_TH)[..., None]).flatten(1))[0]


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
        return self.finish(out_TC.view_as(q_THD), head_gate_TH)


class SparseAttention(Projections, AttentionLayerBase):
    """Attention over the blocks that the gate chooses. To vLLM it is an attention layer with its own backend."""

    def __init__(self, vllm_config: Any, name: str) -> None:
        super().__init__(vllm_config, name)
        config: DsaConfig = vllm_config.model_config.hf_config
        self.gate = Gate(config, self.groups, f"{name}.gate")
        self.gate_dim, self.sparsity = config.gate_dim, config.sparsity
        self.levels = upper_levels(self.sparsity, vllm_config.model_config.max_model_len)
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
        out_THD = torch.zeros_like(q_THD)
        if isinstance(steps, dict):  # else vLLM measures memory, and there are no pages
            step: StepMetadata = steps[self.layer_name]
            cache = PagedCache(self.sparsity, self.kv_cache, self.state.rows(), self.gate.summary, self.levels)
            tokens = q_THD, k_TKD, v_TKD, gate_TKE
            if step.decodes:
                self._decode(cache, tokens, cos_TD, sin_TD, step, out_THD)
            for prefill in step.prefills:
                self._prefill(cache, tokens, cos_TD, sin_TD, prefill, out_THD)
        return self.finish(out_THD, head_gate_TH)

    def _decode(
        self,
        cache: PagedCache,
        tokens: tuple[torch.Tensor, ...],
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
        step: StepMetadata,
        out_THD: torch.Tensor,
    ) -> None:
        positions, table_BN = [length - 1 for length in step.lengths_B.tolist()], step.table_BN
        rows = slice(0, sum(position >= 0 for position in positions))  # padding is last
        positions, table_BN = positions[rows], table_BN[rows]
        q_BHD, k_BKD, v_BKD, gate_BKE = (tensor[rows] for tensor in tokens)
        cos_BHD, sin_BHD = cos_TD[rows, None], sin_TD[rows, None]
        cache.store_tokens(apply_rope(k_BKD, cos_BHD, sin_BHD), v_BKD, k_BKD, table_BN, positions)
        selected = None
        if max(positions) >= self.sparsity.dense_below:
            selected = cache.choose_blocks(gate_BKE, table_BN, positions)
        out_THD[rows] = cache.attend_tokens(apply_rope(q_BHD, cos_BHD, sin_BHD), selected, table_BN, positions)

    def _prefill(
        self,
        cache: PagedCache,
        tokens: tuple[torch.Tensor, ...],
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
        prefill: Prefill,
        out_THD: torch.Tensor,
    ) -> None:
        rows, offset = slice(prefill.first, prefill.last), prefill.length - (prefill.last - prefill.first)
        q_THD, k_TKD, v_TKD, gate_TKE = (tensor[rows] for tensor in tokens)
        cos_THD, sin_THD = cos_TD[rows, None], sin_TD[rows, None]
        cache.extend(apply_rope(k_TKD, cos_THD, sin_THD), v_TKD, k_TKD, prefill.pages, offset)
        out_THD[rows] = cache.attend_text(apply_rope(q_THD, cos_THD, sin_THD), gate_TKE, prefill.pages, offset)

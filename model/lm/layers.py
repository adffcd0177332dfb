"""A layer of the language model: attention over chosen blocks, then a SwiGLU. Shapes: see `model.attention`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from model.attention import decode
from model.attention.attend import attend, choose_blocks, has_triton
from model.attention.gate import Gate, distill
from model.attention.pages import Pages
from model.lm.config import DsaConfig
from model.lm.kv_cache import DsaCache, DsaLayer


@dataclass(frozen=True, slots=True)
class ForwardContext:
    """What all layers of a forward pass share."""

    cos_BTD: torch.Tensor  # of RoPE's angles, D = half a head
    sin_BTD: torch.Tensor
    starts_BT: torch.Tensor | None  # where each token's document begins, in a packed batch
    cache: DsaCache | None
    lengths: list[int]  # tokens of each text in this pass, padding left out
    sample_offset_B: torch.Tensor | None  # which queries train the gate (see `distill`); None: it is not trained

    def apply_rope(self, x_BTHD: torch.Tensor) -> torch.Tensor:
        """Returns queries or keys with their positions."""
        head_dim = x_BTHD.shape[3]
        if x_BTHD.is_cuda and not torch.is_grad_enabled() and head_dim & (head_dim - 1) == 0 and has_triton():
            from model.attention import triton_rope

            return triton_rope.rotate(x_BTHD, self.cos_BTD, self.sin_BTD)
        return decode.apply_rope(x_BTHD, self.cos_BTD[:, :, None], self.sin_BTD[:, :, None])


class Attention(nn.Module):
    """Grouped-query attention over the blocks that the gate chooses.

    A sigmoid of the token scales each head's output: the head gate of gated attention (arXiv 2505.06708, section 2).
    It depends on the token alone, so nothing of later tokens reaches earlier ones.
    """

    def __init__(self, config: DsaConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.sparsity = layer, config.sparsity
        H, K, D, C = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.hidden_size
        self.heads, self.groups, self.head_dim = H, K, D
        self.q_proj = nn.Linear(C, H * D, bias=False)
        self.k_proj = nn.Linear(C, K * D, bias=False)
        self.v_proj = nn.Linear(C, K * D, bias=False)
        self.o_proj = nn.Linear(H * D, C, bias=False)
        self.head_gate = nn.Linear(C, H)
        self.gate = Gate(C, K, D, config.gate_dim) if config.attention == "sparse" else None

    def forward(self, x_BTC: torch.Tensor, context: ForwardContext) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the output [B, T, C], and the gate's loss where it is trained."""
        B, T = x_BTC.shape[:2]
        q_BTHD = self.q_proj(x_BTC).view(B, T, self.heads, self.head_dim)
        k_BTKD = self.k_proj(x_BTC).view(B, T, self.groups, self.head_dim)
        v_BTKD = self.v_proj(x_BTC).view(B, T, self.groups, self.head_dim)
        loss = None
        if context.cache is not None:
            out_BTHD = self._attend_cached(x_BTC, q_BTHD, k_BTKD, v_BTKD, context, context.cache)
        else:
            rotated = context.apply_rope(q_BTHD), context.apply_rope(k_BTKD)
            out_BTHD, loss = self._attend_uncached(x_BTC, *rotated, v_BTKD, k_BTKD, context)
        out_BTHD = out_BTHD * torch.sigmoid(self.head_gate(x_BTC))[..., None]
        return self.o_proj(out_BTHD.flatten(2)), loss

    def _attend_uncached(
        self,
        x_BTC: torch.Tensor,
        q_BTHD: torch.Tensor,
        k_BTKD: torch.Tensor,
        v_BTKD: torch.Tensor,
        unrotated_k_BTKD: torch.Tensor,
        context: ForwardContext,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Whole texts without a cache: training, and scoring of texts."""
        T, sparsity, selected, loss = x_BTC.shape[1], self.sparsity, None, None
        is_trained = context.sample_offset_B is not None and sparsity.min_trained_length <= T
        is_sparse = sparsity.dense_below < T
        if self.gate is not None and (is_trained or is_sparse):
            gate_BTKE, leaves_BNKE = self.gate.queries(x_BTC), self.gate.leaves(unrotated_k_BTKD, sparsity.block)
            if is_trained:
                assert context.sample_offset_B is not None
                loss = distill(
                    q_BTHD, k_BTKD, gate_BTKE, leaves_BNKE, sparsity, context.sample_offset_B, context.starts_BT
                )
            if is_sparse:
                selected = choose_blocks(gate_BTKE, leaves_BNKE, sparsity, starts_BT=context.starts_BT)
        return attend(q_BTHD, k_BTKD, v_BTKD, selected, sparsity, starts_BT=context.starts_BT), loss

    def _attend_cached(
        self,
        x_BTC: torch.Tensor,
        q_BTHD: torch.Tensor,
        k_BTKD: torch.Tensor,
        v_BTKD: torch.Tensor,
        context: ForwardContext,
        cache: DsaCache,
    ) -> torch.Tensor:
        """A decode step (one token of each text), or a prefill: several tokens, of texts of the same cached length."""
        T, sparsity, gate = x_BTC.shape[1], self.sparsity, self.gate
        layer: Any = cache.layers[self.layer]
        assert isinstance(layer, DsaLayer)
        pages = layer.pages or layer.set_pages(Pages.empty(k_BTKD, gate, sparsity))
        end = max(cache.lengths) + T
        is_sparse = gate is not None and end > sparsity.dense_below
        if T == 1:
            pages.reserve(end)
            gate_BKE = gate.queries(x_BTC)[:, 0] if gate is not None and is_sparse else None
            angles = context.cos_BTD[:, 0], context.sin_BTD[:, 0]
            token = q_BTHD[:, 0], k_BTKD[:, 0], v_BTKD[:, 0]
            return decode.step(*token, *angles, cache.positions_B, pages, gate, gate_BKE)[:, None]
        offset = cache.lengths[0]
        if any(length != offset for length in cache.lengths):
            raise ValueError(
                "a prefill of several tokens needs texts of one cached length, these have different ones; "
                "pass one token at a time, or give each text its own cache"
            )
        pages.extend(context.apply_rope(k_BTKD), v_BTKD, k_BTKD, gate, offset, context.lengths)
        selected = None
        if gate is not None and is_sparse:
            leaves_BNKE = pages.levels[0][:, : end // sparsity.block]
            selected = choose_blocks(gate.queries(x_BTC), leaves_BNKE, sparsity, offset=offset)
        q_BTHD = context.apply_rope(q_BTHD)
        return attend(q_BTHD, pages.keys[:, :end], pages.values[:, :end], selected, sparsity, offset=offset)


class Mlp(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: DsaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTC)) * self.up_proj(x_BTC))


class Block(nn.Module):
    """Attention and MLP, each applied to the normalised residual stream and added to it."""

    def __init__(self, config: DsaConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x_BTC: torch.Tensor, context: ForwardContext) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the stream [B, T, C], and the gate's loss where it is trained."""
        out_BTC, loss = self.attention(self.attention_norm(x_BTC), context)
        x_BTC = x_BTC + out_BTC
        return x_BTC + self.mlp(self.mlp_norm(x_BTC)), loss

"""A layer of the language model: attention over chosen blocks, then a SwiGLU."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from model.attention import decode
from model.attention.attend import attend, choose
from model.attention.gate import Gate, distill
from model.attention.pages import Pages
from model.lm.config import DsaConfig
from model.lm.kv_cache import DsaCache, DsaLayer


@dataclass(frozen=True, slots=True)
class Step:
    """What every layer needs of a forward pass: angles, document starts, cache, and where gate queries are sampled."""

    cos_BTD: torch.Tensor
    sin_BTD: torch.Tensor
    starts_BT: torch.Tensor | None
    cache: DsaCache | None
    tokens: list[int]  # real ones of each text
    first_B: torch.Tensor | None

    def turn(self, x_BTHD: torch.Tensor) -> torch.Tensor:
        """RoPE."""
        return decode.turn(x_BTHD, self.cos_BTD[:, :, None], self.sin_BTD[:, :, None])


class Attention(nn.Module):
    """Grouped-query attention over the blocks that the gate chooses; a sigmoid of the token scales each head.

    The head gate is that of gated attention (arXiv 2505.06708, §2): per token, so nothing later leaks in.
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

    def forward(self, x_BTC: torch.Tensor, step: Step) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output [B, T, C], and the gate's loss where it is taught."""
        B, T = x_BTC.shape[:2]
        q = self.q_proj(x_BTC).view(B, T, self.heads, self.head_dim)
        plain = self.k_proj(x_BTC).view(B, T, self.groups, self.head_dim)
        v = self.v_proj(x_BTC).view(B, T, self.groups, self.head_dim)
        loss = None
        if step.cache is not None:
            out = self._cached(x_BTC, q, plain, v, step, step.cache)
        else:
            out, loss = self._whole(x_BTC, step.turn(q), step.turn(plain), v, plain, step)
        out = out * torch.sigmoid(self.head_gate(x_BTC))[..., None]
        return self.o_proj(out.flatten(2)), loss

    def _whole(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plain: torch.Tensor, step: Step
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        T, sparsity, selected, loss = x.shape[1], self.sparsity, None, None
        taught = step.first_B is not None and 5 * sparsity.block <= T  # below, no token has two blocks to choose from
        if self.gate is not None and (taught or sparsity.dense_below < T):
            gate, leaves = self.gate.queries(x), self.gate.leaves(plain, sparsity.block)
            if taught:
                assert step.first_B is not None
                loss = distill(q, k, gate, leaves, sparsity, step.first_B, step.starts_BT)
            if sparsity.dense_below < T:
                selected = choose(gate, leaves, sparsity, starts_BT=step.starts_BT)
        return attend(q, k, v, selected, sparsity, starts_BT=step.starts_BT), loss

    def _cached(
        self, x: torch.Tensor, q: torch.Tensor, plain: torch.Tensor, v: torch.Tensor, step: Step, cache: DsaCache
    ) -> torch.Tensor:
        T, sparsity, gate, lengths = x.shape[1], self.sparsity, self.gate, cache.lengths
        layer: Any = cache.layers[self.layer]
        assert isinstance(layer, DsaLayer)
        pages = layer.pages or layer.hold(Pages.empty(plain, gate, sparsity))
        end = max(lengths) + T
        sparse = gate is not None and end > sparsity.dense_below
        if T == 1:
            pages.reserve(end)
            asked = gate.queries(x)[:, 0] if gate is not None and sparse else None
            angles = step.cos_BTD[:, 0], step.sin_BTD[:, 0]
            return decode.step(q[:, 0], plain[:, 0], v[:, 0], *angles, cache.at, pages, gate, asked)[:, None]
        first = lengths[0]
        if any(length != first for length in lengths):
            raise ValueError("texts of different lengths take one token at a time: give each its own cache")
        pages.settle(pages.extend(step.turn(plain), v, plain, gate, first), step.tokens, first)
        selected = None
        if gate is not None and sparse:
            selected = choose(gate.queries(x), pages.levels[0][:, : end // sparsity.block], sparsity, offset=first)
        return attend(step.turn(q), pages.keys[:, :end], pages.values[:, :end], selected, sparsity, offset=first)


class Mlp(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: DsaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to the stream."""

    def __init__(self, config: DsaConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: torch.Tensor, step: Step) -> tuple[torch.Tensor, torch.Tensor | None]:
        out, loss = self.attention(self.attention_norm(x), step)
        x = x + out
        return x + self.mlp(self.mlp_norm(x)), loss

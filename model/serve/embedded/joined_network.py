"""`JoinedNetwork`: the DSA model's weights for passes with few launches.

A pass over few tokens takes as long on a GPU as its launches. So projections of the same input are one product, and
sums go into the products before them. The network's parameters become views of the joined weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from model.attention import decode
from model.attention.attend import has_triton
from model.attention.gate import Gate
from model.lm import DsaForCausalLM
from model.lm.layers import Block

ALIGNMENT = 8  # numbers: kernels read 16 bytes at a time


@dataclass(frozen=True)
class JoinedLayer:
    """A layer's weights, each [out, in]. `inputs` gives queries, keys, values, head gates, padding and gate queries."""

    attention_norm: torch.Tensor
    inputs: torch.Tensor
    bias: torch.Tensor  # of `inputs`: zero but for the head gates
    width: int  # of `inputs` without gate queries
    o_proj: torch.Tensor
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor
    down_proj: torch.Tensor
    gate: Gate | None


class JoinedNetwork:
    """What passes share: the layers, and the operations around attention.

    Args:
        network: the model.
        max_length: tokens of a text.
    """

    def __init__(self, network: DsaForCausalLM, max_length: int) -> None:
        config = network.config
        self.sparsity, self.device = config.sparsity, network.device
        self.heads, self.groups, self.head_dim = (
            config.num_attention_heads, config.num_key_value_heads, config.head_dim,
        )  # fmt: skip
        self._network, self._eps, self._gate_dim = network, config.rms_norm_eps, config.gate_dim
        angles = network.rope_angles(torch.arange(max_length, device=network.device))
        self.cos_TD, self.sin_TD = angles.cos().to(network.dtype), angles.sin().to(network.dtype)
        with torch.no_grad():
            self.layers = [_join_layer(layer) for layer in network.layers]  # pyright: ignore[reportArgumentType]
            self.summary_LKDE = _join_summaries([layer.gate for layer in self.layers])

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Returns the residual stream of these tokens."""
        return self._network.embed_tokens(ids)

    def project(self, x_MC: torch.Tensor, layer: JoinedLayer, *, has_gate_queries: bool) -> torch.Tensor:
        """Returns the joined projections of a layer's input, [M, N]; see `parts` and `gate_queries`."""
        h_MC = F.rms_norm(x_MC, x_MC.shape[-1:], layer.attention_norm, self._eps)
        width = len(layer.inputs) if has_gate_queries else layer.width
        return F.linear(h_MC, layer.inputs[:width], layer.bias[:width])

    def parts(self, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns queries and keys, values, and head gates: views of the joined projections."""
        H, K, D = self.heads, self.groups, self.head_dim
        qk, v, head_gate = mixed[..., : (H + 2 * K) * D + H].split([(H + K) * D, K * D, H], -1)
        return qk.unflatten(-1, (H + K, D)), v.unflatten(-1, (K, D)), head_gate

    def gate_queries(self, mixed: torch.Tensor) -> torch.Tensor:
        """Returns the gate queries [..., K, E] of joined projections that have them."""
        part = mixed[..., -self.groups * self._gate_dim :]
        return part.unflatten(-1, (self.groups, self._gate_dim)) * self._gate_dim**-0.5

    def finish(self, x_MC: torch.Tensor, out_MHD: torch.Tensor, head_gate_MH: torch.Tensor, layer: JoinedLayer) -> None:
        """Adds a layer's attention and MLP to the residual stream, in place."""
        x_MC.addmm_(_scale_heads(out_MHD, head_gate_MH).flatten(1), layer.o_proj.t())
        h_MC = F.rms_norm(x_MC, x_MC.shape[-1:], layer.mlp_norm, self._eps)
        x_MC.addmm_(_swiglu(F.linear(h_MC, layer.gate_up)), layer.down_proj.t())

    def logits(self, x_MC: torch.Tensor) -> torch.Tensor:
        """Returns the logits [M, V]."""
        return self._network.lm_head(self._network.norm(x_MC))


def rotate(x_BTHD: torch.Tensor, cos_BTD: torch.Tensor, sin_BTD: torch.Tensor) -> torch.Tensor:
    """Returns queries or keys with their positions."""
    head_dim = x_BTHD.shape[3]
    if x_BTHD.is_cuda and head_dim & (head_dim - 1) == 0 and has_triton():
        from model.attention import triton_rope

        return triton_rope.rotate(x_BTHD, cos_BTD, sin_BTD)
    return decode.apply_rope(x_BTHD, cos_BTD[:, :, None], sin_BTD[:, :, None])


def _scale_heads(out_MHD: torch.Tensor, head_gate_MH: torch.Tensor) -> torch.Tensor:
    """Returns each head's output times the sigmoid of its gate."""
    if out_MHD.is_cuda and has_triton():
        from model.serve.embedded import triton_gates

        return triton_gates.scale_heads(out_MHD, head_gate_MH)
    return out_MHD * torch.sigmoid(head_gate_MH)[..., None]


def _swiglu(gate_up_MC: torch.Tensor) -> torch.Tensor:
    """Returns the SwiGLU of gates and values beside each other, half as wide."""
    if gate_up_MC.is_cuda and has_triton():
        from model.serve.embedded import triton_gates

        return triton_gates.swiglu(gate_up_MC)
    gate_MC, up_MC = gate_up_MC.chunk(2, -1)
    return F.silu(gate_MC) * up_MC


def _join_layer(layer: Block) -> JoinedLayer:
    attention, mlp = layer.attention, layer.mlp
    first = [attention.q_proj, attention.k_proj, attention.v_proj, attention.head_gate]
    outputs = sum(linear.out_features for linear in first)
    padding = attention.head_gate.weight.new_zeros(-outputs % ALIGNMENT, attention.head_gate.in_features)
    last = [] if attention.gate is None else [attention.gate.query]
    inputs = _join([*first, padding, *last])
    bias = inputs.new_zeros(len(inputs))
    bias[outputs - attention.head_gate.out_features : outputs] = attention.head_gate.bias
    return JoinedLayer(
        layer.attention_norm.weight,
        inputs,
        bias,
        outputs + len(padding),
        attention.o_proj.weight,
        layer.mlp_norm.weight,
        _join([mlp.gate_proj, mlp.up_proj]),
        mlp.down_proj.weight,
        attention.gate,
    )


def _join(linears: Sequence[nn.Linear | torch.Tensor]) -> torch.Tensor:
    """Returns the weights below each other, and makes those of layers views of that."""
    weights = [linear.weight if isinstance(linear, nn.Linear) else linear for linear in linears]
    joined = torch.cat(weights)
    for linear, part in zip(linears, joined.split([len(weight) for weight in weights]), strict=True):
        if isinstance(linear, nn.Linear):
            linear.weight.data = part
    return joined


def _join_summaries(gates: Sequence[Gate | None]) -> torch.Tensor | None:
    """Returns the weights of the block summaries of all layers, and makes them views of that; None without gates."""
    summaries = [gate.summary for gate in gates if gate is not None]
    if not summaries:
        return None
    joined = torch.stack(list(summaries))
    for summary, part in zip(summaries, joined, strict=True):
        summary.data = part
    return joined

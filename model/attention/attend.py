"""`attend`: attention over what each token sees, by whichever implementation suits the tensors.

    reference   eager, float32: the oracle
    sdpa        PyTorch's scaled_dot_product_attention, a boolean mask a chunk of queries; trains on any device
    triton      key-outer kernels, forward and backward: GPUs (docs/sparse-attention.md says when and why)

Nothing of size tokens × tokens is held: masks live a chunk at a time and are made again for the backward pass.
"""

import functools
import importlib.util
from typing import Any, Literal

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from model.attention import reference
from model.attention import select as plain
from model.attention.sparsity import Sparsity

Implementation = Literal["auto", "reference", "sdpa", "triton"]
CHUNK = 512
QUERIES = 32_768  # whose partial outputs exist at a time where no gradient is wanted


def attend(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    selected_BKTR: torch.Tensor | None,
    sparsity: Sparsity,
    *,
    offset: int = 0,
    starts_BT: torch.Tensor | None = None,
    implementation: Implementation = "auto",
) -> torch.Tensor:
    """Output [B, T, H, D] of softmax(q kᵀ / √D) v over what each token sees, differentiable in q, k and v.

    The queries are of the tokens offset … offset + T - 1, the keys of all tokens before and among them. `selected`: the
    gate's blocks of each token (`choose`), None for dense attention. `starts`: the first position that each token may
    see, its document's. Raises ValueError when the Triton kernels cannot take the shapes.
    """
    if implementation == "auto":
        implementation = "triton" if selected_BKTR is not None and _fits(q_BTHD, k_BTKD, sparsity) else "sdpa"
    if implementation == "reference":
        return reference.attend(q_BTHD, k_BTKD, v_BTKD, selected_BKTR, sparsity, offset=offset, starts_BT=starts_BT)[0]
    if implementation == "sdpa":
        return _sdpa(q_BTHD, k_BTKD, v_BTKD, selected_BKTR, sparsity, offset, starts_BT)
    if selected_BKTR is None or not _fits(q_BTHD, k_BTKD, sparsity):
        raise ValueError(
            "triton: wants a selection, bfloat16 or float16 on a GPU, head size and query heads a key head in powers "
            "of 2, blocks of 16 or more; take sdpa"
        )
    return _kernels(q_BTHD, k_BTKD, v_BTKD, selected_BKTR, starts_BT, sparsity, offset)


def choose(
    gate_BTKE: torch.Tensor,
    leaves_BNKE: torch.Tensor,
    sparsity: Sparsity,
    *,
    offset: int = 0,
    starts_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """The blocks [B, K, T, picks] that the gate chooses for each token, as `select.select`."""
    return _chosen(gate_BTKE, leaves_BNKE, sparsity, offset, starts_BT)


_opaque: Any = torch.compiler.disable  # inductor would launch the kernels its own way, and failed to (torch 2.11)


@_opaque
def _kernels(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    selected: torch.Tensor,
    starts: Any,
    sparsity: Sparsity,
    offset: int,
) -> torch.Tensor:
    if torch.is_grad_enabled():
        return _Sparse.apply(q, k, v, selected, starts, sparsity, offset)  # pyright: ignore[reportReturnType]
    k, v, parts = k.contiguous(), v.contiguous(), []
    for begin in range(0, q.shape[1], QUERIES):
        span = slice(begin, begin + QUERIES)
        mine = None if starts is None else starts[:, span].contiguous()
        parts.append(_Sparse.apply(q[:, span], k, v, selected[:, :, span], mine, sparsity, offset + begin))
    return torch.cat(parts, 1)


@_opaque
def _chosen(gate: Any, leaves: Any, sparsity: Sparsity, offset: int, starts: Any) -> torch.Tensor:
    if gate.is_cuda and has_triton():
        from model.attention import triton_select

        return triton_select.select(gate, leaves, sparsity, offset=offset, starts_BT=starts)
    return plain.select(gate, leaves, sparsity, offset=offset, starts_BT=starts)


@functools.cache
def has_triton() -> bool:
    """Whether the kernels can be imported."""
    return importlib.util.find_spec("triton") is not None


def _fits(q_BTHD: torch.Tensor, k_BTKD: torch.Tensor, sparsity: Sparsity) -> bool:
    D, group = q_BTHD.shape[3], q_BTHD.shape[2] // k_BTKD.shape[2]
    powers = all(size & (size - 1) == 0 for size in (D, group))
    half = q_BTHD.dtype in (torch.bfloat16, torch.float16)
    return q_BTHD.is_cuda and half and powers and D >= 16 and sparsity.block >= 16 and has_triton()


def _sdpa(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    selected_BKTR: torch.Tensor | None,
    sparsity: Sparsity,
    offset: int,
    starts_BT: torch.Tensor | None,
) -> torch.Tensor:
    T, H = q_BTHD.shape[1:3]
    q, k, v = (x.transpose(1, 2) for x in (q_BTHD, k_BTKD, v_BTKD))
    group = H // k_BTKD.shape[2]
    if selected_BKTR is None and starts_BT is None and (T == 1 or not offset):
        return F.scaled_dot_product_attention(q, k, v, is_causal=T > 1, enable_gqa=group > 1).transpose(1, 2)

    def part(q_: torch.Tensor, k_: torch.Tensor, v_: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        t = torch.arange(begin, end, device=q.device) + offset
        chosen = None if selected_BKTR is None else selected_BKTR[:, :, begin:end]
        starts = None if starts_BT is None else starts_BT[:, begin:end]
        seen = reference.visible(t, k_.shape[2], chosen, sparsity, starts)
        if seen.shape[1] > 1:
            seen = seen.repeat_interleave(group, 1)
        return F.scaled_dot_product_attention(q_, k_, v_, attn_mask=seen, enable_gqa=group > 1)

    outs = []
    for begin in range(0, T, CHUNK):
        end = min(begin + CHUNK, T)
        inputs = q[:, :, begin:end], k[:, :, : end + offset], v[:, :, : end + offset]
        again = T > CHUNK and torch.is_grad_enabled()
        made: Any = (
            checkpoint(part, *inputs, begin, end, use_reentrant=False, preserve_rng_state=False)
            if again
            else part(*inputs, begin, end)
        )
        outs.append(made)
    return torch.cat(outs, 2).transpose(1, 2)


class _Sparse(torch.autograd.Function):
    """The Triton kernels as one differentiable operation; what is saved is the inputs, the output and the pairs."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, selected: Any, starts: Any, sparsity: Sparsity, offset: int) -> Any:
        from model.attention import triton_forward

        q, k, v = (x.contiguous() for x in (q, k, v))
        pairs = triton_forward.pair(selected, k.shape[1], sparsity, offset, starts)
        out, lse, _ = triton_forward.forward(q, k, v, pairs, sparsity, offset, starts)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.rest = pairs, starts, sparsity, offset
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        from model.attention import triton_backward

        q, k, v, out, lse = ctx.saved_tensors
        pairs, starts, sparsity, offset = ctx.rest
        if offset:
            raise NotImplementedError("gradients of queries behind a cache")
        d_out = grad_outputs[0].contiguous()
        return *triton_backward.backward(d_out, q, k, v, out, lse, pairs, sparsity, starts), None, None, None, None

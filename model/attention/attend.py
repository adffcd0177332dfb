"""`attend`: attention of whole texts over what each token sees, by the implementation that suits the tensors.

    reference   eager PyTorch in float32: what the others are tested against
    sdpa        PyTorch's scaled_dot_product_attention with a boolean mask for each chunk of queries; any device
    triton      Triton kernels, forward and backward; GPUs (docs/sparse-attention.md says when and why)

No tensor of tokens × tokens exists: masks are calculated a chunk at a time, and again in the backward pass.
"""

import functools
import importlib.util
from typing import Any, Literal

import torch
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right
from torch.utils.checkpoint import checkpoint

from model.attention import reference
from model.attention.select import select_blocks
from model.attention.sparsity import Sparsity

Implementation = Literal["auto", "reference", "sdpa", "triton"]
QUERIES_PER_CHUNK = 512  # of `sdpa`
MIN_PRODUCT = 16  # numbers that the kernels' products sum over, at least
MAX_QUERIES_PER_LAUNCH = 32_768  # of the kernels without gradients: bounds the memory of partial outputs


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
    """Returns softmax(q kᵀ / √D) v over what each token sees, [B, T, H, D]; differentiable in q, k and v.

    Args:
        q_BTHD: queries of the tokens at positions offset … offset + T - 1, after RoPE.
        k_BTKD: keys of all tokens up to the last of these, after RoPE.
        v_BTKD: values of the same tokens.
        selected_BKTR: the gate's blocks of each token (`choose_blocks`); None: dense attention.
        sparsity: the geometry.
        offset: the position of the first query.
        starts_BT: the position at which each token's document begins; None: 0.
        implementation: auto takes `triton` where it can, else `sdpa`.

    Raises:
        ValueError: `triton` was asked for, and cannot take these tensors.
    """
    if implementation == "auto":
        implementation = "triton" if selected_BKTR is not None and _fits(q_BTHD, k_BTKD, sparsity) else "sdpa"
    if implementation == "reference":
        return reference.attend(q_BTHD, k_BTKD, v_BTKD, selected_BKTR, sparsity, offset=offset, starts_BT=starts_BT)[0]
    if implementation == "sdpa":
        return _sdpa(q_BTHD, k_BTKD, v_BTKD, selected_BKTR, sparsity, offset, starts_BT)
    if selected_BKTR is None or not _fits(q_BTHD, k_BTKD, sparsity):
        raise ValueError(
            "triton: needs a selection, bfloat16 or float16 on a GPU, a head size and query heads per key head that "
            "are powers of 2, and blocks of 16 or more; use sdpa"
        )
    return _kernels(q_BTHD, k_BTKD, v_BTKD, selected_BKTR, starts_BT, sparsity, offset)


def choose_blocks(
    gate_BTKE: torch.Tensor,
    leaves_BNKE: torch.Tensor,
    sparsity: Sparsity,
    *,
    offset: int = 0,
    starts_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the blocks [B, K, T, R] that the gate chooses for each token: `select_blocks`, on a GPU by a kernel."""
    return _choose(gate_BTKE, leaves_BNKE, sparsity, offset, starts_BT)


# torch.compile leaves these functions alone: inductor fails to launch the kernels (torch 2.11).
_opaque: Any = torch.compiler.disable


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
    for begin in range(0, q.shape[1], MAX_QUERIES_PER_LAUNCH):
        span = slice(begin, begin + MAX_QUERIES_PER_LAUNCH)
        span_starts = None if starts is None else starts[:, span].contiguous()
        parts.append(_Sparse.apply(q[:, span], k, v, selected[:, :, span], span_starts, sparsity, offset + begin))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


@_opaque
def _choose(gate: Any, leaves: Any, sparsity: Sparsity, offset: int, starts: Any) -> torch.Tensor:
    gate_dim = gate.shape[3]
    if gate.is_cuda and gate_dim >= MIN_PRODUCT and gate_dim & (gate_dim - 1) == 0 and has_triton():
        from model.attention import triton_select

        return triton_select.select(gate, leaves, sparsity, offset=offset, starts_BT=starts)
    return select_blocks(gate, leaves, sparsity, offset=offset, starts_BT=starts)


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed, so that the kernels can be imported."""
    return importlib.util.find_spec("triton") is not None


def _fits(q_BTHD: torch.Tensor, k_BTKD: torch.Tensor, sparsity: Sparsity) -> bool:
    """Whether the kernels can take these tensors."""
    head_dim, heads_per_group = q_BTHD.shape[3], q_BTHD.shape[2] // k_BTKD.shape[2]
    are_powers_of_2 = all(size & (size - 1) == 0 for size in (head_dim, heads_per_group))
    is_half = q_BTHD.dtype in (torch.bfloat16, torch.float16)
    is_large_enough = head_dim >= 16 and sparsity.block >= 16
    return q_BTHD.is_cuda and is_half and are_powers_of_2 and is_large_enough and has_triton()


def _sdpa(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    selected_BKTR: torch.Tensor | None,
    sparsity: Sparsity,
    offset: int,
    starts_BT: torch.Tensor | None,
) -> torch.Tensor:
    """Queries in chunks, each with its mask and the keys up to its end."""
    T, H = q_BTHD.shape[1:3]
    q_BHTD, k_BKTD, v_BKTD = (tensor.transpose(1, 2) for tensor in (q_BTHD, k_BTKD, v_BTKD))
    heads_per_group = H // k_BTKD.shape[2]
    is_grouped = heads_per_group > 1
    if selected_BKTR is None and starts_BT is None and (T == 1 or not offset):  # PyTorch's own kernels need no mask
        out = F.scaled_dot_product_attention(q_BHTD, k_BKTD, v_BKTD, is_causal=T > 1, enable_gqa=is_grouped)
        return out.transpose(1, 2)
    if selected_BKTR is None and starts_BT is None and q_BTHD.is_cuda and not torch.is_grad_enabled():
        mask: Any = causal_lower_right(T, offset + T)  # for a chunk of a prompt; flash attention, no tensor
        out = F.scaled_dot_product_attention(q_BHTD, k_BKTD, v_BKTD, attn_mask=mask, enable_gqa=is_grouped)
        return out.transpose(1, 2)

    def attend_chunk(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        t = torch.arange(begin, end, device=q.device) + offset
        selected = None if selected_BKTR is None else selected_BKTR[:, :, begin:end]
        starts = None if starts_BT is None else starts_BT[:, begin:end]
        seen = reference.visible(t, k.shape[2], selected, sparsity, starts)
        if seen.shape[1] > 1:
            seen = seen.repeat_interleave(heads_per_group, 1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=is_grouped)

    outs = []
    for begin in range(0, T, QUERIES_PER_CHUNK):
        end = min(begin + QUERIES_PER_CHUNK, T)
        inputs = q_BHTD[:, :, begin:end], k_BKTD[:, :, : end + offset], v_BKTD[:, :, : end + offset]
        recomputes_mask = T > QUERIES_PER_CHUNK and torch.is_grad_enabled()
        chunk: Any = (
            checkpoint(attend_chunk, *inputs, begin, end, use_reentrant=False, preserve_rng_state=False)
            if recomputes_mask
            else attend_chunk(*inputs, begin, end)
        )
        outs.append(chunk)
    return torch.cat(outs, 2).transpose(1, 2)


class _Sparse(torch.autograd.Function):
    """The Triton kernels as one differentiable operation. The backward pass needs inputs, output and pairs."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, selected: Any, starts: Any, sparsity: Sparsity, offset: int) -> Any:
        from model.attention import triton_forward

        q, k, v = (x.contiguous() for x in (q, k, v))
        pairs = triton_forward.pair(selected, k.shape[1], sparsity, offset, starts)
        out, lse, _ = triton_forward.forward(q, k, v, pairs, sparsity, offset, starts)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.other_inputs = pairs, starts, sparsity, offset
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        from model.attention import triton_backward

        q, k, v, out, lse = ctx.saved_tensors
        pairs, starts, sparsity, offset = ctx.other_inputs
        if offset:
            raise NotImplementedError(
                "the kernels calculate gradients of whole texts only, not after a KV cache: use sdpa"
            )
        d_out = grad_outputs[0].contiguous()
        return *triton_backward.backward(d_out, q, k, v, out, lse, pairs, sparsity, starts), None, None, None, None

"""The gates of a layer on a GPU: a kernel each, where PyTorch needs two. Rounded as PyTorch does."""

import torch
import triton
import triton.language as tl

SIZE = 1024  # numbers of a program


@triton.jit
def _scale_heads(x, gate, out, count, row, H, D, SIZE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    there, head = at < count, at // D
    kind = x.dtype.element_ty
    g = tl.load(gate + head // H * row + head % H, mask=there, other=0.0).to(tl.float32)
    g = (1 / (1 + tl.exp(-g))).to(kind).to(tl.float32)
    value = tl.load(x + at, mask=there, other=0.0).to(tl.float32) * g
    tl.store(out + at, value.to(kind), mask=there)


@triton.jit
def _swiglu(x, out, count, C, SIZE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    there = at < count
    source = at // C * 2 * C + at % C
    kind = x.dtype.element_ty
    gate = tl.load(x + source, mask=there, other=0.0).to(tl.float32)
    gate = (gate / (1 + tl.exp(-gate))).to(kind).to(tl.float32)
    value = gate * tl.load(x + source + C, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(kind), mask=there)


def scale_heads(x_MHD: torch.Tensor, gate_MH: torch.Tensor) -> torch.Tensor:
    """Returns [M, H, D] times the sigmoid of each head's gate. The gates of a token are side by side."""
    M, H, D = x_MHD.shape
    x_MHD, out = x_MHD.contiguous(), torch.empty(M, H, D, dtype=x_MHD.dtype, device=x_MHD.device)
    _scale_heads[(triton.cdiv(out.numel(), SIZE),)](
        x_MHD, gate_MH, out, out.numel(), gate_MH.stride(0), H, D, SIZE=SIZE
    )
    return out


def swiglu(gate_up_MC: torch.Tensor) -> torch.Tensor:
    """Returns silu of the first half of each row times its second half (SwiGLU, arXiv 2002.05202), [M, C / 2]."""
    M, C = gate_up_MC.shape[0], gate_up_MC.shape[1] // 2
    out = torch.empty(M, C, dtype=gate_up_MC.dtype, device=gate_up_MC.device)
    _swiglu[(triton.cdiv(out.numel(), SIZE),)](gate_up_MC.contiguous(), out, out.numel(), C, SIZE=SIZE)
    return out

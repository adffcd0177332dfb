"""RoPE on a GPU: one kernel, where PyTorch needs nine. A short prompt's pass is bound by the number of launches."""

import torch
import triton
import triton.language as tl


@triton.jit
def _rotate(x, cos, sin, out, H, row, HEADS: tl.constexpr, HALF: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    h, d = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    kind = x.dtype.element_ty
    # Rounded as in `decode.apply_rope`: the angles before the products, the products before the sum.
    c = tl.load(cos + token * HALF + d).to(kind).to(tl.float32)
    s = tl.load(sin + token * HALF + d).to(kind).to(tl.float32)
    source = token * row + h * 2 * HALF + d
    first = tl.load(x + source, mask=h < H, other=0.0).to(tl.float32)
    second = tl.load(x + source + HALF, mask=h < H, other=0.0).to(tl.float32)
    left = (first * c).to(kind).to(tl.float32) - (second * s).to(kind).to(tl.float32)
    right = (second * c).to(kind).to(tl.float32) + (first * s).to(kind).to(tl.float32)
    place = (token * H + h) * 2 * HALF + d
    tl.store(out + place, left.to(kind), mask=h < H)
    tl.store(out + place + HALF, right.to(kind), mask=h < H)


def rotate(x_BTHD: torch.Tensor, cos_BTD: torch.Tensor, sin_BTD: torch.Tensor) -> torch.Tensor:
    """Returns queries or keys with their positions, as `decode.apply_rope`; without gradients.

    The head size must be a power of 2. D of the angles is half a head.
    """
    B, T, H, D = x_BTHD.shape
    row = x_BTHD.stride(1)  # a token may be a part of its row, where projections are joined
    if x_BTHD.stride() != (T * row, row, D, 1):
        x_BTHD, row = x_BTHD.contiguous(), H * D
    out = torch.empty(B, T, H, D, dtype=x_BTHD.dtype, device=x_BTHD.device)
    _rotate[(B * T,)](
        x_BTHD, cos_BTD.contiguous(), sin_BTD.contiguous(), out, H, row,
        HEADS=triton.next_power_of_2(H), HALF=D // 2,
    )  # fmt: skip
    return out

"""Where the padding of a batch is: callers have it on either side, the layers on the right."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Padding:
    """The tokens of each text in a batch of T places, and the order that moves padding to the right, [B, T].

    `order_BT` is None where nothing has to be moved.
    """

    lengths: list[int]
    order_BT: torch.Tensor | None = None

    @classmethod
    def none(cls, B: int, T: int) -> "Padding":
        """Of a batch without padding."""
        return cls([T] * B)

    @classmethod
    def from_mask(cls, mask_BT: torch.Tensor) -> "Padding":
        """Of a mask that is False for padding. Raises ValueError where a text consists of padding alone."""
        B, T = mask_BT.shape
        if bool(mask_BT.all()):
            return cls.none(B, T)
        lengths = mask_BT.sum(1).tolist()
        if min(lengths) < 1:
            raise ValueError("attention_mask: a text without a token; leave it out of the batch")
        return cls(lengths, torch.argsort((~mask_BT).to(torch.int8), dim=1, stable=True))

    def moved_right(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """The places [B, T, C], those of padding last."""
        if self.order_BT is None:
            return x_BTC
        return x_BTC.gather(1, self.order_BT[..., None].expand_as(x_BTC))

    def moved_back(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """The inverse of `moved_right`."""
        if self.order_BT is None:
            return x_BTC
        return torch.empty_like(x_BTC).scatter(1, self.order_BT[..., None].expand_as(x_BTC), x_BTC)

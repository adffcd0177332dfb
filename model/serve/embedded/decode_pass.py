"""`DecodePass`: a decode step of the DSA model over its first slots, in half the launches of the network's own."""

import torch

from model.attention import decode
from model.attention.pages import Pages
from model.serve.embedded.joined_network import JoinedNetwork


class DecodePass:
    """Reads one token into each of the first slots.

    Args:
        network: the model.
        pages: of all layers, one layer's slots after the other's.
    """

    def __init__(self, network: JoinedNetwork, pages: Pages) -> None:
        self._network, self._pages = network, pages
        self._slots = len(pages.keys) // len(network.layers)
        self._parts: dict[int, list[Pages]] = {}  # the first slots of each layer, by their number

    def run(self, ids_B: torch.Tensor, positions_B: torch.Tensor, *, is_sparse: bool) -> torch.Tensor:
        """Returns the logits [B, V]. On a GPU nothing waits for the host.

        Args:
            ids_B: the tokens.
            positions_B: their positions (int32).
            is_sparse: whether the gate chooses blocks; else tokens attend their whole texts.
        """
        network, H = self._network, self._network.heads
        x_BC = network.embed(ids_B)
        cos_BD, sin_BD = (table.index_select(0, positions_B) for table in (network.cos_TD, network.sin_TD))
        for layer, pages in zip(network.layers, self._pages_of(len(ids_B)), strict=True):
            has_gate_queries = is_sparse and layer.gate is not None
            mixed_BN = network.project(x_BC, layer, has_gate_queries=has_gate_queries)
            qk_BHD, v_BKD, head_gate_BH = network.parts(mixed_BN)
            gate_BKE = network.gate_queries(mixed_BN) if has_gate_queries else None
            out_BHD = decode.step(
                qk_BHD[:, :H], qk_BHD[:, H:], v_BKD, cos_BD, sin_BD, positions_B, pages, layer.gate, gate_BKE
            )
            network.finish(x_BC, out_BHD, head_gate_BH, layer)
        return network.logits(x_BC)

    def _pages_of(self, count: int) -> list[Pages]:
        if count not in self._parts:
            first_rows = range(0, len(self._pages.keys), self._slots)
            self._parts[count] = [self._pages.rows(first, first + count) for first in first_rows]
        return self._parts[count]

"""`PromptPass`: the DSA model's pass over prompts, in fewer launches than the network's own.

A short prompt's pass on a GPU takes as long as its launches. So weights are joined (`joined_network`), and what no
layer reads before the next pass (the KV cache of short prompts, which attend each other densely) is written for all
layers at once.
"""

from collections.abc import Callable, Sequence

import torch

from model.attention.attend import attend, choose_blocks
from model.attention.pages import Pages
from model.serve.embedded.joined_network import JoinedNetwork, rotate
from model.serve.embedded.prompt_graphs import PromptGraphs, smallest
from model.serve.embedded.slot_model import integers

MAX_TOKENS_PER_PASS = 4096  # of short prompts: keys and values of all layers are kept until the pass ends


class PromptPass:
    """Reads prompts into slots.

    Args:
        network: the model.
        pages: of all layers, one layer's slots after the other's.
    """

    def __init__(self, network: JoinedNetwork, pages: Pages) -> None:
        self._network, self._pages, self._sparsity = network, pages, network.sparsity
        self._heads, self._groups = network.heads, network.groups
        self._slots = len(pages.keys) // len(network.layers)
        self._graphs: PromptGraphs | None = None

    def read_short(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], between_layers: Callable[[], None]
    ) -> torch.Tensor:
        """Reads prompts that are dense, into empty slots, and returns the logits [B, V] of their last tokens."""
        longest, logits, begin = max(map(len, chunks)), [], 0
        while begin < len(chunks):
            count, length = self._shape(len(chunks) - begin, longest)
            part = slice(begin, begin + count)
            rows = self._short_inputs(slots[part], chunks[part], count, length)
            if self._graphs is not None:
                between_layers()
                logits.append(self._graphs.read((count, length), rows)[: len(chunks[part])])
            else:
                logits.append(self._short_pass(integers(rows, self._network.device), between_layers))
            begin += count
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def capture(self, longest: int) -> None:
        """Makes passes over prompts of at most so many tokens CUDA graphs. Slot 0 must be free."""
        header = len(self._short_inputs([0], [[0]], 1, 1)[0]) - 1
        device = self._network.device
        self._graphs = PromptGraphs(
            lambda inputs: self._short_pass(inputs, lambda: None), header, longest, MAX_TOKENS_PER_PASS, device
        )

    def drop_graphs(self) -> None:
        """Frees the graphs."""
        self._graphs = None

    def _shape(self, count: int, longest: int) -> tuple[int, int]:
        """Returns how many prompts are read at once, and their length with padding."""
        if self._graphs is not None:
            return smallest(self._graphs.shapes, count, longest)
        return min(max(MAX_TOKENS_PER_PASS // longest, 1), count), longest

    def _short_inputs(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], count: int, length: int
    ) -> list[list[int]]:
        """Returns what `_short_pass` reads, S + 2 + T numbers for each prompt: its slot, the place of its last token
        among all tokens, the places of the tokens of its last block, and its tokens, padded on the right.

        The last prompt is there as often as it takes to make them `count`; `length` is T.
        """
        S, T, rows = self._sparsity.block, length, []
        for b in range(count):
            slot, chunk = slots[min(b, len(slots) - 1)], chunks[min(b, len(chunks) - 1)]
            unfinished = range(len(chunk) // S * S, len(chunk) // S * S + S)
            places = [b * T + min(place, T - 1) for place in unfinished]
            rows.append([slot, b * T + len(chunk) - 1, *places, *chunk, *([0] * (T - len(chunk)))])
        return rows

    def _short_pass(self, inputs: torch.Tensor, between_layers: Callable[[], None]) -> torch.Tensor:
        """Returns the logits [B, V]. Nothing waits for the host."""
        S, K = self._sparsity.block, self._groups
        slot_B, last_B, places_BS, ids_BT = inputs.split([1, 1, S, inputs.shape[1] - S - 2], 1)
        B, T = ids_BT.shape
        network, x_MC = self._network, self._network.embed(ids_BT).flatten(0, 1)  # M: the tokens of all prompts
        cos, sin = self._angles(0, T, B)
        mixed, rotated = [], []
        for layer in network.layers:
            between_layers()
            mixed_BTN = network.project(x_MC, layer, has_gate_queries=False).view(B, T, -1)
            qk_BTHD, v_BTKD, head_gate_BTH = network.parts(mixed_BTN)
            qk_BTHD = rotate(qk_BTHD, cos, sin)
            q_BTHD, k_BTKD = qk_BTHD.split([self._heads, K], 2)
            out_BTHD = attend(q_BTHD, k_BTKD, v_BTKD, None, self._sparsity)
            network.finish(x_MC, out_BTHD.flatten(0, 1), head_gate_BTH.flatten(0, 1), layer)
            mixed.append(mixed_BTN)
            rotated.append(k_BTKD)
        qk_LBTHD, v_LBTKD, _ = network.parts(torch.stack(mixed))
        self._store(slot_B[:, 0], places_BS, torch.stack(rotated), v_LBTKD, qk_LBTHD[..., self._heads :, :])
        return network.logits(x_MC.index_select(0, last_B[:, 0]))

    def read(
        self,
        first_slot: int,
        chunks: Sequence[Sequence[int]],
        offset: int,
        between_layers: Callable[[], None],
        *,
        all_logits: bool = False,
    ) -> torch.Tensor:
        """See `SlotModel.prefill`."""
        lengths, network, sparsity = [len(chunk) for chunk in chunks], self._network, self._sparsity
        B, T = len(chunks), max(lengths)
        end = offset + T
        ids = [[*chunk, *([0] * (T - len(chunk)))] for chunk in chunks]
        x_MC = network.embed(integers(ids, network.device)).flatten(0, 1)
        cos, sin = self._angles(offset, end, B)
        for number, layer in enumerate(network.layers):
            between_layers()
            is_sparse = layer.gate is not None and end > sparsity.dense_below
            mixed_BTN = network.project(x_MC, layer, has_gate_queries=is_sparse).view(B, T, -1)
            qk_BTHD, v_BTKD, head_gate_BTH = network.parts(mixed_BTN)
            q_BTHD, unrotated_k_BTKD = qk_BTHD.split([self._heads, self._groups], 2)
            first_row = number * self._slots + first_slot
            pages = self._pages.rows(first_row, first_row + B)
            pages.extend(rotate(unrotated_k_BTKD, cos, sin), v_BTKD, unrotated_k_BTKD, layer.gate, offset, lengths)
            selected = None
            if is_sparse:
                leaves_BNKE = pages.levels[0][:, : end // sparsity.block]
                selected = choose_blocks(network.gate_queries(mixed_BTN), leaves_BNKE, sparsity, offset=offset)
            out_BTHD = attend(
                rotate(q_BTHD, cos, sin), pages.keys[:, :end], pages.values[:, :end], selected, sparsity, offset=offset
            )
            network.finish(x_MC, out_BTHD.flatten(0, 1), head_gate_BTH.flatten(0, 1), layer)
        if all_logits:
            return network.logits(x_MC)
        places = [b * T + length - 1 for b, length in enumerate(lengths)]
        return network.logits(x_MC[places] if B > 1 else x_MC[-1:])

    def _angles(self, first: int, last: int, texts: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns cosines and sines of RoPE's angles, [B, T, D / 2]."""
        cos_TD, sin_TD = self._network.cos_TD[first:last], self._network.sin_TD[first:last]
        return cos_TD.expand(texts, -1, -1).contiguous(), sin_TD.expand(texts, -1, -1).contiguous()

    def _store(
        self,
        slot_B: torch.Tensor,
        places_BS: torch.Tensor,
        k_LBTKD: torch.Tensor,
        v_LBTKD: torch.Tensor,
        unrotated_k_LBTKD: torch.Tensor,
    ) -> None:
        """Writes the prompts of all layers into the pages, as `Pages.extend`."""
        L, B, T, K, D = k_LBTKD.shape
        S, pages = self._sparsity.block, self._pages
        keys, values, tail = (
            tensor.unflatten(0, (L, self._slots)) for tensor in (pages.keys, pages.values, pages.tail)
        )
        keys[:, :, :T].index_copy_(1, slot_B, k_LBTKD)
        values[:, :, :T].index_copy_(1, slot_B, v_LBTKD)
        last_blocks = unrotated_k_LBTKD.flatten(1, 2).index_select(1, places_BS.flatten())
        tail.index_copy_(1, slot_B, last_blocks.view(L, B, S, K, D))
        if self._network.summary_LKDE is None or T < S:
            return
        N = T // S
        k_LBNSKD = unrotated_k_LBTKD[:, :, : N * S].unflatten(2, (N, S))
        statistics = torch.cat([k_LBNSKD.amax(3), k_LBNSKD.amin(3), k_LBNSKD.mean(3)], -1)
        nodes = torch.einsum("lbnkd,lkde->lbnke", statistics, self._network.summary_LKDE)
        for level in pages.levels:
            level.unflatten(0, (L, self._slots))[:, :, :N].index_copy_(1, slot_B, nodes)
            N //= self._sparsity.fanout
            if not N:
                break
            nodes = nodes[:, :, : N * self._sparsity.fanout].unflatten(2, (N, -1)).mean(3)

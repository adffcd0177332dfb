"""`PromptPass`: the DSA model's pass over prompts, in fewer launches than the network's own.

A short prompt's pass on a GPU takes as long as its launches. So projections of the same input are one product, sums go
into the products before them, and what no layer reads before the next pass (the KV cache of short prompts, which attend
each other densely) is written for all layers at once. The network's parameters become views of the joined weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from model.attention import decode
from model.attention.attend import attend, choose_blocks, has_triton
from model.attention.gate import Gate
from model.attention.pages import Pages
from model.lm import DsaForCausalLM
from model.lm.layers import Block
from model.serve.embedded.prompt_graphs import PromptGraphs, smallest

MAX_TOKENS_PER_PASS = 4096  # of short prompts: keys and values of all layers are kept until the pass ends
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


class PromptPass:
    """Reads prompts into slots.

    Args:
        network: the model.
        pages: of all layers, one layer's slots after the other's.
        max_length: tokens of a slot.
    """

    def __init__(self, network: DsaForCausalLM, pages: Pages, max_length: int) -> None:
        config = network.config
        self._network, self._pages, self._sparsity = network, pages, config.sparsity
        self._heads, self._groups, self._head_dim = (
            config.num_attention_heads, config.num_key_value_heads, config.head_dim,
        )  # fmt: skip
        self._eps, self._gate_dim = config.rms_norm_eps, config.gate_dim
        self._slots = len(pages.keys) // len(network.layers)
        self._graphs: PromptGraphs | None = None
        angles = network.rope_angles(torch.arange(max_length, device=network.device))
        self._cos_TD, self._sin_TD = angles.cos().to(network.dtype), angles.sin().to(network.dtype)
        with torch.no_grad():
            self._layers = [_join_layer(layer) for layer in network.layers]  # pyright: ignore[reportArgumentType]
            self._summary_LKDE = _join_summaries([layer.gate for layer in self._layers])

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
                logits.append(self._short_pass(torch.tensor(rows, device=self._network.device), between_layers))
            begin += count
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def capture(self, longest: int) -> None:
        """Makes passes over prompts of at most so many tokens CUDA graphs. Slot 0 must be free."""
        header = len(self._short_inputs([0], [[0]], 1, 1)[0]) - 1
        device = self._network.device
        self._graphs = PromptGraphs(
            lambda inputs: self._short_pass(inputs, lambda: None), header, longest, MAX_TOKENS_PER_PASS, device
        )

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
        x_MC = self._network.embed_tokens(ids_BT).flatten(0, 1)  # M: the tokens of all prompts
        cos, sin = self._angles(0, T, B)
        mixed, rotated = [], []
        width = self._layers[0].width
        for layer in self._layers:
            between_layers()
            h_MC = F.rms_norm(x_MC, x_MC.shape[-1:], layer.attention_norm, self._eps)
            mixed_BTN = F.linear(h_MC, layer.inputs[:width], layer.bias[:width]).view(B, T, width)
            qk_BTHD, v_BTKD, head_gate_BTH = self._parts(mixed_BTN)
            qk_BTHD = rotate(qk_BTHD, cos, sin)
            q_BTHD, k_BTKD = qk_BTHD.split([self._heads, K], 2)
            out_BTHD = attend(q_BTHD, k_BTKD, v_BTKD, None, self._sparsity)
            self._finish(x_MC, out_BTHD, head_gate_BTH, layer)
            mixed.append(mixed_BTN)
            rotated.append(k_BTKD)
        qk_LBTHD, v_LBTKD, _ = self._parts(torch.stack(mixed))
        self._store(slot_B[:, 0], places_BS, torch.stack(rotated), v_LBTKD, qk_LBTHD[..., self._heads :, :])
        return self._logits(x_MC.index_select(0, last_B[:, 0]))

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
        lengths, sparsity, H, K = [len(chunk) for chunk in chunks], self._sparsity, self._heads, self._groups
        B, T = len(chunks), max(lengths)
        end = offset + T
        ids = [[*chunk, *([0] * (T - len(chunk)))] for chunk in chunks]
        x_MC = self._network.embed_tokens(torch.tensor(ids, device=self._network.device)).flatten(0, 1)
        cos, sin = self._angles(offset, end, B)
        for number, layer in enumerate(self._layers):
            between_layers()
            h_MC = F.rms_norm(x_MC, x_MC.shape[-1:], layer.attention_norm, self._eps)
            mixed_BTN = F.linear(h_MC, layer.inputs, layer.bias).view(B, T, -1)
            qk_BTHD, v_BTKD, head_gate_BTH = self._parts(mixed_BTN)
            q_BTHD, unrotated_k_BTKD = qk_BTHD.split([H, K], 2)
            first_row = number * self._slots + first_slot
            pages = self._pages.rows(first_row, first_row + B)
            pages.extend(rotate(unrotated_k_BTKD, cos, sin), v_BTKD, unrotated_k_BTKD, layer.gate, offset, lengths)
            selected = None
            if layer.gate is not None and end > sparsity.dense_below:
                gate_BTKE = mixed_BTN[..., -K * self._gate_dim :].unflatten(2, (K, -1)) * self._gate_dim**-0.5
                selected = choose_blocks(
                    gate_BTKE, pages.levels[0][:, : end // sparsity.block], sparsity, offset=offset
                )
            out_BTHD = attend(
                rotate(q_BTHD, cos, sin), pages.keys[:, :end], pages.values[:, :end], selected, sparsity, offset=offset
            )
            self._finish(x_MC, out_BTHD, head_gate_BTH, layer)
        if all_logits:
            return self._logits(x_MC)
        places = [b * T + length - 1 for b, length in enumerate(lengths)]
        return self._logits(x_MC[places] if B > 1 else x_MC[-1:])

    def _angles(self, first: int, last: int, texts: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns cosines and sines of RoPE's angles, [B, T, D / 2]."""
        cos_TD, sin_TD = self._cos_TD[first:last], self._sin_TD[first:last]
        return cos_TD.expand(texts, -1, -1).contiguous(), sin_TD.expand(texts, -1, -1).contiguous()

    def _parts(self, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns queries and keys, values, and head gates: views of the joined projections."""
        H, K, D = self._heads, self._groups, self._head_dim
        qk, v, head_gate = mixed[..., : (H + 2 * K) * D + H].split([(H + K) * D, K * D, H], -1)
        return qk.unflatten(-1, (H + K, D)), v.unflatten(-1, (K, D)), head_gate

    def _finish(
        self, x_MC: torch.Tensor, out_BTHD: torch.Tensor, head_gate_BTH: torch.Tensor, layer: JoinedLayer
    ) -> None:
        """Adds the rest of the layer to the residual stream."""
        out_BTHD = out_BTHD * torch.sigmoid(head_gate_BTH)[..., None]
        x_MC.addmm_(out_BTHD.reshape(len(x_MC), -1), layer.o_proj.t())
        h_MC = F.rms_norm(x_MC, x_MC.shape[-1:], layer.mlp_norm, self._eps)
        gate, up = F.linear(h_MC, layer.gate_up).chunk(2, -1)
        x_MC.addmm_(F.silu(gate) * up, layer.down_proj.t())

    def _logits(self, x_MC: torch.Tensor) -> torch.Tensor:
        return self._network.lm_head(self._network.norm(x_MC))

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
        if self._summary_LKDE is None or T < S:
            return
        N = T // S
        k_LBNSKD = unrotated_k_LBTKD[:, :, : N * S].unflatten(2, (N, S))
        statistics = torch.cat([k_LBNSKD.amax(3), k_LBNSKD.amin(3), k_LBNSKD.mean(3)], -1)
        nodes = torch.einsum("lbnkd,lkde->lbnke", statistics, self._summary_LKDE)
        for level in pages.levels:
            level.unflatten(0, (L, self._slots))[:, :, :N].index_copy_(1, slot_B, nodes)
            N //= self._sparsity.fanout
            if not N:
                break
            nodes = nodes[:, :, : N * self._sparsity.fanout].unflatten(2, (N, -1)).mean(3)


def rotate(x_BTHD: torch.Tensor, cos_BTD: torch.Tensor, sin_BTD: torch.Tensor) -> torch.Tensor:
    """Returns queries or keys with their positions."""
    head_dim = x_BTHD.shape[3]
    if x_BTHD.is_cuda and head_dim & (head_dim - 1) == 0 and has_triton():
        from model.attention import triton_rope

        return triton_rope.rotate(x_BTHD, cos_BTD, sin_BTD)
    return decode.apply_rope(x_BTHD, cos_BTD[:, :, None], sin_BTD[:, :, None])


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

"""`DecodeGraphs`: decode steps of the DSA model as CUDA graphs, one for each number of slots and kind of attention.

A captured step costs a launch instead of some hundred. Numbers of slots in between use the next larger graph.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from model.serve.embedded.dsa_slots import DsaSlots

WARM_UP_STEPS = 2  # before a capture: kernels are compiled and workspaces allocated


class DecodeGraphs:
    """Captures each step at the start, so that no request waits for it."""

    def __init__(self, slots: "DsaSlots") -> None:
        self._slots, count = slots, slots.slots
        sizes = [size for size in (1, 2, 4, 8, *range(16, count, 16)) if size < count]
        self._sizes = [*sizes, count]
        device = slots.network.device
        self._host_2B = torch.zeros(2, count, dtype=torch.int32).pin_memory()
        self._device_2B = torch.zeros(2, count, dtype=torch.int32, device=device)
        self._graphs: dict[tuple[int, bool], tuple[Any, torch.Tensor]] = {}
        self._pool: Any = None

    def capture_all(self) -> None:
        """Captures the steps of all sizes. The slots must be free."""
        kinds = (False,) if self._slots.dense_below is None else (False, True)
        with torch.inference_mode():
            for size in reversed(self._sizes):  # the largest first: the others use its memory
                for is_sparse in kinds:
                    self.step([0] * size, [0] * size, is_sparse)

    def step(self, tokens: Sequence[int], positions: Sequence[int], is_sparse: bool) -> torch.Tensor:
        """Returns the logits [B, V] of a step of the first B slots; they are overwritten by the next one.

        Args:
            tokens: of each slot the token that it reads, B of them.
            positions: where each token stands in its text.
            is_sparse: whether the sparse kernels run; each kind has its own graph.
        """
        count = len(tokens)
        size = next(size for size in self._sizes if size >= count)
        self._host_2B[0, :count] = torch.tensor(tokens, dtype=torch.int32)
        self._host_2B[1, :count] = torch.tensor(positions, dtype=torch.int32)
        self._host_2B[:, count:size] = 0
        self._device_2B.copy_(self._host_2B, non_blocking=True)
        if (size, is_sparse) not in self._graphs:
            self._capture(size, is_sparse)
        graph, logits_BV = self._graphs[size, is_sparse]
        graph.replay()
        return logits_BV[:count]

    def _capture(self, size: int, is_sparse: bool) -> None:
        """Captures a step. Its warm-up writes the tokens of the step that comes next, which does no harm."""
        cache = self._slots.first_slots(size)
        # What decides between the two kinds of attention.
        length = (self._slots.dense_below or 0) if is_sparse else 0

        def step() -> torch.Tensor:
            cache.lengths = [length] * size
            cache.positions_B.copy_(self._device_2B[1, :size])
            ids_BT = self._device_2B[0, :size, None].long()
            return self._slots.network(input_ids=ids_BT, past_key_values=cache).logits[:, -1]

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits_BV = step()
        self._pool = self._pool or graph.pool()
        self._graphs[size, is_sparse] = graph, logits_BV

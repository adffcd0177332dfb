"""`DecodeGraphs`: decode steps of the DSA model as CUDA graphs, one for each number of slots and kind of attention.

A captured step costs a launch instead of some hundred. Numbers of slots in between use the next larger graph.
"""

from collections.abc import Sequence
from typing import Any

import torch

from model.serve.embedded.decode_pass import DecodePass

WARM_UP_STEPS = 2  # before a capture: kernels are compiled and workspaces allocated


class DecodeGraphs:
    """Captures each step at the start, so that no request waits for it.

    Args:
        decode: the step.
        slots: of the model.
        dense_below: longest text whose attention is dense; None: of all texts.
        device: a GPU.
    """

    def __init__(self, decode: DecodePass, slots: int, dense_below: int | None, device: torch.device) -> None:
        self._decode, self._kinds = decode, (False,) if dense_below is None else (False, True)
        self._sizes = [*(size for size in (1, 2, 4, 8, *range(16, slots, 16)) if size < slots), slots]
        self._host_2B = torch.zeros(2, slots, dtype=torch.int32).pin_memory()
        self._values_2B = self._host_2B.numpy()
        self._device_2B = torch.zeros(2, slots, dtype=torch.int32, device=device)
        self._graphs: dict[tuple[int, bool], tuple[Any, torch.Tensor]] = {}
        self._pool: Any = None

    def capture_all(self) -> None:
        """Captures the steps of all sizes. The slots must be free."""
        with torch.inference_mode():
            for size in reversed(self._sizes):  # the largest first: the others use its memory
                for is_sparse in self._kinds:
                    self.step([0] * size, [0] * size, is_sparse)

    def step(self, tokens: Sequence[int], positions: Sequence[int], is_sparse: bool) -> torch.Tensor:
        """Returns the logits [B, V] of a step of the first B slots; they are overwritten by the next one.

        Args:
            tokens: of each slot the token that it reads, B of them.
            positions: of each token in its text.
            is_sparse: whether the sparse kernels run; each kind has its own graph.
        """
        count = len(tokens)
        size = next(size for size in self._sizes if size >= count)
        self._values_2B[0, :count], self._values_2B[1, :count] = tokens, positions
        self._values_2B[:, count:size] = 0
        self._device_2B.copy_(self._host_2B, non_blocking=True)
        if (size, is_sparse) not in self._graphs:
            self._capture(size, is_sparse)
        graph, logits_BV = self._graphs[size, is_sparse]
        graph.replay()
        return logits_BV[:count]

    def _capture(self, size: int, is_sparse: bool) -> None:
        """Captures a step. Its warm-up writes the tokens of the step that comes next, which does no harm."""

        def step() -> torch.Tensor:
            return self._decode.run(self._device_2B[0, :size], self._device_2B[1, :size], is_sparse=is_sparse)

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

"""`PromptGraphs`: passes over short prompts as CUDA graphs, one for each number of prompts and length.

A pass has some 300 launches, which take several times as long as the GPU's own work. What is between two sizes uses
the next larger graph: prompts are padded, and the last one takes the places of those that are missing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from model.serve.embedded.slot_model import integers

SHORTEST = 64  # tokens
MAX_PROMPTS = 32
WARM_UP_PASSES = 2  # before a capture: kernels are compiled and workspaces allocated


class PromptGraphs:
    """Captures each pass at the start, so that no request waits for it.

    Args:
        run: a pass, from numbers [B, N + T] to logits [B, V]. It must not wait for the GPU.
        header: N, the numbers of a prompt before its tokens.
        longest: tokens of the longest prompt.
        max_tokens: of a pass, padding included; at least `longest`.
        device: a GPU.
    """

    def __init__(
        self, run: Callable[[torch.Tensor], torch.Tensor], header: int, longest: int, max_tokens: int, device: Any
    ) -> None:
        self.shapes = shapes(longest, max_tokens)
        self._graphs: dict[tuple[int, int], tuple[Any, torch.Tensor, torch.Tensor]] = {}
        pool: Any = None
        with torch.inference_mode():
            for shape in reversed(self.shapes):  # the largest first: the others use its memory
                count, length = shape
                inputs = torch.zeros(count, header + length, dtype=torch.int64, device=device)
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(WARM_UP_PASSES):
                        run(inputs)
                torch.cuda.current_stream().wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool):
                    logits_BV = run(inputs)
                pool = pool or graph.pool()
                self._graphs[shape] = graph, inputs, logits_BV

    def read(self, shape: tuple[int, int], rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Returns the logits [B, V] of a pass over prompts of that shape, of which it is one of `shapes`."""
        graph, inputs, logits_BV = self._graphs[shape]
        inputs.copy_(integers(rows, inputs.device))
        graph.replay()
        return logits_BV.clone()  # the next pass overwrites them


def shapes(longest: int, max_tokens: int) -> list[tuple[int, int]]:
    """Returns numbers of prompts and their lengths, fewest tokens first: powers of two, and `longest`.

    Args:
        longest: tokens of the longest prompt.
        max_tokens: of all prompts together; at least `longest`.
    """
    lengths, length = [longest], SHORTEST
    while length < longest:
        lengths.append(length)
        length *= 2
    counts = [2**n for n in range(MAX_PROMPTS.bit_length())]
    fitting = [(count, length) for count in counts for length in lengths if count * length <= max_tokens]
    return sorted(fitting, key=lambda shape: (shape[0] * shape[1], shape))


def smallest(shapes: Sequence[tuple[int, int]], count: int, longest: int) -> tuple[int, int]:
    """Returns the first of the shapes, sorted by size, that holds as many of the prompts as any does.

    Args:
        shapes: numbers of prompts and their lengths.
        count: of the prompts.
        longest: tokens of the longest of them; one of the shapes has this length or more.
    """
    fitting = [shape for shape in shapes if shape[1] >= longest]
    most = min(count, max(shape[0] for shape in fitting))
    return next(shape for shape in fitting if shape[0] >= most)

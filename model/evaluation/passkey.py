"""Retrieval over length: a key hidden in real text is to be given back after a question at the text's end.

The passkey test of Mohtashami and Jaggi (arXiv 2305.16300, §4.2), with word pairs as keys and held-out text as filler.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from configs.errors import ConfigError, InputError

SHORTEST = 256  # tokens
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # where the key stands, as a share of the filler
NEEDLE, AFTER, QUESTION = "\nThe pass key is", ". Remember it.\n", "\nThe pass key is"
WORDS = """
amber anchor apple arrow basket bridge bronze butter candle canyon castle cedar cherry copper coral cotton desert dragon
eagle ember falcon feather forest garden ginger glacier hammer harbor island ivory jungle kettle ladder lantern lemon
marble meadow mirror needle ocean olive orange paper pepper planet quartz rabbit ribbon river saddle salmon silver
summer temple thunder timber tunnel valley velvet violet walnut willow window winter
""".split()  # noqa: SIM905
Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Cell:
    """`found` of `trials` keys given back whole at a length (tokens, the key's among them) and a depth.

    `nats`: mean loss of a key's token.
    """

    length: int
    depth: float
    trials: int
    found: int
    nats: float


@dataclass(frozen=True, slots=True)
class Found:
    """The depths of a length together: the share found and its binomial standard error."""

    length: int
    trials: int
    found: int
    nats: float

    @property
    def share(self) -> float:
        return self.found / self.trials

    @property
    def error(self) -> float:
        return math.sqrt(self.share * (1 - self.share) / self.trials)


def lengths(longest: int) -> list[int]:
    """256, 512, … up to `longest`. Raises ConfigError where that is below 256."""
    if longest < SHORTEST:
        raise ConfigError(f"--max-length: {longest} tokens; give {SHORTEST} or more, or --trials 0 for no retrieval")
    return [SHORTEST << power for power in range((longest // SHORTEST).bit_length())]


def prompt(encode: Encode, filler: Sequence[int], key: str, length: int, depth: float) -> tuple[list[int], int]:
    """Tokens of the whole text, the key's at its end, and how many those are.

    The parts are tokenised apart, so that the key is the same tokens in both places. Raises ConfigError when the
    length has no room for the key, InputError when the filler is too short.
    """
    answer = encode(f" {key}")
    needle, question = [*encode(NEEDLE), *answer, *encode(AFTER)], encode(QUESTION)
    room = length - len(needle) - len(question) - len(answer)
    if room < 0:
        raise ConfigError(f"--max-length: the key and its question take {length - room} tokens; give more")
    if len(filler) < room:
        raise InputError(
            f"retrieval: {room} tokens of held-out text are needed, there are {len(filler)}; raise --bytes"
        )
    place = round(depth * room)
    return [*filler[:place], *needle, *filler[place:room], *question, *answer], len(answer)


@torch.no_grad()
def retrieve(
    network: Any,
    encode: Encode,
    filler: Sequence[int],
    longest: int,
    trials: int,
    seed: int,
    watch: Callable[[int], None],
) -> list[Cell]:
    """A cell for each length and depth, `trials` keys each; `network` maps token ids [1, T] to logits.

    A key counts as found when each of its tokens is the most likely one after those before it: what greedy
    decoding would write. The keys and places in the filler depend on the seed, length and depth alone.
    """
    cells = []
    for length in lengths(longest):
        watch(length)
        for depth in DEPTHS:
            rng = random.Random(f"{seed} {length} {depth}")
            found, nats, counted = 0, 0.0, 0
            for _ in range(trials):
                key = " ".join(rng.sample(WORDS, 2))
                begin = rng.randrange(max(len(filler) - length, 0) + 1)
                tokens, size = prompt(encode, filler[begin:], key, length, depth)
                ids = torch.tensor([tokens[:-1]], device=network.device)
                logits = network(ids, use_cache=False, logits_to_keep=size).logits[0, -size:].float()
                answer = torch.tensor(tokens[-size:], device=network.device)
                found += bool((logits.argmax(-1) == answer).all())
                nats += float(F.cross_entropy(logits, answer, reduction="sum"))
                counted += size
            cells.append(Cell(length, depth, trials, found, nats / counted))
    return cells


def by_length(cells: Sequence[Cell]) -> list[Found]:
    """The cells of each length, summed over depths."""
    found = []
    for length in dict.fromkeys(cell.length for cell in cells):
        rows = [cell for cell in cells if cell.length == length]
        trials = sum(row.trials for row in rows)
        nats = sum(row.nats * row.trials for row in rows) / trials
        found.append(Found(length, trials, sum(row.found for row in rows), nats))
    return found

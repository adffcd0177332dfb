"""Passkey retrieval: a key hidden in a long text, asked for at the text's end.

After Mohtashami and Jaggi (arXiv 2305.16300, section 4.2), with pairs of words as keys and held-out text as filler.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from configs.errors import ConfigError, InputError

MIN_LENGTH = 256  # tokens
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # the key's place as a share of the filler
BEFORE_KEY, AFTER_KEY, QUESTION = "\nThe pass key is", ". Remember it.\n", "\nThe pass key is"
WORDS = """
amber anchor apple arrow basket bridge bronze butter candle canyon castle cedar cherry copper coral cotton desert dragon
eagle ember falcon feather forest garden ginger glacier hammer harbor island ivory jungle kettle ladder lantern lemon
marble meadow mirror needle ocean olive orange paper pepper planet quartz rabbit ribbon river saddle salmon silver
summer temple thunder timber tunnel valley velvet violet walnut willow window winter
""".split()  # noqa: SIM905
Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Cell:
    """The trials of one length and depth."""

    length: int  # tokens of the whole text, the answer included
    depth: float
    trials: int
    keys_found: int  # trials in which every token of the key was right
    nats: float  # mean loss of a token of the key

    def to_json(self) -> dict[str, float]:
        """Returns the cell as in evaluation.json."""
        return {
            "length": self.length,
            "depth": self.depth,
            "trials": self.trials,
            "found": self.keys_found,
            "nats": self.nats,
        }


@dataclass(frozen=True, slots=True)
class LengthResult:
    """The trials of one length over all depths."""

    length: int
    trials: int
    keys_found: int
    nats: float

    @property
    def share(self) -> float:
        """Share of the keys that were found."""
        return self.keys_found / self.trials

    @property
    def error(self) -> float:
        """Binomial standard error of the share."""
        return math.sqrt(self.share * (1 - self.share) / self.trials)

    def to_json(self) -> dict[str, float]:
        """Returns the result as in evaluation.json."""
        return {
            "length": self.length,
            "trials": self.trials,
            "found": self.keys_found,
            "nats": self.nats,
            "share": self.share,
            "share_se": self.error,
        }


def lengths_up_to(max_length: int) -> list[int]:
    """Returns 256, 512, … up to `max_length` tokens.

    Raises:
        ConfigError: `max_length` is below 256.
    """
    if max_length < MIN_LENGTH:
        raise ConfigError(
            f"--max-length: {max_length} tokens; give {MIN_LENGTH} or more, or --trials 0 for no retrieval"
        )
    return [MIN_LENGTH << power for power in range((max_length // MIN_LENGTH).bit_length())]


def build_text(encode: Encode, filler: Sequence[int], key: str, length: int, depth: float) -> tuple[list[int], int]:
    """Returns the token ids of a text that ends with the right answer, and how many tokens the answer has.

    The parts are tokenized one by one, so that the key has the same tokens in both places.

    Args:
        encode: the model's tokenizer.
        filler: token ids of other text.
        key: the words to hide.
        length: tokens of the whole text.
        depth: where the key is hidden, 0 (at the beginning) to 1 (at the end).

    Raises:
        ConfigError: the length is too small for the key and its question.
        InputError: the filler is too short.
    """
    answer = encode(f" {key}")
    needle, question = [*encode(BEFORE_KEY), *answer, *encode(AFTER_KEY)], encode(QUESTION)
    filler_length = length - len(needle) - len(question) - len(answer)
    if filler_length < 0:
        raise ConfigError(f"--max-length: the key and its question take {length - filler_length} tokens; give more")
    if len(filler) < filler_length:
        raise InputError(
            f"retrieval: {filler_length} tokens of held-out text are needed, but there are {len(filler)}; raise --bytes"
        )
    place = round(depth * filler_length)
    return [*filler[:place], *needle, *filler[place:filler_length], *question, *answer], len(answer)


@torch.no_grad()
def retrieve(
    network: Any,
    encode: Encode,
    filler: Sequence[int],
    max_length: int,
    trials: int,
    seed: int,
    watch: Callable[[int], None],
) -> list[Cell]:
    """Returns a cell for each length and depth.

    A key is found when each of its tokens is the most likely one after those before it, which is what greedy decoding
    would write. The keys and the filler's beginnings depend on the seed, the length and the depth alone.

    Args:
        network: maps token ids [1, T] to logits.
        encode: the model's tokenizer.
        filler: token ids of other text.
        max_length: of the texts, in tokens.
        trials: keys for each length and depth.
        seed: of the keys.
        watch: is called with each length before its trials.
    """
    cells = []
    for length in lengths_up_to(max_length):
        watch(length)
        for depth in DEPTHS:
            rng = random.Random(f"{seed} {length} {depth}")
            keys_found, nats, answer_tokens = 0, 0.0, 0
            for _ in range(trials):
                key = " ".join(rng.sample(WORDS, 2))
                begin = rng.randrange(max(len(filler) - length, 0) + 1)
                tokens, size = build_text(encode, filler[begin:], key, length, depth)
                input_ids = torch.tensor([tokens[:-1]], device=network.device)
                logits_TV = network(input_ids, use_cache=False, logits_to_keep=size).logits[0, -size:].float()
                answer_T = torch.tensor(tokens[-size:], device=network.device)
                keys_found += bool((logits_TV.argmax(-1) == answer_T).all())
                nats += float(F.cross_entropy(logits_TV, answer_T, reduction="sum"))
                answer_tokens += size
            cells.append(Cell(length, depth, trials, keys_found, nats / answer_tokens))
    return cells


def sum_over_depths(cells: Sequence[Cell]) -> list[LengthResult]:
    """Returns the result of each length over its depths."""
    results = []
    for length in dict.fromkeys(cell.length for cell in cells):
        depths = [cell for cell in cells if cell.length == length]
        trials = sum(cell.trials for cell in depths)
        nats = sum(cell.nats * cell.trials for cell in depths) / trials
        results.append(LengthResult(length, trials, sum(cell.keys_found for cell in depths), nats))
    return results

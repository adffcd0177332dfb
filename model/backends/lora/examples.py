"""What adapters are trained on: conversations and preferences as tokens, and the batches of a training."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from configs.schema import Lora
from model.backends.chat_template import ChatTemplate
from stages.ports import Preference

_BATCHES_PER_WINDOW = 8  # rows of a window are sorted by length: less padding, still shuffled

Row = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Example:
    """The tokens of a conversation. The last `answer_tokens` of them are learnt."""

    ids: list[int]
    answer_tokens: int

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, each with the prompt."""

    chosen: Example
    rejected: Example

    @property
    def tokens(self) -> int:
        return self.chosen.tokens + self.rejected.tokens


def read_examples(template: ChatTemplate, rows: Sequence[Row], max_length: int) -> list[Example]:
    """The rows that fit the chat template. Long prompts lose their start, long answers their end."""
    examples = []
    for row in rows:
        conversation = template.conversation(row)
        if conversation is None:
            continue
        prompt, answer = conversation
        answer = answer[: max_length - 1]
        prompt = prompt[-(max_length - len(answer)) :]
        examples.append(Example(prompt + answer, len(answer)))
    return examples


def read_pairs(template: ChatTemplate, preferences: Sequence[Preference], max_length: int) -> list[Pair]:
    """The preferences that fit the chat template. Both answers follow the same tokens of the prompt."""
    pairs = []
    for preference in preferences:
        conversations = [
            template.conversation([*preference.messages, {"role": "assistant", "content": answer}])
            for answer in (preference.chosen, preference.rejected)
        ]
        if conversations[0] is None or conversations[1] is None:
            continue
        prompt = conversations[0][0]
        answers = [answer[: max_length - 1] for _, answer in filter(None, conversations)]
        prompt = prompt[-(max_length - max(map(len, answers))) :]
        pairs.append(Pair(*(Example(prompt + answer, len(answer)) for answer in answers)))
    return pairs


T = TypeVar("T", Example, Pair)


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """The batches of a training, an optimizer step each."""

    batches: list[list[T]]

    @property
    def tokens(self) -> int:
        """That are read in all."""
        return sum(example.tokens for batch in self.batches for example in batch)

    def first(self, steps: int) -> "Plan[T]":
        """The plan of the first steps."""
        return Plan(self.batches[:steps])

    @property
    def used(self) -> int:
        """Different examples in the batches."""
        return len({id(example) for batch in self.batches for example in batch})


def plan_batches(examples: Sequence[T], options: Lora, seed: int, size: int) -> Plan[T]:
    """Shuffled batches of `size` examples, of all epochs, up to `max_tokens` tokens."""
    batches: list[list[T]] = []
    tokens = 0
    rng = random.Random(seed)
    for _ in range(options.epochs):
        for batch in _epoch(examples, size, rng):
            batches.append(batch)
            tokens += sum(example.tokens for example in batch)
            if tokens >= options.max_tokens:
                return Plan(batches)
    return Plan(batches)


def _epoch(examples: Sequence[T], size: int, rng: random.Random) -> list[list[T]]:
    shuffled = rng.sample(examples, len(examples))
    batches = []
    for start in range(0, len(shuffled), size * _BATCHES_PER_WINDOW):
        window = sorted(shuffled[start : start + size * _BATCHES_PER_WINDOW], key=lambda example: example.tokens)
        batches += [window[first : first + size] for first in range(0, len(window), size)]
    rng.shuffle(batches)
    return batches

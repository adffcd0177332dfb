"""`Scheduler`: which sequences hold a slot, whose prompt is read next, and who is decoded. No tensors."""

import heapq
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from configs.errors import GristmillError
from model.serve.embedded.sampling import Draws
from model.serve.port import GenerationRequest, GenerationStep, TokenLogprob

Deliver = Callable[[GenerationStep | GristmillError], None]


@dataclass(eq=False)
class LiveSequence:
    """A request that waits or runs.

    `cached`: tokens that its slot holds. `reading`: of the prompt, those that are being read. `tokens`: drawn so far,
    the one that ended it included. `undelivered`: of these, how many were not handed to the client yet.
    """

    request: GenerationRequest
    deliver: Deliver
    draws: Draws
    slot: int = -1
    cached: int = 0
    reading: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=list)
    undelivered: int = 0

    @property
    def unread(self) -> int:
        """Tokens of the prompt that were not read yet."""
        return max(len(self.request.prompt) - self.cached, 0)


class Scheduler:
    """Slots for sequences, first come, first served.

    Args:
        slots: how many.
    """

    def __init__(self, slots: int) -> None:
        self.waiting: OrderedDict[str, LiveSequence] = OrderedDict()
        self.running: dict[str, LiveSequence] = {}
        self._by_slot: dict[int, LiveSequence] = {}
        self._free = list(range(slots))  # a heap: the lowest first, so that decode steps are narrow

    def add(self, sequence: LiveSequence) -> None:
        """Lets a sequence wait."""
        self.waiting[sequence.request.id] = sequence

    def remove(self, request_id: str) -> LiveSequence | None:
        """Frees what a sequence holds, and returns it; None if there is none."""
        if (waiting := self.waiting.pop(request_id, None)) is not None:
            return waiting
        if (running := self.running.pop(request_id, None)) is not None:
            del self._by_slot[running.slot]
            heapq.heappush(self._free, running.slot)
        return running

    def admit(self) -> None:
        """Gives the free slots to those that wait."""
        while self._free and self.waiting:
            request_id, sequence = self.waiting.popitem(last=False)
            sequence.slot = heapq.heappop(self._free)
            self.running[request_id] = self._by_slot[sequence.slot] = sequence

    def next_prefill(self, budget: int) -> list[LiveSequence]:
        """Returns the sequences whose prompts are read next: one, or several short ones in neighbouring slots, which
        together have at most `budget` tokens, padding included."""
        first = next((sequence for sequence in self.running.values() if sequence.unread), None)
        if first is None:
            return []
        group = [first]
        if first.cached or first.request.sampling.prompt_logprobs is not None:
            return group
        longest = first.unread
        while (following := self._by_slot.get(first.slot + len(group))) is not None:
            longest = max(longest, following.unread)
            is_alone = following.cached or following.request.sampling.prompt_logprobs is not None
            if is_alone or longest * (len(group) + 1) > budget:
                break
            group.append(following)
        return group

    def decoding(self) -> list[LiveSequence]:
        """Returns the sequences that generate, by slot."""
        return [self._by_slot[slot] for slot in sorted(self._by_slot) if not self._by_slot[slot].unread]

    def by_slot(self, slot: int) -> LiveSequence | None:
        """Returns the sequence that holds a slot."""
        return self._by_slot.get(slot)

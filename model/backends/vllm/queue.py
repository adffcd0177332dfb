"""The prompts of all waiting calls, dealt to engines that ask for them; each is answered exactly once."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from stages.ports import Completion, Request

DEATHS = 3  # a prompt that was open at so many is answered as an error


@dataclass(eq=False, slots=True)
class Call:
    """One call's completions as they come, and the future that its caller waits on."""

    rows: list[Completion | None]
    missing: int
    output_tokens: int = 0  # of the answers so far
    done: "Future[list[Completion]]" = field(default_factory=Future)


@dataclass(eq=False, slots=True)
class _Prompt:
    call: Call
    index: int
    request: Request
    deaths: int = 0


class Pool:
    """Shared by the engines' threads. `capacity`: prompts that one engine holds at most.

    Prompts are taken in the order in which they came, whatever call they belong to. An engine never holds more than its
    even share of what is left, so that all end together. Prompts whose engine died are suspects: they go first, few at
    a time (an eighth of the capacity, after a second death a sixty-fourth), so that a poisonous one takes few with it.
    """

    def __init__(self, engines: int, capacity: int):
        self.capacity = capacity
        self.open: list[dict[int, _Prompt]] = [{} for _ in range(engines)]
        self.up: set[int] = set()
        self.tokens = [[0, 0] for _ in range(engines)]  # of each engine's answers: prompt, output
        self.answers = 0
        self._waiting: list[deque[_Prompt]] = [deque() for _ in range(DEATHS)]
        self._count = 0
        self._fault: Exception | None = None
        self._lock = threading.Lock()

    def submit(self, requests: Sequence[Request]) -> Call:
        """Queues a call's requests (at least one). Raises the fault that ended the pool."""
        call = Call([None] * len(requests), len(requests))
        with self._lock:
            if self._fault is not None:
                raise self._fault
            self._waiting[0].extend(_Prompt(call, index, request) for index, request in enumerate(requests))
        return call

    def take(self, engine: int) -> list[tuple[int, Request]]:
        """Numbered requests for the engine, as many as it has room for now."""
        with self._lock:
            mine = self.open[engine]
            left = sum(map(len, self._waiting)) + sum(map(len, self.open))
            room = min(self.capacity, -(-left // max(len(self.up), 1))) - len(mine)
            if room <= 0:
                return []
            taken: list[tuple[int, Request]] = []
            for deaths in reversed(range(DEATHS)):
                queue, few = self._waiting[deaths], room - len(taken)
                if deaths and queue:
                    held = sum(prompt.deaths == deaths for prompt in mine.values())
                    few = min(few, max(self.capacity >> 3 * deaths, 1) - held)
                for _ in range(min(few, len(queue))):
                    prompt = queue.popleft()
                    self._count += 1
                    mine[self._count] = prompt
                    taken.append((self._count, prompt.request))
            return taken

    def answer(self, engine: int, rows: Iterable[tuple[int, Completion]]) -> None:
        """Files completions by their requests' numbers; those that the engine does not hold are passed over."""
        with self._lock:
            for number, row in rows:
                prompt = self.open[engine].pop(number, None)
                if prompt is not None:
                    self.answers += 1
                    self.tokens[engine][0] += row.prompt_tokens
                    self.tokens[engine][1] += row.output_tokens
                    _settle(prompt, row)

    def died(self, engine: int, why: str) -> None:
        """What the engine held waits again; a prompt that was open at too many deaths is answered with an error."""
        with self._lock:
            self.up.discard(engine)
            for prompt in self.open[engine].values():
                prompt.deaths += 1
                if prompt.deaths < DEATHS:
                    self._waiting[prompt.deaths].append(prompt)
                else:
                    error = f"engine_died: {DEATHS} engines died while this prompt was open, the last: {why}"
                    _settle(prompt, Completion("", 0, 0, "error", error))
            self.open[engine].clear()

    def fail(self, fault: Exception) -> None:
        """Ends the pool: all who wait and all who come get the fault."""
        with self._lock:
            self._fault = self._fault or fault
            left = [prompt for queue in self._waiting for prompt in queue]
            left += [prompt for held in self.open for prompt in held.values()]
            for queue in self._waiting:
                queue.clear()
            for held in self.open:
                held.clear()
        for call in dict.fromkeys(prompt.call for prompt in left):
            call.done.set_exception(fault)

    @property
    def left(self) -> int:
        """Prompts that wait or are open."""
        with self._lock:
            return sum(map(len, self._waiting)) + sum(map(len, self.open))


def _settle(prompt: _Prompt, row: Completion) -> None:
    call = prompt.call
    call.rows[prompt.index] = row
    call.missing -= 1
    call.output_tokens += row.output_tokens
    if not call.missing:
        call.done.set_result([row for row in call.rows if row is not None])

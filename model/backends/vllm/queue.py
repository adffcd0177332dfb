"""The prompts of all calls that wait, shared among the engines; each prompt is answered exactly once."""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from stages.ports import Completion, Request

MAX_ENGINE_DEATHS = 3  # a prompt that was open when so many engines died is answered with an error


@dataclass(eq=False, slots=True)
class Call:
    """The completions of one call so far, and the future that its caller waits for."""

    rows: list[Completion | None]
    missing: int
    future: "Future[list[Completion]]" = field(default_factory=Future)
    output_tokens: int = 0  # of the completions so far


@dataclass(eq=False, slots=True)
class _Prompt:
    call: Call
    index: int  # of the request in its call
    request: Request
    deaths: int = 0  # engines that died while it was open


class PromptQueue:
    """Hands prompts to engines. Used by the engines' threads at once. `capacity`: most prompts open in one engine.

    Prompts are taken in order of arrival, whatever their call. An engine never holds more than its even share of all
    unanswered prompts, so that all engines end at the same time. A prompt whose engine died is a suspect: suspects are
    taken first, and few at a time (an eighth of the capacity, after a second death a sixty-fourth), so that a prompt
    that kills engines takes few others with it.
    """

    def __init__(self, engines: int, capacity: int):
        self.capacity = capacity
        self.open: list[dict[int, _Prompt]] = [{} for _ in range(engines)]  # prompts in each engine, by number
        self.engines_up: set[int] = set()
        self.tokens = [[0, 0] for _ in range(engines)]  # prompt and output tokens of each engine's answers
        self.answers = 0
        self._waiting: list[deque[_Prompt]] = [deque() for _ in range(MAX_ENGINE_DEATHS)]  # by deaths
        self._last_number = 0
        self._fault: Exception | None = None
        self._lock = threading.Lock()

    def submit(self, requests: Sequence[Request]) -> Call:
        """Queues the requests of a call, at least one. Raises the fault that the queue was closed with."""
        call = Call([None] * len(requests), len(requests))
        with self._lock:
            if self._fault is not None:
                raise self._fault
            self._waiting[0].extend(_Prompt(call, index, request) for index, request in enumerate(requests))
        return call

    def take(self, engine: int) -> list[tuple[int, Request]]:
        """As many requests as the engine has room for now, each with a number."""
        with self._lock:
            own = self.open[engine]
            unanswered = sum(map(len, self._waiting)) + sum(map(len, self.open))
            even_share = -(-unanswered // max(len(self.engines_up), 1))
            room = min(self.capacity, even_share) - len(own)
            if room <= 0:
                return []
            taken: list[tuple[int, Request]] = []
            for deaths in reversed(range(MAX_ENGINE_DEATHS)):
                waiting, count = self._waiting[deaths], room - len(taken)
                if deaths and waiting:
                    suspects = sum(prompt.deaths == deaths for prompt in own.values())
                    count = min(count, max(self.capacity >> 3 * deaths, 1) - suspects)
                for _ in range(min(count, len(waiting))):
                    prompt = waiting.popleft()
                    self._last_number += 1
                    own[self._last_number] = prompt
                    taken.append((self._last_number, prompt.request))
            return taken

    def answer(self, engine: int, rows: Iterable[tuple[int, Completion]]) -> None:
        """Takes completions with their prompts' numbers. Numbers that are not open in the engine are ignored."""
        with self._lock:
            for number, row in rows:
                prompt = self.open[engine].pop(number, None)
                if prompt is not None:
                    self.answers += 1
                    self.tokens[engine][0] += row.prompt_tokens
                    self.tokens[engine][1] += row.output_tokens
                    _complete(prompt, row)

    def engine_died(self, engine: int, why: str) -> None:
        """Queues the engine's open prompts again; those with too many deaths are answered with an error."""
        with self._lock:
            self.engines_up.discard(engine)
            for prompt in self.open[engine].values():
                prompt.deaths += 1
                if prompt.deaths < MAX_ENGINE_DEATHS:
                    self._waiting[prompt.deaths].append(prompt)
                else:
                    died = f"{MAX_ENGINE_DEATHS} engines died while this prompt was open, the last: {why}"
                    _complete(prompt, Completion("", 0, 0, "error", f"engine_died: {died}"))
            self.open[engine].clear()

    def close(self, fault: Exception) -> None:
        """Closes the queue: calls that wait and calls to come raise the fault."""
        with self._lock:
            self._fault = self._fault or fault
            unanswered = [prompt for waiting in self._waiting for prompt in waiting]
            unanswered += [prompt for prompts in self.open for prompt in prompts.values()]
            for waiting in self._waiting:
                waiting.clear()
            for prompts in self.open:
                prompts.clear()
        for call in dict.fromkeys(prompt.call for prompt in unanswered):
            call.future.set_exception(fault)

    @property
    def unanswered(self) -> int:
        """Prompts that wait or are open."""
        with self._lock:
            return sum(map(len, self._waiting)) + sum(map(len, self.open))


def _complete(prompt: _Prompt, row: Completion) -> None:
    call = prompt.call
    call.rows[prompt.index] = row
    call.output_tokens += row.output_tokens
    call.missing -= 1
    if not call.missing:
        call.future.set_result([row for row in call.rows if row is not None])

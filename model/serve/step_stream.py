"""`StepStream`: the steps of one request, from the engine to a coroutine. Steps that were not taken yet are joined."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Self

from configs.errors import GristmillError
from model.serve.port import GenerationStep


class StepStream:
    """An asynchronous iterator. All methods belong to the event loop.

    Args:
        on_close: is called once when the stream ends or is closed.
    """

    def __init__(self, on_close: Callable[[], None]) -> None:
        self._on_close = on_close
        self._steps: list[GenerationStep] = []
        self._error: GristmillError | None = None
        self._is_ended = False
        self._waiter: asyncio.Future[None] | None = None  # of the coroutine that waits for a step

    def put(self, item: GenerationStep | GristmillError | None) -> None:
        """Adds a step, or the error that ends the stream; None ends it without one."""
        if isinstance(item, GenerationStep):
            self._steps.append(item)
        else:
            self._error, self._is_ended = item, True
        self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GenerationStep:
        while not self._steps:
            if (error := self._error) is not None:
                await self.aclose()
                raise error
            if self._is_ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        steps, self._steps = self._steps, []
        if steps[-1].finish_reason:
            await self.aclose()
        return join(steps)

    async def aclose(self) -> None:
        """Ends the stream; the request is aborted if it is not finished."""
        if not self._is_ended or self._error is not None:
            self._is_ended, self._error = True, None
            self._wake()
            self._on_close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def join(steps: Sequence[GenerationStep]) -> GenerationStep:
    """Returns one step that says what these say."""
    if len(steps) == 1:
        return steps[0]
    has_logprobs = steps[0].logprobs is not None
    return GenerationStep(
        tuple(token for step in steps for token in step.tokens),
        tuple(entry for step in steps for entry in step.logprobs or ()) if has_logprobs else None,
        steps[0].prompt_logprobs,
        steps[-1].finish_reason,
        steps[-1].ended_by,
    )

"""Runs the answers of one request on the engine and merges what leaves of them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Self

from configs.errors import GristmillError
from model.serve.access import Ticket
from model.serve.api.errors import ApiError
from model.serve.api.record import RequestRecord
from model.serve.api.serving import Serving
from model.serve.api.text.choice import Choice, Delta, TextToken
from model.serve.port import EngineDownError, GenerationRequest, GenerationStep, RequestError, TokenLogprob


@dataclass(slots=True)
class RunningAnswer:
    """One answer of a request.

    Attributes:
        index: among the answers of the request.
        request: for the engine.
        choice: its text.
        echo: the prompt's text and tokens, to put before the answer; None: the answer alone.
        prompt_logprobs: of the prompt, once the engine has sent them.
    """

    index: int
    request: GenerationRequest
    choice: Choice
    echo: tuple[str, list[TextToken]] | None = None
    prompt_logprobs: Sequence[TokenLogprob | None] | None = None
    last_token: float | None = field(default=None, repr=False)


class Generation:
    """The answers of one request while they are generated: use it in `async with`, which ends them in any case."""

    def __init__(
        self, serving: Serving, answers: Sequence[RunningAnswer], record: RequestRecord, choices: int = 1
    ) -> None:
        """`choices`: answers to each prompt, which follow each other in `answers`."""
        self._serving, self._answers, self._record, self._choices = serving, answers, record, choices
        self._tickets: list[Ticket] = []

    async def __aenter__(self) -> Self:
        """Takes a place in the queue for every answer. Raises ApiError: there is no room, or the quota is spent."""
        try:
            if (admission := self._serving.admission) is not None:
                for number in range(len(self._answers)):
                    self._tickets.append(admission.enter(self._record.client, is_first=number == 0))
        except GristmillError as error:
            self._leave()
            raise api_error(error) from None
        return self

    async def __aexit__(self, *error: object) -> None:
        self._leave()
        self._record.generated_tokens = sum(answer.choice.generated for answer in self._answers)

    def _leave(self) -> None:
        """Gives back the places of answers that did not begin; the others have done so."""
        for ticket in self._tickets:
            ticket.leave()

    async def deltas(self) -> AsyncGenerator[tuple[RunningAnswer, Delta], None]:
        """Yields what leaves of each answer, until all have ended. Must be closed. Raises ApiError."""
        if len(self._answers) == 1:
            (answer,) = self._answers
            async with aclosing(self._run(answer)) as deltas:
                async for delta in deltas:
                    yield answer, delta
            return
        events: asyncio.Queue[tuple[RunningAnswer, Delta | Exception]] = asyncio.Queue()

        async def collect(answer: RunningAnswer) -> None:
            try:
                async with aclosing(self._run(answer)) as deltas:
                    async for delta in deltas:
                        events.put_nowait((answer, delta))
            except Exception as error:
                events.put_nowait((answer, error))

        tasks = [asyncio.create_task(collect(answer)) for answer in self._answers]
        try:
            ended = 0
            while ended < len(self._answers):
                answer, event = await events.get()
                if isinstance(event, Exception):
                    raise event
                ended += event.finish_reason is not None
                yield answer, event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, answer: RunningAnswer) -> AsyncGenerator[Delta, None]:
        """One answer, from its place in the queue to its end."""
        ticket = self._tickets[answer.index] if self._tickets else None
        try:
            if ticket is not None:
                await ticket.turn()
            async with aclosing(self._generate(answer)) as deltas:
                async for delta in deltas:
                    yield delta
        except GristmillError as error:
            raise api_error(error, self._serving.limits.retry_s) from None
        finally:
            if ticket is not None:  # the tokens of a prompt are those of its first answer
                is_first = answer.index % self._choices == 0
                ticket.leave(answer.choice.generated + is_first * len(answer.request.prompt))

    async def _generate(self, answer: RunningAnswer) -> AsyncGenerator[Delta, None]:
        await asyncio.sleep(0)  # tokens of others leave before the engine checks the prompt
        steps = await self._serving.engine.submit(answer.request)
        is_whole = False
        try:
            async for step in steps:
                is_whole = step.finish_reason is not None
                delta = self._take(answer, step)
                if not delta.is_empty:
                    yield delta
                if delta.finish_reason:
                    return
            raise EngineDownError("The engine ended the answer before it was whole.")
        finally:
            if not is_whole:
                self._serving.engine.abort(answer.request.id)
            await steps.aclose()  # type: ignore[attr-defined]

    def _take(self, answer: RunningAnswer, step: GenerationStep) -> Delta:
        """What leaves after a step."""
        if step.tokens:
            self._count(answer, len(step.tokens))
        if step.prompt_logprobs is not None:
            answer.prompt_logprobs = step.prompt_logprobs
        delta = answer.choice.feed(step) if answer.echo is None else self._begin(answer, answer.echo, step)
        if (category := answer.choice.blocked) is not None:
            self._record.outcome = f"blocked {category}"
            if self._serving.metrics is not None:
                self._serving.metrics.blocked(category)
        return delta

    def _begin(self, answer: RunningAnswer, echo: tuple[str, list[TextToken]], step: GenerationStep) -> Delta:
        """What leaves after the first step of an answer that begins with its prompt."""
        text, tokens = echo
        for token, logprob in zip(tokens, answer.prompt_logprobs or (), strict=False):
            token.logprob = logprob
        first, answer.echo = answer.choice.begin(text, tokens), None
        if first.finish_reason:
            return first
        delta = answer.choice.feed(step)
        return Delta(first.text + delta.text, (*first.tokens, *delta.tokens), delta.finish_reason)

    def _count(self, answer: RunningAnswer, tokens: int) -> None:
        now, metrics = time.monotonic(), self._serving.metrics
        if self._record.first_token is None:
            self._record.first_token = now
        if metrics is not None:
            if answer.last_token is None:
                metrics.first_token(now - self._record.started)
            else:
                metrics.token((now - answer.last_token) / tokens, tokens)
        answer.last_token = now


def api_error(error: GristmillError | ApiError, retry_s: float = 1.0) -> ApiError:
    """An error of the engine, the queue or the adapters as one of the API."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestError):
        return ApiError(400, str(error), param=error.param)
    if isinstance(error, EngineDownError):
        return ApiError(503, str(error) or "The engine is down.", code="engine_down", retry_after_s=retry_s)
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        return ApiError(429, str(error), code="rate_limit_exceeded", retry_after_s=retry_after_s)
    return ApiError(500, "The server failed; its log says where.", code="internal_error")

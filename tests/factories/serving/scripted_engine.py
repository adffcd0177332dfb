"""An engine without a model: the next token is arithmetic over the last ones, or what a test has put in its script.

It keeps to the port in all but penalties. Nothing waits for a clock: a test decides when it may go on.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np

from model.serve.port import (
    AdapterRef,
    EngineDownError,
    EngineInfo,
    EngineStats,
    GenerationRequest,
    GenerationStep,
    TokenLogprob,
)


class ScriptedEngine:
    """See `model.serve.port.Engine`.

    Args:
        vocab_size: of the model that it stands for.
        end: the token that ends an answer.
        max_length: tokens of prompt and answer.
        script: answers by prompt; None as a prompt: to all others.
        tokens_per_step: how many tokens each step has, in turn.
        supports_json_schema: as of `EngineInfo`.

    Attributes:
        requests: all that were submitted.
        aborted: ids of those that were aborted, or closed early.
        may_step: cleared by a test to have the engine stand still.
        fails_after: tokens of an answer, after which the engine is down; None: it does not fail.
    """

    def __init__(
        self,
        vocab_size: int,
        end: int,
        *,
        max_length: int = 256,
        script: Mapping[tuple[int, ...] | None, Sequence[int]] | None = None,
        tokens_per_step: Sequence[int] = (1,),
        supports_json_schema: bool = False,
    ) -> None:
        self.info = EngineInfo("scripted", max_length, vocab_size, 8, supports_json_schema=supports_json_schema)
        self.end, self.script, self.tokens_per_step = end, dict(script or {}), tuple(tokens_per_step)
        self.requests: list[GenerationRequest] = []
        self.live: dict[str, asyncio.Event] = {}
        self.aborted: list[str] = []
        self.may_step = asyncio.Event()
        self.may_step.set()
        self.fails_after: int | None = None
        self.health = EngineStats(is_alive=True)
        self.adapters: list[str] = []

    async def start(self) -> None:
        """There is nothing to load."""

    async def submit(self, request: GenerationRequest) -> AsyncIterator[GenerationStep]:
        if not self.health.is_alive:
            raise EngineDownError("the engine is down")
        self.requests.append(request)
        self.live[request.id] = asyncio.Event()
        return self._steps(request)

    def abort(self, request_id: str) -> None:
        if request_id in self.live:
            self.aborted.append(request_id)
            self.live.pop(request_id).set()

    def stats(self) -> EngineStats:
        return self.health

    async def load_adapter(self, adapter: AdapterRef) -> None:
        self.adapters.append(adapter.name)

    async def unload_adapter(self, adapter: AdapterRef) -> None:
        self.adapters.remove(adapter.name)

    async def close(self) -> None:
        self.health = EngineStats(is_alive=False)
        for aborted in self.live.values():
            aborted.set()

    def log_p(self, before: Sequence[int]) -> np.ndarray:
        """Log-probabilities of the next token, [V]: two tokens decide them."""
        last, one_before = before[-1], before[-2] if len(before) > 1 else 0
        token_V = np.arange(self.info.vocab_size, dtype=np.int64)
        logit_V = ((token_V * 7919 + last * 104729 + one_before * 1299709) % 10007) / 1000.0
        return logit_V - np.log(np.exp(logit_V).sum())

    def answer(self, request: GenerationRequest) -> tuple[list[int], bool]:
        """All tokens of an answer, and whether the last one ended it."""
        options, tokens = request.sampling, []
        script = self.script.get(request.prompt, self.script.get(None))
        random = np.random.default_rng(options.seed)
        ends = set(options.stop_token_ids) | (set() if options.ignore_eos else {self.end})
        while len(tokens) < options.max_tokens:
            if script is not None:
                token = script[len(tokens)] if len(tokens) < len(script) else self.end
            else:
                token = self._draw(request, tokens, random)
            tokens.append(token)
            if token in ends and len(tokens) > options.min_tokens:
                return tokens, True
        return tokens, False

    def _draw(self, request: GenerationRequest, tokens: list[int], random: np.random.Generator) -> int:
        options = request.sampling
        log_p_V = self.log_p([*request.prompt, *tokens])
        for token, bias in options.logit_bias.items():
            log_p_V[token] += bias
        if len(tokens) < options.min_tokens:
            log_p_V[self.end] = -math.inf
        if options.temperature == 0:
            return int(log_p_V.argmax())
        p_V = np.exp(log_p_V / options.temperature)
        return int(random.choice(len(p_V), p=p_V / p_V.sum()))

    def logprob(self, before: Sequence[int], token: int, count: int) -> TokenLogprob:
        """The entry of a token, with the `count` likeliest ones at its place."""
        log_p_V = self.log_p(before)
        best = np.argsort(-log_p_V, kind="stable")[:count]
        return TokenLogprob(token, float(log_p_V[token]), tuple((int(i), float(log_p_V[i])) for i in best))

    async def _steps(self, request: GenerationRequest) -> AsyncIterator[GenerationStep]:
        aborted, options = self.live[request.id], request.sampling
        tokens, is_ended = self.answer(request)
        sent, number = 0, 0
        try:
            while sent < len(tokens):
                await self._wait(aborted)
                if not self.health.is_alive:
                    raise EngineDownError("the server is shutting down")
                if aborted.is_set():
                    return
                if self.fails_after is not None and sent >= self.fails_after:
                    raise EngineDownError("the engine failed")
                count = self.tokens_per_step[number % len(self.tokens_per_step)]
                chunk = tokens[sent : sent + count]
                before = [*request.prompt, *tokens[:sent]]
                entries = None
                if options.logprobs is not None:
                    entries = tuple(
                        self.logprob([*before, *chunk[:i]], token, options.logprobs) for i, token in enumerate(chunk)
                    )
                sent, number = sent + len(chunk), number + 1
                is_last = sent == len(tokens)
                yield GenerationStep(
                    tuple(chunk),
                    entries,
                    self._prompt_logprobs(request) if number == 1 else None,
                    ("stop" if is_ended else "length") if is_last else None,
                    chunk[-1] if is_last and is_ended else None,
                )
            self.live.pop(request.id, None)
        finally:
            self.abort(request.id)

    def _prompt_logprobs(self, request: GenerationRequest) -> tuple[TokenLogprob | None, ...] | None:
        count, prompt = request.sampling.prompt_logprobs, request.prompt
        if count is None:
            return None
        return (None, *(self.logprob(prompt[:i], prompt[i], count) for i in range(1, len(prompt))))

    async def _wait(self, aborted: asyncio.Event) -> None:
        """Until a step may be made, or the request is aborted."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.may_step, aborted)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

"""The answer of /v1/chat/completions, whole or in pieces."""

from collections.abc import Mapping, Sequence

from model.serve.api.events import TextEvents, event_bytes
from model.serve.api.generation import RunningAnswer
from model.serve.api.job import Job
from model.serve.api.logprobs import chat_logprobs, prompt_logprobs
from model.serve.api.schema.shapes import ChatChoice, ChatChunkChoice, ChatCompletion, ChatCompletionChunk, ChatDelta
from model.serve.api.text.choice import Delta


class ChatAnswer:
    """Writes what leaves as OpenAI's API has it. `job`: the request, which has one prompt."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._texts = TextEvents(job, lambda answer, delta: self.events(answer, delta)[0])

    def first_events(self) -> Sequence[ChatCompletionChunk]:
        """The role of each answer."""
        first = [
            self._event(self._delta(answer, {"role": "assistant", "content": ""}), is_end=False)
            for answer in self.job.answers
        ]
        if self.job.return_prompt_ids:
            first[0]["prompt_token_ids"] = list(self.job.prompts[0].tokens)
        return first

    def content(self, answer: RunningAnswer, delta: Delta) -> bytes:
        """What a stream sends for what leaves of one answer."""
        content = self._texts.write(answer, delta)
        return event_bytes(self.events(answer, delta)) if content is None else content

    def events(self, answer: RunningAnswer, delta: Delta) -> Sequence[ChatCompletionChunk]:
        """The events of it."""
        job, events = self.job, []
        is_shown = bool(delta.tokens) and (job.logprobs is not None or job.return_token_ids)
        if delta.text or is_shown:
            choice = self._delta(answer, {"content": delta.text})
            if job.logprobs is not None:
                choice["logprobs"] = chat_logprobs(job.tokenizer, delta.tokens, job.logprobs)
            if job.return_token_ids:
                choice["token_ids"] = [token.id for token in delta.tokens]
            events.append(self._event(choice, is_end=False))
        if delta.finish_reason is not None:
            choice = self._delta(answer, {})
            choice["finish_reason"] = delta.finish_reason
            events.append(self._event(choice, is_end=True))
        return events

    def last_events(self) -> Sequence[ChatCompletionChunk]:
        """The usage that ends a stream, if it was asked for."""
        return ({**self._chunk([]), "usage": self.job.usage()},) if self.job.include_usage else ()

    def whole(self, deltas: Mapping[int, Delta]) -> ChatCompletion:
        """The whole answer. `deltas`: all that left of each answer, by its index."""
        job = self.job
        body: ChatCompletion = {
            "id": job.id,
            "object": "chat.completion",
            "created": job.created,
            "model": job.model,
            "choices": [self._choice(answer, deltas[answer.index]) for answer in job.answers],
            "usage": job.usage(),
        }
        if job.return_prompt_ids:
            body["prompt_token_ids"] = list(job.prompts[0].tokens)
        if job.prompt_logprobs is not None:
            rows = job.answers[0].prompt_logprobs or ()
            body["prompt_logprobs"] = prompt_logprobs(job.tokenizer, rows, job.prompt_logprobs)
        return body

    def _choice(self, answer: RunningAnswer, delta: Delta) -> ChatChoice:
        job = self.job
        choice: ChatChoice = {
            "index": answer.index,
            "message": {"role": "assistant", "content": delta.text, "refusal": None},
            "logprobs": chat_logprobs(job.tokenizer, delta.tokens, job.logprobs) if job.logprobs is not None else None,
            "finish_reason": delta.finish_reason or "stop",
        }
        if job.return_token_ids:
            choice["token_ids"] = [token.id for token in delta.tokens]
        return choice

    def _delta(self, answer: RunningAnswer, delta: ChatDelta) -> ChatChunkChoice:
        return {"index": answer.index, "delta": delta, "logprobs": None, "finish_reason": None}

    def _event(self, choice: ChatChunkChoice, *, is_end: bool) -> ChatCompletionChunk:
        event = self._chunk([choice])
        if self.job.continuous_usage:
            event["usage"] = self.job.usage(sent=not is_end)
        elif self.job.include_usage:
            event["usage"] = None
        return event

    def _chunk(self, choices: list[ChatChunkChoice]) -> ChatCompletionChunk:
        job = self.job
        return {
            "id": job.id,
            "object": "chat.completion.chunk",
            "created": job.created,
            "model": job.model,
            "choices": choices,
        }

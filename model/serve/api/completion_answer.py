"""The answer of /v1/completions, whole or in pieces."""

from collections.abc import Mapping, Sequence

from model.serve.api.events import TextEvents, event_bytes
from model.serve.api.generation import RunningAnswer
from model.serve.api.job import Job
from model.serve.api.logprobs import completion_logprobs, prompt_logprobs
from model.serve.api.schema.shapes import Completion, CompletionChoice
from model.serve.api.text.choice import Delta


class CompletionAnswer:
    """Writes what leaves as OpenAI's API has it. `job`: the request."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._begun: set[int] = set()
        self._texts = TextEvents(job, lambda answer, delta: self.events(answer, delta)[0])

    def first_events(self) -> Sequence[Completion]:
        """What a stream begins with: nothing."""
        return ()

    def content(self, answer: RunningAnswer, delta: Delta) -> bytes:
        """What a stream sends for what leaves of one answer."""
        content = self._texts.write(answer, delta)
        return event_bytes(self.events(answer, delta)) if content is None else content

    def events(self, answer: RunningAnswer, delta: Delta) -> Sequence[Completion]:
        """The events of it."""
        choice = self._choice(answer, delta, is_stream=True)
        if not (choice["text"] or choice["finish_reason"] or choice.get("token_ids") or choice["logprobs"]):
            return ()
        event = self._object([choice])
        if self.job.continuous_usage:
            event["usage"] = self.job.usage(sent=delta.finish_reason is None)
        elif self.job.include_usage:
            event["usage"] = None
        return (event,)

    def last_events(self) -> Sequence[Completion]:
        """The usage that ends a stream, if it was asked for."""
        return ({**self._object([]), "usage": self.job.usage()},) if self.job.include_usage else ()

    def whole(self, deltas: Mapping[int, Delta]) -> Completion:
        """The whole answer. `deltas`: all that left of each answer, by its index."""
        choices = [self._choice(answer, deltas[answer.index], is_stream=False) for answer in self.job.answers]
        return {**self._object(choices), "usage": self.job.usage()}

    def _object(self, choices: list[CompletionChoice]) -> Completion:
        job = self.job
        return {
            "id": job.id,
            "object": "text_completion",
            "created": job.created,
            "model": job.model,
            "choices": choices,
        }

    def _choice(self, answer: RunningAnswer, delta: Delta, *, is_stream: bool) -> CompletionChoice:
        job = self.job
        choice: CompletionChoice = {
            "index": answer.index,
            "text": delta.text,
            "logprobs": None,
            "finish_reason": delta.finish_reason,
        }
        if job.logprobs is not None and (delta.tokens or not is_stream):
            choice["logprobs"] = completion_logprobs(job.tokenizer, delta.tokens, job.logprobs)
        if job.return_token_ids:
            choice["token_ids"] = [token.id for token in delta.tokens if not token.in_prompt]
            if job.return_prompt_ids and answer.index not in self._begun:
                choice["prompt_token_ids"] = list(answer.request.prompt)
        if job.prompt_logprobs is not None:
            rows = answer.prompt_logprobs or ()
            choice["prompt_logprobs"] = prompt_logprobs(job.tokenizer, rows, job.prompt_logprobs)
        self._begun.add(answer.index)
        return choice

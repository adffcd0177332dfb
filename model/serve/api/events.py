"""The events of a stream as bytes (server-sent events)."""

from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any

from model.serve.api.generation import RunningAnswer
from model.serve.api.job import Job
from model.serve.api.json_text import json_bytes
from model.serve.api.text.choice import Delta

END = b"data: [DONE]\n\n"


def event_bytes(events: Iterable[Mapping[str, Any]], *, ascii_only: bool = False) -> bytes:
    """Events with a JSON object each. `ascii_only`: as of `json_bytes`."""
    return b"".join(b"data: %b\n\n" % json_bytes(event, ascii_only=ascii_only) for event in events)


class TextEvents:
    """The events of a request that add text and nothing else: nearly all that a server sends.

    They differ in the text, and in the usage if each event has it. The rest is written once for each answer.

    Args:
        job: the request.
        create: the event for what leaves of an answer.
    """

    def __init__(self, job: Job, create: Callable[[RunningAnswer, Delta], Mapping[str, Any]]) -> None:
        self._job, self._create = job, create
        self._are_plain = job.logprobs is None and not job.return_token_ids
        self._parts: dict[int, list[bytes]] = {}  # by answer: what is before, between and behind the texts that differ

    def write(self, answer: RunningAnswer, delta: Delta) -> bytes | None:
        """The event; None if it has more than text."""
        if not self._are_plain or delta.finish_reason is not None:
            return None
        if not delta.text:
            return b""
        parts = self._parts.get(answer.index) or self._prepare(answer)
        text = encode_basestring(delta.text).encode()
        if not self._job.continuous_usage:
            return b"%b%b%b" % (parts[0], text, parts[1])
        usage = self._job.usage(sent=True)
        numbers = usage["completion_tokens"], usage["total_tokens"]
        return b"%b%b%b%d%b%d%b" % (parts[0], text, parts[1], numbers[0], parts[2], numbers[1], parts[3])

    def _prepare(self, answer: RunningAnswer) -> list[bytes]:
        texts = [f"text {number} of {self._job.id}" for number in range(3)]  # that no event has
        event = dict(self._create(answer, Delta(texts[0])))
        if self._job.continuous_usage:
            event["usage"] |= {"completion_tokens": texts[1], "total_tokens": texts[2]}
        rest, parts = event_bytes([event]), []
        for text in texts[: 3 if self._job.continuous_usage else 1]:
            part, rest = rest.split(json_bytes(text))
            parts.append(part)
        self._parts[answer.index] = [*parts, rest]
        return self._parts[answer.index]

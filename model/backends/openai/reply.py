"""What a service answers: a chat completion in the shapes that services give it, or an error."""

import json
from collections.abc import Collection
from typing import Any

from stages.answers import finish_reason
from stages.ports import Completion
from stages.storage.utf8 import without_surrogates

# types of parts that are the answer, in lower case; others are thoughts, calls, images
_TEXT_PARTS = {"text", "output_text", "input_text", "text/plain", "markdown", ""}
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thought", "thoughts")
_FINISH_REASONS = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason")
_MAX_DETAIL_CHARS = 200


class NoCompletionError(Exception):
    """The answer has no completion. `status`: the HTTP status that its own error code stands for, if it has one."""

    def __init__(self, reason: str, status: int | None = None):
        super().__init__(reason)
        self.status = status


def read_reply(reply: Any, complete_reasons: Collection[str] = ()) -> Completion:
    """The completion in a parsed answer. Its finish reason is the service's own word, which `stages.answers` reads.

    `complete_reasons`: more words for a whole answer; "" stands for none. An answer that is only thoughts has these
    as its text, in `<think>`. Raises NoCompletionError with the service's words.
    """
    if not isinstance(reply, dict):
        raise NoCompletionError(f"not a chat completion but {_words(reply)}")
    _raise_error(reply)
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise NoCompletionError(f"not a chat completion, it has no choices: {_words(reply)}")
    choice = choices[0]
    _raise_error(choice)
    reason = next((word for name in _FINISH_REASONS if (word := _string(choice.get(name)))), "")
    message = choice.get("message")
    if message is None and finish_reason(reason) in ("content_filter", "refusal"):
        message = {}
    if not isinstance(message, dict):
        raise NoCompletionError(f"not a chat completion, it has no message: {_words(choice)}")
    text, refusal = _content(message.get("content"))
    refusal = _string(message.get("refusal")) or refusal
    thoughts = next((thoughts for name in _THOUGHTS if (thoughts := _string(message.get(name)))), "")
    if not text.strip() and thoughts:
        text = f"<think>{thoughts}"
    detail = ""
    if refusal:
        text, reason, detail = text or refusal, "refusal", refusal[:_MAX_DETAIL_CHARS]
    elif reason in complete_reasons:
        reason = "stop"
    return Completion(
        without_surrogates(text),
        _tokens(reply, "prompt_tokens"),
        _tokens(reply, "completion_tokens"),
        reason,
        detail=without_surrogates(detail),
    )


def error_in(reply: Any) -> tuple[str, Any, str]:
    """The words, the code and the parameter of an error in a parsed answer; "", None and "" where it has none."""
    if not isinstance(reply, dict) or not (error := reply.get("error") or _error_itself(reply)):
        return "", None, ""
    if not isinstance(error, dict):
        return _words(error), None, ""
    parts = [error.get("message"), (error.get("metadata") or {}).get("raw") if _is_dict(error, "metadata") else None]
    words = ": ".join(part for part in parts if isinstance(part, str) and part) or _words(error)
    return words, error.get("code"), _string(error.get("param"))


def _error_itself(reply: dict[str, Any]) -> Any:
    """The answer where it is an error as a whole, as vLLM's."""
    return reply if reply.get("object") == "error" or reply.get("type") == "error" else None


def _raise_error(part: dict[str, Any]) -> None:
    words, code, _ = error_in(part)
    if words:
        number = int(code) if str(code).isdigit() else 0
        raise NoCompletionError(words[: 2 * _MAX_DETAIL_CHARS], number if 400 <= number < 600 else None)


def _content(content: Any) -> tuple[str, str]:
    """The text and the refusal in a message's content: a string, a list of parts, one part, or an object as answer."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, dict):
        if not isinstance(content.get("parts"), list) and not {"text"} <= set(content) <= {
            "text",
            "type",
            "annotations",
        }:
            return json.dumps(content, ensure_ascii=False), ""
        content = content.get("parts", [content])
    if not isinstance(content, list):
        raise NoCompletionError(f"not a chat completion, its content is {_words(content)}")
    texts, refusals = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            value = part.get("text", part.get("content"))
            value = value.get("value") if isinstance(value, dict) else value
            if _string(part.get("type")).lower() in _TEXT_PARTS and not part.get("thought"):
                texts.append(_string(value))
            elif part.get("type") == "refusal":
                refusals.append(_string(part.get("refusal")))
    return "".join(texts), "".join(refusals)


def _is_dict(part: dict[str, Any], key: str) -> bool:
    return isinstance(part.get(key), dict)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tokens(reply: dict[str, Any], key: str) -> int:
    usage = reply.get("usage")
    count = usage.get(key) if isinstance(usage, dict) else None
    return int(count) if isinstance(count, int | float) and 0 <= count < 2**31 else 0


def _words(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())[:_MAX_DETAIL_CHARS]

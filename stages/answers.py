"""What a model answered: a raw completion without thoughts and tokens of the chat template, and whether it is whole.

Backends return what the model wrote or the service sent. `read_completion` is the one place where that becomes an
answer; `marks` has the forms that it knows.
"""

import json
import re
from dataclasses import dataclass, replace

from stages import marks
from stages.ports import Completion

COMPLETE = {"stop", "length"}  # finish reasons of answers that are parsed; filters drop those that were cut off

# What services with OpenAI's protocol call the end of an answer. All other reasons, and none, mean `incomplete`.
_REASONS = {
    "stop": "stop stopped stop_sequence stop_token stop_str stop_word stop_criteria stopped_eos stopped_word eos "
    "eos_token eos_found end end_turn end_of_turn endturn endoftext end_of_sequence complete completed finish finished "
    "done normal",
    "length": "length limit max_tokens max_tokens_reached max_new_tokens max_output_tokens max_completion_tokens "
    "max_length model_length stopped_limit token_limit error_limit context_length context_length_exceeded "
    "model_context_window_exceeded context_window_exceeded",
    "content_filter": "content_filter content_filtered content_policy_violation content_policy policy_violation "
    "responsible_aipolicy_violation data_inspection_failed risk_control safety image_safety "
    "unsafe recitation blocklist prohibited_content spii sensitive guardrail_intervened guardrails moderation "
    "model_armor error_toxic blocked response_blocked",
    "refusal": "refusal refused",
    "error": "error",
}
_REASON = {name: reason for reason, names in _REASONS.items() for name in names.split()}
_UNFINISHED_THOUGHTS = (
    "the text ends within the model's thoughts; raise the task's sampling.max_tokens, or have the model answer at once "
    "(generator.chat_template_kwargs or generator.openai.body)"
)
_NO_REASON = (
    "none; if the service leaves it out of whole answers, add an empty text to generator.openai.complete_reasons"
)
_PREFIX = re.compile(r"^finish_?reason[._]")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|[\s-]+")  # maxTokens, end-turn
_SHORT_CHARS = 20  # tags in a sentence with no more between them are talked about: "in <think> and </think> tags"
_LINE_CHARS = 200  # of a line before a tag that are looked at
_BETWEEN_TAGS = {"and", "or", "y", "o", "e", "和", "与", "或", "、", ",", "/", "…", "..."}
_QUOTES = frozenset("`'\"“”‘’«»「」『』")
_SENTENCE_ENDS = frozenset(".!?。！？…")
_GOES_ON = re.compile(r"[ \t]*[a-zà-ÿ,.;:)，。；：）、]")  # a sentence that goes on after a tag


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer in a raw text.

    `thought`: whether thoughts were left out. `whole`: False where the text ends within them; `text` is then what came
    before. `ended`: whether the model itself ended its turn, by a token that was left in the text.
    """

    text: str
    thought: bool = False
    whole: bool = True
    ended: bool = False


def read_completion(completion: Completion) -> Completion:
    """The completion with the answer alone as its text, and one of these as its finish reason.

    `stop` and `length` are answers; `content_filter`, `refusal`, `thoughts` (it ends within them) and `incomplete`
    (any other reason, or none) are not, and `detail` says more; `error` as it is. Where thoughts were left out there is
    no log-probability: it is of all tokens.
    """
    reason = finish_reason(completion.finish_reason)
    if completion.error is not None:
        return completion
    reading = read_text(completion.text)
    detail = completion.detail
    if reason not in COMPLETE:
        word = completion.finish_reason or _NO_REASON
        reason, detail = ("incomplete" if reason == "error" else reason), detail or f"finish_reason: {word}"
    elif not reading.whole:
        reason, detail = "thoughts", _UNFINISHED_THOUGHTS
    elif not reading.text.strip() and reason == "length":
        detail = "the token limit was reached before the answer began"
    elif reading.ended:
        reason = "stop"
    log_probability = None if reading.thought else completion.log_probability
    return replace(completion, text=reading.text, finish_reason=reason, detail=detail, log_probability=log_probability)


def finish_reason(word: str | None) -> str:
    """`stop`, `length`, `content_filter`, `refusal`, `error` or `incomplete`, by a service's word for it."""
    name = _CAMEL_CASE.sub("_", (word or "").strip()).casefold()
    return _REASON.get(_PREFIX.sub("", name), "incomplete")


def read_text(text: str) -> Reading:
    """Takes thoughts, special tokens and what follows the end of the turn out of a text.

    Texts without any are returned as they are, and so is JSON. A tag counts where a model puts it: in quotes or in the
    middle of a sentence it is talked about and stays.
    """
    if marks.CHANNEL.search(text):
        return _final_channel(text)
    for begin, end in marks.PLAIN_FORMS:
        if begin.match(text):
            last = end.search(text)
            return replace(read_text(text[last.end() :]), thought=True) if last else Reading("", True, False)
    if not marks.ANY.search(text) or _is_json(text):
        return Reading(_unwrapped(text))
    return _scan(text)


def _unwrapped(text: str) -> str:
    """The text without tags, or the name of the speaker, that a model puts around the whole of its answer."""
    if wrapped := marks.WRAPPED.fullmatch(text.strip()):
        return wrapped["text"].strip()
    speaker = marks.SPEAKER.match(text)
    return text[speaker.end() :] if speaker else text


def _final_channel(text: str) -> Reading:
    """OpenAI's harmony format: messages in channels, of which `final` is the answer."""
    messages = list(marks.CHANNEL.finditer(text))
    final, ended = [], False
    for number, message in enumerate(messages):
        body = text[message.end() : messages[number + 1].start() if number + 1 < len(messages) else len(text)]
        if message["name"].casefold() == "final":
            end = marks.CHANNEL_END.search(body)
            final.append(body[: end.start()] if end else body)
            ended = end is not None
    answer = "".join(final).strip()
    return Reading(answer, True, bool(final), ended)


def _scan(text: str) -> Reading:
    """Reads a text from mark to mark."""
    marks_in_text = list(marks.ANY.finditer(text))
    parts: list[str] = []
    start = fences = fences_to = 0
    mentioned = -1  # where the last opening tag ends that is talked about, until its closing one
    thinking = thought = ended = False
    struck_out = _has_struck_out(text)
    for mark, close in zip(marks_in_text, _next_closes(marks_in_text), strict=True):
        if mark.start() < start:
            continue
        kind = mark.lastgroup
        if thinking:
            if kind == "close" and not (_is_quoted(text, mark) and close):
                thinking, start = False, mark.end()
                fences, fences_to = 0, start
            continue
        fences += text.count("```", fences_to, mark.start())
        fences_to = mark.start()
        if kind == "open":
            if fences % 2 or _is_mentioned_open(text, mark, close):
                mentioned = mark.end()
            else:
                parts.append(text[start : mark.start()])
                thinking = thought = True
        elif kind == "close":
            if mentioned >= 0 and (fences % 2 or _is_near(text, mentioned, mark)):
                mentioned = -1
            elif not _is_mentioned_close(text, mark):  # the template began the thoughts
                parts, start, thought = [], mark.end(), True
                fences, fences_to = 0, start
        elif kind == "empty":
            parts.append(text[start : mark.start()])
            start = mark.end()
        elif not _is_quoted(text, mark) and not (struck_out and mark[0].lower() in ("<s>", "</s>")):
            parts.append(text[start : mark.start()])
            start = mark.end()
            if "".join(parts).strip():
                ended = True
                break
            parts = []
            if role := marks.ROLE.match(text, start):
                start = role.end()
    if not thinking and not ended:
        parts.append(text[start:])
    answer = "".join(parts).strip()
    return Reading(_unwrapped(answer), thought, not thinking, ended)


def _next_closes(marks_in_text: list[re.Match[str]]) -> list[re.Match[str] | None]:
    """For each mark the next closing tag after it."""
    closes: list[re.Match[str] | None] = []
    close = None
    for mark in reversed(marks_in_text):
        closes.append(close)
        if mark.lastgroup == "close":
            close = mark
    return closes[::-1]


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    return text[mark.start() - 1 : mark.start()] in _QUOTES and text[mark.end() : mark.end() + 1] in _QUOTES


def _is_near(text: str, place: int, mark: re.Match[str]) -> bool:
    """Whether a mark is a few words after a place, in the same sentence."""
    if mark.start() - place >= _SHORT_CHARS:
        return False
    between = text[place : mark.start()]
    return "\n" not in between and between.rstrip()[-1:] not in _SENTENCE_ENDS


def _line_before(text: str, place: int) -> str:
    return text[max(text.rfind("\n", 0, place) + 1, place - _LINE_CHARS) : place].strip()


def _is_mentioned_open(text: str, mark: re.Match[str], close: re.Match[str] | None) -> bool:
    """Whether an opening tag is talked about: in quotes, or in the middle of a sentence. `close`: the next one."""
    if _is_quoted(text, mark):
        return True
    if close and _is_near(text, mark.end(), close) and text[mark.end() : close.start()].strip() in _BETWEEN_TAGS:
        return True
    line = _line_before(text, mark.start())
    return bool(line) and line[-1] not in _SENTENCE_ENDS


def _is_mentioned_close(text: str, mark: re.Match[str]) -> bool:
    """Whether a closing tag without an opening one is talked about."""
    if _is_quoted(text, mark):
        return True
    line = _line_before(text, mark.start())
    return bool(line) and line[-1] not in _SENTENCE_ENDS and bool(_GOES_ON.match(text, mark.end()))


def _has_struck_out(text: str) -> bool:
    """Whether `<s>` and `</s>` are HTML's in a text and not a tokenizer's: a pair within it."""
    first, last = text.find("<s>"), text.rfind("</s>")
    if first < 0 or last < first:
        return False
    return bool(text[:first].strip()) or bool(text[last + 4 :].split("\n", 1)[0].strip())

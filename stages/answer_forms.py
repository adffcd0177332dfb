"""The forms in which tasks ask for fields: labelled text (`Question: … Answer: …`) and one JSON object.

Models decorate what they are asked for: numbers, bullets, bold type, short labels, a sentence before it. All of these
are read; a label that is missing or out of order is not.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import json_repair

# labels that stand for each other, in whatever language the answer is
_SYNONYMS = (
    ("question", "ques", "q", "问题", "问", "提问", "题目", "問題", "問", "提問", "題目", "pregunta", "p"),
    ("answer", "ans", "a", "response", "reply", "答案", "答", "回答", "解答", "答覆", "respuesta", "r"),
)
_HAN_NUMBER = "[一二三四五六七八九十]{1,3}"
_LETTERED = "(?:[a-zA-Z]|[ivx]{2,4})"
_BULLET = (
    r"[^\w\s(（<\\]|[_ \t\u3000\xa0]"
    rf"|(?>[(（](?:(?:\d{{1,3}}|{_HAN_NUMBER}|{_LETTERED})[)）])?)|\d{{1,3}}[.)、．]|{_HAN_NUMBER}[、.．]"
    rf"|(?:step|paso) \d{{1,2}}[:.]|第{_HAN_NUMBER}步[，：:]|(?><(?:/?(?:b|strong|p|li|h[1-6])>)?)|(?>\\(?:textbf\{{)?)"
)
_ARTICLE = "(?:(?:the|la|el) |参考)?"
_AFTER = r"(?<=[.?!。？！;；:：…\"”’」』)）])[ \t\u3000*_]*"  # in the middle of a line: after the end of a sentence
_NUMBER = r"[ \t]?(?:(?:#|n\.?[ºo°]\.?[ \t]?)?\d{1,3}|[(（][^()（）\n]{1,30}[)）]|[一二三四五六七八九十])?"
_COLON = r"\.?[ \t\u3000\xa0*_\]】」》»\"”]*(?:为|是)?[:：](?:</?(?:b|strong)>)?[ \t\u3000\xa0*_}]*"
_DASH = r"[ \t*_]*(?:[—→=|]{1,2}|[ \t*_][–-]|\.-)[ \t]*"
_ALONE = r"[ \t*_#\]】.]*$"  # a heading: the label has its line to itself
_RULE = re.compile(r"(?:^|\n)[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,}|>)[ \t]*\Z")
_MAX_OBJECTS = 20  # braces at which an object may begin that are tried


def read_labelled(labels: dict[str, str], text: str) -> dict[str, str] | None:
    """The text after each label, by field; None unless the labels come in the declared order.

    Labels as declared come first, then synonyms at the beginning of a line, then any after the end of a sentence. An
    object of JSON whose keys are the labels or the fields is read too.
    """
    if "{" in text and (fields := _fields_of_json(labels, text)):
        return fields
    for synonyms, inline in ((False, False), (True, False), (False, True), (True, True)):
        names = _names(tuple(labels.values()), synonyms)
        marks_in_text = list(_pattern(tuple(names), inline).finditer(text))
        fields_in_text = [names[mark[mark.lastgroup or 0].casefold()] for mark in marks_in_text[: len(labels)]]
        if fields_in_text == list(range(len(labels))):
            ends = [mark.start() for mark in marks_in_text[1:]] + [len(text)]
            return {
                name: _value(text[mark.end() : end])
                for name, mark, end in zip(labels, marks_in_text, ends, strict=False)
            }
    return None


def _fields_of_json(labels: dict[str, str], text: str) -> dict[str, str] | None:
    names = {label.casefold(): name for name, label in labels.items()} | {name: name for name in labels}
    for value in _objects(text):
        fields = {names.get(key.casefold(), ""): field for key, field in value.items()}
        if set(fields) == set(labels) and all(isinstance(field, str) for field in fields.values()):
            return {name: fields[name].strip() for name in labels}
    return None


def read_json(text: str, fits: Callable[[Any], bool]) -> tuple[Any, bool]:
    """The object in a text, and whether the text had to be repaired or had more than it.

    A whole object that `fits` comes first, also one in a list, in another object or in a string; then whatever JSON the
    text is, then the repaired first object; None where there is none. Raises ValueError where it is too deep.
    """
    try:
        whole = json.loads(text)
    except RecursionError:
        raise ValueError("JSON too deep") from None
    except ValueError:
        pass
    else:
        if isinstance(whole, dict) and fits(whole):
            return whole, False
        inside = (candidate for candidate in _objects(whole if isinstance(whole, str) else text) if fits(candidate))
        return next(((candidate, True) for candidate in inside), (whole, False))
    if "{" not in text:
        return None, False
    blocks = [block for block in text.split("```")[1::2] if "{" in block]
    for part in (*blocks, text):
        for candidate in _objects(part):
            if fits(candidate):
                return candidate, True
    damaged = blocks[0] if blocks else text
    try:
        return json_repair.loads(damaged[max(damaged.find("{"), 0) :]), True
    except (RecursionError, ValueError):
        raise ValueError("JSON too deep") from None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The whole JSON objects in a text, outer ones before those inside them."""
    decoder, place = json.JSONDecoder(), -1
    for _ in range(_MAX_OBJECTS):
        place = text.find("{", place + 1)
        if place < 0:
            return
        try:
            value, _ = decoder.raw_decode(text, place)
        except (RecursionError, ValueError):
            continue
        if isinstance(value, dict) and value:
            yield value


def _names(labels: tuple[str, ...], synonyms: bool) -> dict[str, int]:
    """The number of the label that each name stands for, names in lower case; names that would be two are left out."""
    names: dict[str, int] = {label.casefold(): number for number, label in enumerate(labels)}
    if synonyms:
        groups = [next((group for group in _SYNONYMS if label in group), ()) for label in names]
        for number, group in enumerate(groups):
            if groups.count(group) == 1:
                names |= {name: number for name in group if name not in names}
    return names


@cache
def _pattern(names: tuple[str, ...], inline: bool) -> re.Pattern[str]:
    """A label in its decorations, up to its colon; with `inline` also in the middle of a line.

    One of four groups has the name: `word` before a colon, `heading` alone on a line or before a dash, `boxed` in
    brackets, `letter` before a full stop.
    """
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    words = "|".join(map(re.escape, longest_first))
    headings = "|".join(re.escape(name) for name in longest_first if len(name) > 1) or "(?!)"
    letters = "|".join(re.escape(name) for name in longest_first if len(name) == 1 and name.isascii()) or "(?!)"
    # possessive, so that a line is read once; "a)" is a bullet where a label follows it
    lettered = rf"{_LETTERED}[.)](?=[ \t*_]{{0,5}}{_ARTICLE}(?:{headings}))"
    line = rf"^(?:(?!(?:{words}){_NUMBER}{_COLON})(?:{_BULLET}|{lettered}))*+"
    begin = f"(?:{line}|{_AFTER})" if inline else line
    return re.compile(
        rf"{begin}{_ARTICLE}(?P<word>{words}){_NUMBER}{_COLON}"
        rf"|{line}(?P<heading>{headings}){_NUMBER}(?:{_ALONE}|{_DASH})"
        rf"|{line}(?<=[【\[「《])(?P<boxed>{words}){_NUMBER}[】\]」》]{{1,2}}[ \t*_]*"
        rf"|{begin}(?P<letter>{letters})\d{{0,2}}(?:[.)]|\.-)[ \t]+",
        re.MULTILINE | re.IGNORECASE,
    )


def _value(text: str) -> str:
    """A field's text without a rule below it and without the end of bold type that began before the label."""
    text = _RULE.sub("", text.strip()).rstrip()
    for mark in ("**", "__"):
        if text.count(mark) % 2:
            text = text.removesuffix(mark).rstrip()
    return text

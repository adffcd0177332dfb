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
    ("answer", "ans", "a", "答案", "答", "回答", "解答", "答覆", "respuesta", "r"),
)
_BULLETS = r"(?:[ \t\u3000*#_>•◦·+\[【–—-]|\d{1,3}[.)、．]|[(（]\d{1,3}[)）]|[①-⑩])*"
_AFTER = r"(?<=[.?!。？！;；:：…\"”’」』)）])[ \t\u3000*_]*"  # in the middle of a line: after the end of a sentence
_NUMBER = r"[ \t]?(?:#?\d{1,3}|[(（]\d{1,3}[)）]|[一二三四五六七八九十])?"
_COLON = r"[ \t*_\]】]*[:：][ \t\u3000*_]*"
_ALONE = r"[ \t*_#\]】]*$"  # a heading: the label has its line to itself
_RULE = re.compile(r"(?:^|\n)[ \t]*(?:-{3,}|\*{3,}|_{3,})[ \t]*\Z")
_MAX_OBJECTS = 20  # braces at which an object may begin that are tried


def read_labelled(labels: dict[str, str], text: str) -> dict[str, str] | None:
    """The text after each label, by field; None unless the labels come in the declared order.

    Labels as declared come first, then synonyms at the beginning of a line, then any after the end of a sentence.
    """
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


def read_json(text: str, fits: Callable[[Any], bool]) -> tuple[Any, bool]:
    """The object in a text, and whether the text had to be repaired or had more than it.

    A whole object that `fits` comes first, then the repaired first one. Raises ValueError where it is too deep.
    """
    try:
        return json.loads(text), False
    except RecursionError:
        raise ValueError("JSON too deep") from None
    except ValueError:
        pass
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

    One of three groups has the name: `word` before a colon, `heading` alone on a line or before a dash, `letter` before
    a full stop.
    """
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    words = "|".join(map(re.escape, longest_first))
    headings = "|".join(re.escape(name) for name in longest_first if len(name) > 1) or "(?!)"
    letters = "|".join(re.escape(name) for name in longest_first if len(name) == 1 and name.isascii()) or "(?!)"
    begin = rf"(?:^{_BULLETS}|{_AFTER})" if inline else rf"^{_BULLETS}"
    return re.compile(
        rf"{begin}(?P<word>{words}){_NUMBER}{_COLON}"
        rf"|^{_BULLETS}(?P<heading>{headings}){_NUMBER}(?:{_ALONE}|[ \t*_]+[–—-][ \t]+)"
        rf"|{begin}(?P<letter>{letters})[.)][ \t]+",
        re.MULTILINE | re.IGNORECASE,
    )


def _value(text: str) -> str:
    """A field's text without a rule below it and without the end of bold type that began before the label."""
    text = _RULE.sub("", text.strip()).rstrip()
    for mark in ("**", "__"):
        if text.count(mark) % 2:
            text = text.removesuffix(mark).rstrip()
    return text

"""An edit, and what the generator may put in its place."""

import re
from dataclasses import dataclass

_NUMBER = re.compile(r"\$?(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?![\w/–-])")
_YEAR = re.compile(r"(?:19|20)\d\d")
_REFERENCE = re.compile(  # numbers of one text's parts are near each other: not "paragraphs 4 and 60"
    r"\b(?:articles?|art[ií]culos?|paragraphs?|apartados?|sections?|points?|clauses?|chapters?|parts?)"
    r"(?:\s(?:[\d,()]+|and|or|to|y|o))*$",
    re.IGNORECASE,
)
_CONTEXT = re.compile(r"(?:[^\s;:]{1,30}\s){0,3}[(\[“‘\"$]{0,2}$"), re.compile(r"\S{0,20}(?:\s[^\s;:]{1,30}){0,3}")
_END = re.compile(r"[\s,;:]+$|(?<![A-Z])\.[\s,;:]*$")  # but not the full stop of "U.S."
_MAX_CONTEXT = 100  # characters
_HAN_CONTEXT = re.compile("[^，。；：、]{0,6}$"), re.compile("[^，。；：、]{0,6}")


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of `sentence` at `start`: from `old` to `new`, or if that is None to what the generator writes."""

    kind: str  # opposite | modal | level | negation | number | unit | month | specialty
    sentence: str
    start: int
    old: str
    new: str | None

    @property
    def before(self) -> str:
        """The sentence up to the change, without a space at its end."""
        return self.sentence[: self.start].rstrip()

    def context(self, language: str) -> tuple[str, str]:
        """The few words before and after the change, with their spaces: "1" alone would not say which 1 is meant."""
        before, after = _HAN_CONTEXT if language == "zh" else _CONTEXT
        left = before.search(self.sentence[max(0, self.start - _MAX_CONTEXT) : self.start])
        right = after.match(self.sentence[self.start + len(self.old) :])
        return left[0] if left else "", _END.sub("", right[0]) if right else ""

    def apply(self, new: str) -> str:
        """The wrong sentence."""
        return self.sentence[: self.start] + new + self.sentence[self.start + len(self.old) :]

    def replacement(self, text: str) -> str | None:
        """The number with which the generator goes on after `before`.

        None if it is implausible in place of `old`, or the sentence has it already.
        """
        match = _NUMBER.match(text.strip())
        if not match or not _plausible(self.old, match[1]):
            return None
        is_near = len(match[1]) == len(self.old) or not _REFERENCE.search(self.before)
        is_there = re.search(rf"(?<![\d.,]){re.escape(match[1])}(?![\d]|[.,]\d)", self.sentence)
        is_dated = _YEAR.fullmatch(self.old) and len(_YEAR.findall(self.sentence)) > 1  # from 2011 to 2012
        return match[1] if is_near and not is_there and not is_dated else None


def _plausible(old: str, new: str) -> bool:
    """Whether a number is of the kind of another one, and not equal to it."""
    left, right = (text.replace(",", "") for text in (old, new))
    if float(left) == float(right) or ("." in left) != ("." in right):
        return False
    if _YEAR.fullmatch(left) or _YEAR.fullmatch(right):
        return bool(_YEAR.fullmatch(left) and _YEAR.fullmatch(right))
    return abs(len(left.split(".")[0]) - len(right.split(".")[0])) <= 1

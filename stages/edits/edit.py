"""An edit, and what the generator may put in its place."""

import re
from dataclasses import dataclass

_NUMBER = re.compile(r"\$?(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?![\w/–-])")
YEAR = re.compile(r"(?:19|20)\d\d")
_REFERENCE = re.compile(  # numbers of one text's parts are near each other: not "paragraphs 4 and 60"
    r"\b(?:articles?|art[ií]culos?|paragraphs?|apartados?|sections?|points?|clauses?|chapters?|parts?)"
    r"(?:\s(?:[\d,()]+|and|or|to|y|o))*$",
    re.IGNORECASE,
)
# What is within six hours is within six days too, and what takes more than five weeks takes more than four. Where
# somebody is obliged to it, the limit itself is what counts.
_UPPER_LIMIT = re.compile(
    r"\b(?:within|under|below|up to|(?<!not )(?<!no )(?:less|fewer|shorter|younger|lower|smaller) than|at most"
    r"|(?:no|not) more than|not exceed(?:ing)?|maximum of|under the age of)\s\$?$"
)
_LOWER_LIMIT = re.compile(
    r"\b(?:over|above|(?<!not )(?<!no )(?:more|older|longer|greater|higher|larger) than|at least"
    r"|(?:no|not) less than|exceed(?:s|ing)?|minimum of|over the age of)\s\$?$"
)
_OBLIGED = re.compile(r"\b(?:shall|must|may|should|required?|entitled|due|ha(?:s|ve|d) to)\b")
_LIMIT_CHARS = 24  # of what stands before a number


def limit_before(sentence: str, before: str) -> int:
    """Whether a number after `before` is a limit that only a smaller (-1) or a larger one (1) makes wrong; else 0."""
    end = before[-_LIMIT_CHARS:]
    is_upper, is_lower = _UPPER_LIMIT.search(end), _LOWER_LIMIT.search(end)
    if not (is_upper or is_lower) or _OBLIGED.search(sentence):
        return 0
    return -1 if is_upper else 1


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
        limit = limit_before(self.sentence, self.sentence[: self.start])
        change = float(match[1].replace(",", "")) - float(self.old.replace(",", ""))
        if limit and (change > 0) != (limit > 0):
            return None  # it would still be true
        is_dated = YEAR.fullmatch(self.old) and len(YEAR.findall(self.sentence)) > 1  # from 2011 to 2012
        return match[1] if is_near and not is_there and not is_dated else None


def _plausible(old: str, new: str) -> bool:
    """Whether a number is of the kind of another one, and not equal to it."""
    left, right = (text.replace(",", "") for text in (old, new))
    if float(left) == float(right) or ("." in left) != ("." in right):
        return False
    if YEAR.fullmatch(left) or YEAR.fullmatch(right):
        return bool(YEAR.fullmatch(left) and YEAR.fullmatch(right))
    return abs(len(left.split(".")[0]) - len(right.split(".")[0])) <= 1

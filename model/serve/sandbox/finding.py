"""What a scanner finds in a text, and what a guard lets leave."""

from dataclasses import dataclass
from typing import Literal

Action = Literal["mask", "block"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A part of a text that must not leave, `text[start:end]`. `kind` is its class, such as `email` or `weapons`.

    `mask`: it is replaced by its kind in brackets, `[EMAIL]`. `block`: the text ends before it.
    """

    start: int
    end: int
    kind: str
    action: Action


@dataclass(frozen=True, slots=True)
class Release:
    """What may leave now.

    Attributes:
        text: masked text to send; empty if all is held back.
        source_end: characters of the unmasked text that have left, in this release and all before it.
        masked: start and end of what this release masks, in characters of the unmasked text.
        blocked: the class of what ends the answer here, or None. Nothing leaves after it.
    """

    text: str
    source_end: int
    masked: tuple[tuple[int, int], ...] = ()
    blocked: str | None = None

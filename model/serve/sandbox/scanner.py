"""What a guard asks of a scanner: the findings of a text that arrives in pieces, as soon as they are certain."""

from typing import Protocol

from model.serve.sandbox.finding import Finding


class ScannerStream(Protocol):
    """The state of a scanner in one text. It must not depend on how the text is cut into pieces.

    Attributes:
        hold: where a finding could begin that is not certain yet, in characters from the start of the text; the
            number of characters so far if there is none. It never decreases, and no finding is added before it.
        findings: all findings so far that start before `hold`.
    """

    hold: int
    findings: list[Finding]

    def feed(self, text: str) -> None:
        """Reads the next piece of the text."""
        ...

    def finish(self) -> None:
        """Says that the text is complete: what was possible is decided."""
        ...


class Scanner(Protocol):
    """Finds one kind of forbidden text, such as personal data. All texts share it; it has no state."""

    name: str

    def scan(self, text: str) -> list[Finding]:
        """All findings of a whole text, in order."""
        ...

    def hold(self, text: str) -> int:
        """The earliest position at which a match that is not complete yet could begin; `len(text)` if there is none."""
        ...

    def stream(self) -> ScannerStream:
        """Starts to read one text."""
        ...

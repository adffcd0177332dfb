"""Stop strings in a text that comes in pieces, however it is cut."""

from collections.abc import Sequence


class StopStrings:
    """Finds the stop string that ends first. Text is held back only while it may be the beginning of one."""

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        """`include`: the stop string that is found belongs to the text."""
        self._stops, self._include = tuple(stops), include
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def feed(self, piece: str, *, ignore: bool = False) -> tuple[str, bool]:
        """Takes the next piece. Returns the text that may leave, and whether a stop string was found behind it.

        Nothing may be fed after one was found. `ignore`: stop strings that end in this piece are text like any other.
        """
        text, known = self._held + piece, len(self._held)  # only what ends behind the known characters counts
        places = [(stop, text.find(stop, max(0, known - len(stop) + 1))) for stop in self._stops]
        found_at = [(place + len(stop), place) for stop, place in places if place >= 0]
        if found_at and not ignore:
            end, start = min(found_at)
            self._held = ""
            return text[: end if self._include else start], True
        cut = len(text) - self._beginning(text)
        self._held = text[cut:]
        return text[:cut], False

    def finish(self) -> str:
        """Returns what was held back."""
        text, self._held = self._held, ""
        return text

    def _beginning(self, text: str) -> int:
        """How many characters at the end of the text are the beginning of a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0

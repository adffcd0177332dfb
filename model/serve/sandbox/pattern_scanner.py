"""A scanner for what regular expressions describe: an automaton says where a finding may be, a function what it is."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from model.serve.sandbox.automaton import Automaton, State
from model.serve.sandbox.finding import Finding
from model.serve.sandbox.folding import HANGUL, MAX_JOINING, Fold, letter_end, with_accents
from model.serve.sandbox.pattern_tree import Shape

MAX_HELD_CHARS = 768  # more than any finding of the shipped filters, and what follows and decides it, is long
_CACHED_LETTERS = 8192
_ASCII = re.compile(r"[\x00-\x7f]+")
_MAX_WORD_CHARS = 64  # by which the context is extended to begin at a space

Find = Callable[[str], list[Finding]]


class PatternScanner:
    """Finds what `find` finds, in texts that arrive in pieces.

    `find` decides: it reads a finding with `context` characters before it and at least one after it, or the
    end of the text. Where there may be one is known by `shapes`, which must describe all that `find` can find, as far
    to the right as it depends on the text.

    What may become a finding is held for `MAX_HELD_CHARS` characters at most; then the text is blocked, with the
    scanner's name as the class.

    Args:
        name: the scanner's name.
        find: the findings of a text.
        shapes: how the findings are written.
        context: characters before a finding on which it depends: labels, the sentence.
        fold: what `shapes` are compared with instead of the text, letter by letter: it is called with a character and
            those that join it, and leaves ASCII as it is. None: the text as it is.
        mask_end: where `find` replaces what it found and searches again, the last character of what it puts there: what
            was part of a word before may begin after it. Empty: it searches once.
        table: like `fold`, for characters that are each replaced by one: a table of `str.translate`.
    """

    def __init__(
        self,
        name: str,
        find: Find,
        shapes: Sequence[Shape],
        *,
        context: int = 0,
        mask_end: str = "",
        fold: Fold | None = None,
        table: dict[int, str] | None = None,
    ) -> None:
        self.name, self._context, self._mask_end = name, context, mask_end
        self._find = find
        self._fold, self._table = fold and lru_cache(_CACHED_LETTERS)(fold), table or {}
        self._automaton = Automaton(shapes)

    def scan(self, text: str) -> list[Finding]:
        """All findings of a whole text, in order."""
        return self._find(text)

    def hold(self, text: str) -> int:
        """The earliest position at which a match that is not complete yet could begin; `len(text)` if there is none."""
        stream = self.stream()
        stream.feed(text)
        return stream.hold

    def stream(self) -> "PatternStream":
        """Starts to read one text."""
        return PatternStream(self)


class _Match:
    """A finding that may have begun at `start`. `is_complete`: the characters so far may be one already."""

    __slots__ = ("is_complete", "start", "state")

    def __init__(self, start: int, state: State) -> None:
        self.start, self.state, self.is_complete = start, state, state.accepts


class PatternStream:
    """What a `PatternScanner` has read of one text. See `ScannerStream`."""

    def __init__(self, scanner: PatternScanner) -> None:
        self.hold = 0
        self.findings: list[Finding] = []
        self._name, self._find, self._context = scanner.name, scanner._find, scanner._context
        self._mask_end = scanner._mask_end
        self._fold, self._table, self._automaton = scanner._fold, scanner._table, scanner._automaton
        self._search = self._automaton.start
        self._matches: list[_Match] = []  # in the order of their starts
        self._zone: tuple[int, int] | None = None  # what complete matches cover, that `find` has not seen yet
        self._has_ended = False  # a match ended at the last character
        self._decided = 0  # findings that start before it are in `findings`
        self._read = 0  # characters that the automaton has seen
        self._text, self._offset = "", 0  # the end of the text, and where it begins
        self._is_closed = False

    def feed(self, text: str) -> None:
        """Reads the next piece of the text."""
        if not text or self._is_closed:
            return
        self._text += text
        if self._fold is None:
            self._walk(text.translate(self._table) if self._table else text, 1, 1)
        else:
            self._walk_letters(is_last=False)
        self._update_hold()
        if len(self._text) > 4 * (self._context + MAX_HELD_CHARS):
            excess = self.hold - self._context - _MAX_WORD_CHARS - self._offset
            if excess > 0:
                self._text, self._offset = self._text[excess:], self._offset + excess

    def finish(self) -> None:
        """Says that the text is complete."""
        if self._fold is not None and not self._is_closed:
            self._walk_letters(is_last=True)
        if self._is_closed:
            return
        start = self._held_from()
        if start < self._read:
            self._decide(start, self._read)
        self.hold = self._read
        self._is_closed = True

    def _walk_letters(self, is_last: bool) -> None:
        """Walks over all letters that are certain: the last one may get an accent."""
        assert self._fold is not None
        start = self._read - self._offset
        text = self._text
        while start < len(text) and not self._is_closed:
            plain = _ASCII.match(text, start)
            if plain and plain.end() - start > 1:
                self._walk(text[start : plain.end() - 1], 1, 1)
                start = self._read - self._offset
                continue
            end = letter_end(text, start)
            if end == len(text) and end - start <= MAX_JOINING and not is_last:
                break
            self._walk(self._fold(text[start:end]), 0, end - start)
            start = end
            self._read = start + self._offset

    def _walk(self, chars: str, step: int, width: int) -> None:
        """Walks over folded characters, each `step` characters of the text after the last, and `width` wide."""
        search, matches, position = self._search, self._matches, self._read
        classes = self._automaton.classes
        for letter in chars:
            char = classes.get(letter) or self._automaton.classify(letter)
            move = search.moves.get(char)
            search, started = move or self._automaton.search(search, char)
            after = position + width
            if matches:
                matches = self._step(matches, char, position, after)
            else:
                self._has_ended = False
            if started is not None:
                matches.append(_Match(position, started))
            if self._mask_end and (self._has_ended or any(match.state.may_end for match in matches)):
                search = self._automaton.after_mask(search, self._mask_end)
            if self._zone is not None or (matches and after - matches[0].start > MAX_HELD_CHARS):
                self._matches, self._read = matches, after
                self._resolve()
                if self._is_closed:
                    return
            position += step
        self._search, self._matches, self._read = search, matches, position

    def _step(self, matches: list[_Match], char: str, position: int, after: int) -> list[_Match]:
        """The matches that go on over a character; what those cover that end becomes part of the zone."""
        alive = []
        self._has_ended = False
        for match in matches:
            moves = match.state.moves
            state = moves[char] if char in moves else self._automaton.step(match.state, char)
            if state is not None:
                match.is_complete |= state.accepts
                self._has_ended |= state.accepts
                if state.core:
                    match.state = state
                    alive.append(match)
                    continue
            if match.is_complete:
                start, end = self._zone or (match.start, position)
                self._zone = min(start, match.start), max(end, after if state is not None else position)
        return alive

    def _resolve(self) -> None:
        """Has `find` read the zone when no match that reaches into it goes on; blocks what is held for too long."""
        first = self._matches[0].start if self._matches else self._read
        if self._zone is not None and first >= self._zone[1]:
            start, _ = self._zone
            self._zone = None
            self._decide(start, first)
        start = self._held_from()
        if self._read - start > MAX_HELD_CHARS:
            self.findings.append(Finding(start, self._read, self._name, "block"))
            self._is_closed = True

    def _held_from(self) -> int:
        """Where the first match begins that goes on or was not decided yet; `_read` if there is none."""
        first = self._matches[0].start if self._matches else self._read
        return min(first, self._zone[0]) if self._zone else first

    def _update_hold(self) -> None:
        start = self._held_from()
        if self._fold is not None and start == self._read and not self._is_closed:
            letter = self._text[start - self._offset :]  # it may still get an accent
            if letter and not self._may_begin(letter):
                start += len(letter)
        self.hold = max(self.hold, self._read + 1 if self._is_closed else start)

    def _may_begin(self, letter: str) -> bool:
        """Whether a finding may begin with a letter, or with that letter and accents that follow."""
        assert self._fold is not None
        if letter[0] in HANGUL:
            return True
        forms = (self._fold(letter), *self._automaton.beginnings(with_accents(letter[0])))
        chars = [self._automaton.classes.get(form[0]) or self._automaton.classify(form[0]) for form in forms if form]
        moves = self._search.moves
        return any((moves.get(char) or self._automaton.search(self._search, char))[1] for char in chars)

    def _decide(self, start: int, end: int) -> None:
        """Adds the findings from `start` that begin before `end`, as `find` sees them in the text so far."""
        begin = max(start - self._context, 0)
        if begin > 0:
            places = range(begin, max(begin - _MAX_WORD_CHARS, self._offset), -1)
            begin = next((place for place in places if self._text[place - 1 - self._offset].isspace()), begin)
        window = self._text[begin - self._offset : self._read - self._offset]
        for finding in self._find(window):
            if self._decided <= finding.start + begin < end and finding.end + begin > start:
                self.findings.append(Finding(finding.start + begin, finding.end + begin, finding.kind, finding.action))
        self._decided = max(self._decided, end)

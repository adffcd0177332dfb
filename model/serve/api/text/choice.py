"""One answer on its way out: tokens to text, stop strings, the guard. Text, token ids and log-probabilities leave
together, and only once nothing can take them back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from model.serve.api.text.stop_strings import StopStrings
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.port import GenerationStep, TokenLogprob
from model.serve.sandbox import Guard, Release

FinishReason = Literal["stop", "length", "content_filter"]


@dataclass(slots=True)
class TextToken:
    """A token with its span of characters: in the answer before masking, and (`offset`) where it starts after it.

    A token that is a part of a character has the span of what was waited for.
    """

    id: int
    logprob: TokenLogprob | None
    start: int = 0
    end: int = 0
    offset: int = 0
    in_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """What leaves at once. `finish_reason` is set in the last one. `unseen`: tokens that leave beside `tokens`."""

    text: str = ""
    tokens: tuple[TextToken, ...] = ()
    finish_reason: FinishReason | None = None
    unseen: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing leaves."""
        return not (self.text or self.tokens or self.finish_reason or self.unseen)


@dataclass(frozen=True, slots=True)
class ChoiceOptions:
    """How an answer is read: the fields of the request that are not the engine's."""

    stops: tuple[str, ...] = ()
    include_stop: bool = False
    skip_special_tokens: bool = True
    min_tokens: int = 0  # stop strings that end in these tokens do not count, as end tokens do not
    discard: bool = False  # only the prompt is wanted; an engine generates one token in any case


class Choice:
    """One answer. `generated`: tokens up to its end; `sent`: those of them that have left.

    Args:
        tokenizer: of the model.
        options: how it is read.
        guard: what may leave.
        keeps_tokens: its tokens are shown; False: the text alone, so that most answers need no spans.
    """

    def __init__(
        self, tokenizer: Tokenizer, options: ChoiceOptions, guard: Guard, *, keeps_tokens: bool = True
    ) -> None:
        self.options, self.generated, self.sent = options, 0, 0
        self._known = 0  # of an answer without tokens: those whose text is known
        self._is_plain = guard.passes_all and not options.stops and not keeps_tokens
        self.finish_reason: FinishReason | None = None
        self.blocked: str | None = None
        self._skipped = tokenizer.special_ids if options.skip_special_tokens else frozenset()
        self._detokenizer = tokenizer.detokenizer()
        self._stops = StopStrings(options.stops, include=options.include_stop)
        self._guard = guard
        self._waiting: list[TextToken] = []  # have not left
        self._incomplete: list[TextToken] = []  # the last of them: their text is not known yet
        self._source = ""  # text given to the guard that has not left
        self._source_start = self._length = self._sent_length = 0  # characters: before `_source`; decoded; sent

    def begin(self, text: str, tokens: Sequence[TextToken]) -> Delta:
        """Puts the prompt before the answer (`echo`). `tokens`: of the prompt with their spans; stops are not looked
        for in it.
        """
        self._waiting += tokens
        self._length = len(text)
        return self._leave(text)

    def feed(self, step: GenerationStep) -> Delta:
        """Takes what was generated and returns what may leave. After the end of the answer nothing more leaves."""
        if self.finish_reason:
            return Delta()
        if self.options.discard:
            return self._leave("", "length")
        if self._is_plain:
            return self._pass(step)
        text = ""
        for number, token in enumerate(step.tokens):
            self.generated += 1
            piece = self._piece(token, step, number)
            passed, is_stopped = self._stops.feed(piece, ignore=self.generated <= self.options.min_tokens)
            text += passed
            if is_stopped:
                return self._leave(text, "stop", is_cut=True)
        if step.finish_reason is None:
            return self._leave(text)
        rest = self._detokenizer.finish()
        self._complete(rest)
        passed, is_stopped = self._stops.feed(rest, ignore=self.generated <= self.options.min_tokens)
        text += passed + self._stops.finish()
        return self._leave(text, "stop" if is_stopped else step.finish_reason, is_cut=is_stopped)

    def _pass(self, step: GenerationStep) -> Delta:
        """`feed` where nothing holds text back and no token is shown."""
        detokenizer, skipped, text, sent = self._detokenizer, self._skipped, "", self.sent
        silent_end = len(step.tokens) - 1 if step.ended_by is not None and not self.options.include_stop else -1
        for number, token in enumerate(step.tokens):
            piece = "" if number == silent_end or token in skipped else detokenizer.feed(token)
            if not detokenizer.is_pending:
                self._known = self.generated + 1
            elif piece:  # of the tokens before it, whose character is complete; it begins the next one
                self._known = self.generated
            self.generated += 1
            text += piece
        if step.finish_reason is not None:
            text += detokenizer.finish()
            self.finish_reason, self._known = step.finish_reason, self.generated
        if text or step.finish_reason is not None:
            self.sent = self._known
        return Delta(text, (), step.finish_reason, self.sent - sent)

    def _piece(self, token: int, step: GenerationStep, number: int) -> str:
        """The text that a token completes."""
        row = TextToken(token, step.logprobs[number] if step.logprobs is not None else None, start=self._length)
        self._waiting.append(row)
        ends = step.ended_by is not None and number == len(step.tokens) - 1
        is_silent = token in self._skipped or (ends and not self.options.include_stop)
        piece = "" if is_silent else self._detokenizer.feed(token)
        if piece:
            self._complete(piece)
        if self._detokenizer.is_pending:  # it begins or continues a character
            self._incomplete.append(row)
        else:
            row.end = self._length
        return piece

    def _complete(self, piece: str) -> None:
        """Adds a piece, which is the end of the tokens that waited for it."""
        self._length += len(piece)
        for row in self._incomplete:
            row.end = self._length
        self._incomplete.clear()

    def _leave(self, text: str, finish_reason: FinishReason | None = None, *, is_cut: bool = False) -> Delta:
        """Gives text to the guard and returns what it lets go. `is_cut`: the text ends before that of its tokens."""
        self._source += text
        releases = [self._guard.feed(text)] if text else []
        if finish_reason and not any(release.blocked for release in releases):
            releases.append(self._guard.finish())
        passed, tokens = "", []
        for release in releases:
            is_last = release is releases[-1] and finish_reason is not None and release.blocked is None
            tokens += self._tokens(release, is_last=is_last, is_cut=is_cut)
            passed += release.text
            if release.blocked is not None:
                self.blocked, finish_reason = release.blocked, "content_filter"
                break
        self.finish_reason = finish_reason
        if finish_reason:
            self._waiting.clear()
        return Delta(passed, tuple(tokens), finish_reason)

    def _tokens(self, release: Release, *, is_last: bool, is_cut: bool) -> list[TextToken]:
        """The tokens that leave with a release: those whose whole text has left, but none with masked text in it."""
        end, waiting = release.source_end, self._waiting
        complete = len(waiting) - len(self._incomplete)  # those that are incomplete are the last ones
        count = 0
        while count < len(waiting):
            row = waiting[count]
            is_over = count < complete and row.end <= end
            if not (is_over or (is_last and (not is_cut or row.start < end))):
                break
            count += 1
        leaving, self._waiting = waiting[:count], waiting[count:]
        self.sent += sum(not row.in_prompt for row in leaving)
        positions = _Positions(release, self._source, self._source_start, self._sent_length)
        self._source = self._source[max(0, end - self._source_start) :]
        self._source_start, self._sent_length = max(end, self._source_start), self._sent_length + len(release.text)
        if release.masked:
            leaving = [row for row in leaving if not any(row.start < b and row.end > a for a, b in release.masked)]
        for row in leaving:
            row.offset = positions.after_masking(row.start)
        return leaving


class _Positions:
    """Where characters of a release's source are in the text that leaves."""

    def __init__(self, release: Release, source: str, source_start: int, sent: int) -> None:
        self._segments = [
            (source_start, sent)
        ]  # of source that leaves unchanged: where it starts, and where in what is sent
        place = 0
        for number, (_, last) in enumerate(release.masked):
            following = release.masked[number + 1][0] if number + 1 < len(release.masked) else release.source_end
            segment = source[last - source_start : following - source_start]
            place = release.text.find(segment, place) if segment else len(release.text)
            self._segments.append((last, sent + max(0, place)))

    def after_masking(self, start: int) -> int:
        """The position in the text that leaves of a character that is not masked."""
        for source, sent in reversed(self._segments):
            if source <= start:
                return sent + start - source
        source, sent = self._segments[0]
        return max(0, sent + start - source)

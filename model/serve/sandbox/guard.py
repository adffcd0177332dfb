"""Lets one answer leave while it is written, as far as no scanner could still find something in it."""

import logging
from collections.abc import Sequence

from model.serve.sandbox.finding import Finding, Release
from model.serve.sandbox.scanner import Scanner, ScannerStream

ERROR = "error"  # the class of a block when a scanner fails

_LOG = logging.getLogger(__name__)


class Guard:
    """One choice of an answer.

    However the text is cut into pieces, the releases together are the text that `GuardPolicy.filter` returns for the
    whole of it: findings are masked, and the text ends where the first one that blocks begins. Findings in a masked
    part block too, before that part.

    After `blocked`, later pieces are ignored: nothing leaves any more.
    """

    def __init__(self, scanners: Sequence[Scanner]) -> None:
        self._names = [scanner.name for scanner in scanners]
        self._streams: list[ScannerStream] = []
        self._pending = ""  # what was fed and has not left
        self._left = 0  # characters that have left
        self._blocked: str | None = None
        self._is_finished = False
        try:
            self._streams = [scanner.stream() for scanner in scanners]
        except Exception as error:
            self._fail(error)

    @property
    def passes_all(self) -> bool:
        """Whether no scanner reads the answer, so that all of it leaves as it comes."""
        return not self._names and self._blocked is None

    def feed(self, text: str) -> Release:
        """Adds the next piece of the answer and returns what may leave now."""
        if self._blocked is not None or self._is_finished:
            return Release("", self._left, (), self._blocked)
        self._pending += text
        try:
            for stream in self._streams:
                stream.feed(text)
            return self._release()
        except Exception as error:
            return self._fail(error)

    def finish(self) -> Release:
        """Says that the answer is complete and returns the rest of it. Calling it twice changes nothing."""
        if self._blocked is not None or self._is_finished:
            return Release("", self._left, (), self._blocked)
        try:
            for stream in self._streams:
                stream.finish()
            self._is_finished = True
            return self._release()
        except Exception as error:
            return self._fail(error)

    def _release(self) -> Release:
        certain = self._left + len(self._pending)  # no scanner will add a finding before this character
        if not self._is_finished:
            certain = min((certain, *(stream.hold for stream in self._streams)))
        findings = [finding for stream in self._streams for finding in stream.findings]
        if not findings:
            return self._leave([], certain, None)
        masks = [finding for finding in findings if finding.action == "mask" and finding.end > self._left]
        blocks = [finding for finding in findings if finding.action == "block"]
        block = min(blocks, key=lambda finding: finding.start, default=None)
        # until all that starts at the same character is known, another finding may come first
        if block is not None and (block.start < certain or self._is_finished):
            return self._leave(masks, max(block.start, self._left), block.kind)
        return self._leave(masks, certain, None)

    def _leave(self, masks: list[Finding], limit: int, blocked: str | None) -> Release:
        parts: list[str] = []
        masked: list[tuple[int, int]] = []
        position, origin = self._left, self._left
        for finding in sorted(masks, key=lambda mask: (mask.start, mask.end)):
            start = max(finding.start, position)
            if start >= limit:
                break
            if finding.end > limit:
                limit = start
                break
            if finding.end > position:
                parts.append(f"{self._pending[position - origin : start - origin]}[{finding.kind.upper()}]")
                masked.append((start, finding.end))
                position = finding.end
        parts.append(self._pending[position - origin : limit - origin])
        self._pending = "" if blocked is not None else self._pending[limit - origin :]
        self._left, self._blocked = limit, blocked
        return Release("".join(parts), limit, tuple(masked), blocked)

    def _fail(self, error: Exception) -> Release:
        # the message of an exception may quote the text
        _LOG.error("A scanner of %s failed with %s; the answer is blocked", self._names, type(error).__name__)
        self._pending, self._blocked = "", ERROR
        return Release("", self._left, (), ERROR)

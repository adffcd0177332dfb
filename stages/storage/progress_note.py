"""How far a running shard is: a note that the worker writes into the shard's attempt marker.

The marker exists exactly as long as the attempt, so a note needs no file of its own and no cleaning up. Notes are for
display only: nothing depends on them, and a note that cannot be written is skipped.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

NOTE_INTERVAL_S = 1.0
MAX_WORK_CHARS = 200  # of what a note says that a worker is at
NOTE_BYTES = 420  # notes are padded to this length: a shorter one then overwrites all of the one before


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """A worker's latest note about its shard."""

    rows: int  # of the shard's input that are finished
    output_tokens: int
    seconds: float  # since the attempt started
    noted: float  # seconds since the epoch
    steps: int = 0  # of work that finishes no row: a file that is decompressed or looked through
    work: str = ""  # the latest of these, in ASCII

    @classmethod
    def read(cls, marker: Path) -> "ShardProgress | None":
        """The note in an attempt marker; None when there is none yet, or the marker was removed."""
        try:
            return cls(**json.loads(marker.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


class NoteWriter:
    """Writes at most one note per second into `marker`; all other calls return at once.

    `clock`: monotonic seconds.
    """

    def __init__(self, marker: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._marker = marker
        self._clock = clock
        self._started = clock()
        self._next_note = self._started + NOTE_INTERVAL_S
        self._rows = self._output_tokens = self._steps = 0
        self._work = ""

    def working(self, what: str, at_once: bool) -> None:
        """Counts a step that finished no row, as `activity.working_on` reports it. `at_once`: it is written down."""
        self._steps += 1
        self._work = what
        if at_once:
            self._next_note = self._clock()
        self.write(self._rows, self._output_tokens)

    def write(self, rows: int, output_tokens: int) -> None:
        """Never raises OSError: a full disk must not fail a shard whose rows are fine."""
        self._rows, self._output_tokens = rows, output_tokens
        now = self._clock()
        if now < self._next_note:
            return
        self._next_note = now + NOTE_INTERVAL_S
        seconds, noted = round(now - self._started, 1), round(time.time(), 1)
        work = self._work.encode("ascii", "replace").decode()[:MAX_WORK_CHARS]
        note = ShardProgress(rows, output_tokens, seconds, noted, self._steps, work)
        text = json.dumps(asdict(note)).ljust(NOTE_BYTES)
        with suppress(OSError):
            handle = os.open(self._marker, os.O_WRONLY)  # never creates the marker: it may just have been removed
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)

"""`current.json` of a bucket: what it shows of each date, and all publications that it has had."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

from configs.errors import StoreError
from stages.storage import snapshot
from stages.storage.bucket import Bucket, Conflict, as_json
from stages.storage.snapshot import DateEntry

MAX_ATTEMPTS = 30  # at replacing the pointer


class PublicationEntry(TypedDict):
    """A publication that the bucket has, or has had."""

    publication: str  # the object with its manifest
    digest: str  # of the rows
    rows: int
    bytes: int
    run_id: str
    # `gc` has removed the files. The publication stays listed: otherwise the next run would publish again what was
    # rolled back.
    gone: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class Pointer:
    """`current.json` as it was read."""

    dates: dict[str, DateEntry]
    history: dict[str, list[PublicationEntry]]  # of each date, oldest first
    version: str | None  # of the object, for `Bucket.put`; None: nothing is published yet

    def knows(self, date: str, digest: str) -> bool:
        """Whether the date was ever published with this digest."""
        return any(entry["digest"] == digest for entry in self.history.get(date, ()))

    def kept(self, date: str) -> list[PublicationEntry]:
        """The date's publications whose files are still there."""
        return [entry for entry in self.history.get(date, ()) if not entry.get("gone")]

    def with_date(self, date: str, entry: DateEntry | None, history: list[PublicationEntry]) -> "Pointer":
        """The pointer with another entry for a date; None withdraws the date."""
        dates = {name: known for name, known in self.dates.items() if name != date}
        dates |= {} if entry is None else {date: entry}
        return replace(self, dates=dates, history=self.history | {date: history})

    def content(self) -> bytes:
        """The content of `current.json` on a bucket."""
        return as_json({"version": 1, "dates": dict(sorted(self.dates.items())), "history": self.history})


def read(bucket: Bucket, *, to_change: bool = True) -> Pointer:
    """The pointer of a bucket.

    `to_change`: also ask for the `version`, which is needed to replace the pointer; a second request.
    Raises StoreError when it is damaged.
    """
    if to_change:
        content, version = bucket.read_versioned(snapshot.NAME) or (None, "")
    else:
        content, version = bucket.read(snapshot.NAME), ""
    if content is None:
        return Pointer({}, {}, None)
    value = snapshot.parsed(content)
    if value is None or not isinstance(value.get("history"), dict):
        raise StoreError(
            f"{bucket.url}/{snapshot.NAME}: damaged, or not written by `gristmill store publish`; restore an earlier "
            "version of the object"
        )
    return Pointer(value["dates"], value["history"], version)


def change(bucket: Bucket, edit: Callable[[Pointer], Pointer | None]) -> None:
    """Replaces the pointer by `edit(pointer)`; None means no change. Starts over when another publisher was faster."""
    for attempt in range(MAX_ATTEMPTS):
        pointer = read(bucket)
        edited = edit(pointer)
        if edited is None:
            return
        try:
            return bucket.put(snapshot.NAME, edited.content(), pointer.version)
        except Conflict:
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
    raise StoreError(
        f"{bucket.url}/{snapshot.NAME}: changed by others {MAX_ATTEMPTS} times in a row; run the same command again"
    )

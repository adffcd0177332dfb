"""A shard to make: its name, its specification, and the files beside it that record attempts, errors and stops."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stages.storage.stage import StageName

_NAME = re.compile(r"part-(?P<number>[0-9]{5,})-of-(?P<total>[0-9]{5,})-(?P<fingerprint>[0-9a-zA-Z]+)")


@dataclass(frozen=True, slots=True)
class ShardName:
    """The name of a shard's files in its stage's folder. `str()` and `parse` are each other's inverse."""

    number: int
    total: int
    fingerprint: str  # a hash of everything that the shard's content depends on

    def __str__(self) -> str:
        return f"part-{self.number:05d}-of-{self.total:05d}-{self.fingerprint}"

    @classmethod
    def parse(cls, file_name: str) -> "ShardName | None":
        """The shard that a file of a stage's folder belongs to; None for a file of no shard."""
        match = _NAME.match(file_name)
        return cls(int(match["number"]), int(match["total"]), match["fingerprint"]) if match else None

    @property
    def kept(self) -> str:
        """The Parquet file of kept rows."""
        return f"{self}.parquet"

    def side(self, name: str) -> str:
        """A second Parquet file of the shard: `rejects`, `index`, …"""
        return f"{self}.{name}.parquet"

    @property
    def record(self) -> str:
        """The JSON record: once it is written, the shard is committed."""
        return f"{self.kept}.json"


def is_kept_file(file_name: str) -> bool:
    """Whether a file of a stage's folder holds a shard's kept rows, rather than rejects or another side file."""
    name = ShardName.parse(file_name)
    return name is not None and file_name == name.kept


class ShardSpec(NamedTuple):
    """What to make. `payload` is JSON for the stage's body; `rows` is the number of input rows."""

    root: str  # the data set's folder
    folder: str  # of the stage, or of the published domain, relative to root
    number: int
    total: int
    fingerprint: str
    rows: int
    payload: str
    label: str = ""  # the domain, where a shard has one

    @property
    def name(self) -> ShardName:
        return ShardName(self.number, self.total, self.fingerprint)

    @property
    def stage(self) -> StageName:
        return StageName.parse(Path(self.folder).name)

    @property
    def run_folder(self) -> Path:
        return Path(self.root, self.folder).parent.parent

    @property
    def file(self) -> str:
        """The file of kept rows, relative to root."""
        return f"{self.folder}/{self.name.kept}"

    @property
    def record_path(self) -> Path:
        return Path(self.root, self.folder, self.name.record)

    @property
    def error_path(self) -> Path:
        """Where a worker writes an error that stops the whole stage."""
        return Path(self.root, f"{self.file}.error")

    def attempts(self) -> list[Path]:
        """A marker file for each attempt at this shard that is running, failed or was killed."""
        return sorted(Path(self.root, self.folder).glob(f"{self.name.kept}.attempt-*"))

    def attempt_path(self, attempt: int) -> Path:
        return Path(self.root, f"{self.file}.attempt-{attempt}")

    def clear_attempts(self) -> None:
        """Removes the markers: the shard is committed or quarantined."""
        for marker in self.attempts():
            marker.unlink(missing_ok=True)


def is_attempt(file_name: str) -> bool:
    """Whether a file of a stage's folder marks a started attempt at a shard."""
    return ".attempt-" in file_name


def stop_path(run_folder: Path) -> Path:
    """While this file exists in a run's folder, no worker starts another shard of it, on any machine."""
    return run_folder / "stop"

"""The sample of an audit: which rows of a publication are read, under `audits/<date>/<digest>/`.

The folder's name is the start of the digest of the published rows. So labels of one publication never count for another
one of the same date, and count again after a rollback to it.

<out>/audits/2026-11-21/0f3c…/sample.json     the rows, by id, accepted and rejected
<out>/audits/2026-11-21/0f3c…/anna.jsonl      the labels of one reader (`audit_labels`)
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from configs.errors import StoreError
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from stages.storage.atomic import TEMPORARY_PREFIX, write_text
from stages.storage.lock import take_lock

VERSION = 1
NAME = "sample.json"
DIGEST_DIGITS = 16  # of the digest, in the folder's name


class SampledRow(BaseModel):
    """One row of a sample. Readers are not shown `accepted` and `reason`."""

    id: str
    accepted: bool
    domain: str
    task: str
    language: str
    reason: str | None = None  # why it was rejected


class AuditSample(BaseModel):
    """The sampled rows of one publication, in the order in which they are read."""

    version: int = VERSION
    date: str
    digest: str  # of the published rows
    run_id: str
    rows: list[SampledRow]

    @property
    def by_id(self) -> dict[str, SampledRow]:
        """The rows by id."""
        return {row.id: row for row in self.rows}

    @property
    def accepted(self) -> int:
        """How many of the rows were accepted."""
        return sum(row.accepted for row in self.rows)

    @classmethod
    def read(cls, folder: Path) -> "AuditSample | None":
        """A folder's sample; None if none was drawn. Raises StoreError when it is damaged or of a newer version."""
        path = folder / NAME
        try:
            sample = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise StoreError(
                f"{path}: damaged; remove it and run gristmill audit again, which draws the same rows: labels are kept"
            ) from None
        if sample.version > VERSION:
            raise StoreError(f"{path}: version {sample.version} is newer than this gristmill: update it")
        return sample

    def write(self, folder: Path) -> None:
        """Writes the sample. Raises StoreError when the disk refuses it."""
        path = folder / NAME
        try:
            with locked(folder):
                write_text(path, self.model_dump_json(indent=1))
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; fix it and run the same command again") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time write in an audit's folder, which is created. A run may be at work meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        alone = take_lock(handle, folder / ".lock", wait=True)
        for orphan in folder.glob(f"{TEMPORARY_PREFIX}*") if alone else ():  # of a writer that was killed
            orphan.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def audit_folder(data: DataSet, manifest: Manifest) -> Path:
    """Where the sample and the labels of what a date publishes now are kept."""
    return data.root / "audits" / manifest.date / manifest.digest[:DIGEST_DIGITS]


def other_audits(data: DataSet, manifest: Manifest) -> list[Path]:
    """The folders of audits of the date's other publications: their labels do not count for this one."""
    current = audit_folder(data, manifest)
    return sorted(path.parent for path in current.parent.glob(f"*/{NAME}") if path.parent != current)

"""One date of a data set while a command works on it: its folder, its lock and the record of its start."""

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import TracebackType

from configs import load
from configs.errors import ConfigError, StoreError
from configs.schema import Config
from model import backends
from pipeline.run import signed_urls
from pipeline.run.resolve import ResolvedModels
from pipeline.store.dataset import DataSet, OtherDates
from pipeline.store.manifest import Manifest
from pipeline.store.run_record import DriverResult, RunRecord
from stages.storage.atomic import write_text
from stages.storage.records import FileRef

PACKAGES = ("gristmill", "apache-beam", "pyarrow", "torch", "transformers", "peft")  # and those of the backend


@dataclass
class DateRun:
    """A date that a command works on. Use it as a context manager, which releases the lock."""

    data: DataSet
    date: str
    manifest: Manifest | None  # None: the date is not finished
    _lock: int | None = field(default=None, repr=False)

    @classmethod
    def open(cls, data: DataSet, date: str, *, ignore_damage: bool = False) -> "DateRun":
        """Reads the date's manifest. Raises StoreError when its manifest is damaged, unless that is ignored."""
        try:
            manifest = data.manifest(date)
        except StoreError:
            if not ignore_damage:
                raise
            manifest = None  # the date is published again from what is committed
        return cls(data, date, manifest)

    def __enter__(self) -> "DateRun":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.data.run_folder(self.date)

    @property
    def lock_handle(self) -> int:
        """The file descriptor of the lock. Child processes inherit it."""
        assert self._lock is not None, "call lock() first"
        return self._lock

    def lock(self) -> None:
        """Locks the data set until the handle is closed here and in all processes that inherit it. Raises HeldError."""
        self._lock = self.data.lock(self.date)

    @cached_property
    def earlier_start(self) -> RunRecord | None:
        """The record of the last start of the date, or None. Raises StoreError when it is damaged."""
        return RunRecord.read(self.folder)

    @property
    def owner(self) -> Manifest | RunRecord | None:
        """What a start with another configuration would replace; None if no shard is committed yet."""
        has_records = any(self.folder.glob("stages/*/part-*.json")) and not self.ended_empty
        return self.manifest or (self.earlier_start if has_records else None)

    @cached_property
    def ended_empty(self) -> bool:
        """Whether the last run of the date made too few rows to publish: another configuration may take its place."""
        result = DriverResult.read(self.folder)
        return result is not None and result.status == "empty"

    def check_configuration(self, fingerprint: str, config: Config) -> None:
        """Raises ConfigError when the date belongs to another configuration; it names what differs."""
        owner = self.owner
        if owner is None or owner.fingerprint == fingerprint:
            return
        changes = self._changed_keys(config)
        raise ConfigError(
            f"{self.date} {'was finished' if self.manifest else 'was started'} with another configuration"
            f"{f' ({changes})' if changes else ''}; "
            "--force runs it again with this one and keeps what is still valid"
        )

    def begin(self, models: ResolvedModels, fingerprint: str) -> RunRecord:
        """Writes the files that the driver reads: the config, and a record with the files of other dates.

        A date that has reserved its passages keeps its list of used passages: dates that were started later have
        excluded its own. A finished date keeps its dedup index too, because running it again must give the same rows.
        """
        config = models.config
        previous = self.earlier_start
        if previous is not None and previous.fingerprint != fingerprint:
            previous = None
        others = self.data.other_dates(self.date)
        is_finished = self.data.manifest_path(self.date).exists()
        if previous and (is_finished or self.data.reserved(self.date)):
            others = replace(others, used=_renamed(previous.used, others.used))
        if previous and is_finished:
            others = replace(others, index=_renamed(previous.index, others.index))
        write_text(self.folder / "config.yaml", load.dump(signed_urls.hidden(config)))
        record = self._record(models, fingerprint, others, previous)
        record.write(self.folder)
        return record

    def _record(
        self, models: ResolvedModels, fingerprint: str, others: OtherDates, previous: RunRecord | None
    ) -> RunRecord:
        packages = PACKAGES + backends.get(models.generator.backend).packages
        return RunRecord(
            date=self.date,
            run_id=f"{self.date}-{fingerprint}",
            fingerprint=fingerprint,
            started=previous.started if previous else datetime.now(UTC).isoformat(timespec="seconds"),
            generator=models.generator,
            encoder=models.encoder,
            filters=models.filters,
            champions=dict(models.champions),
            threads=models.threads,
            used=others.used,
            index=others.index,
            versions={name: metadata.version(name) for name in packages if _is_installed(name)},
        )

    def _changed_keys(self, config: Config) -> str:
        """Up to five config keys that differ from the last start; empty if its config cannot be read."""
        try:
            keys = load.changed_keys(load.load(str(self.folder / "config.yaml")), config)
        except ConfigError:
            return ""
        return ", ".join(keys[:5]) or "a model or filter file, or a champion, differs"


def _renamed(refs: list[FileRef], current: list[FileRef]) -> list[FileRef]:
    """The same files under their current names: a file of a run folder gets another name when it is published."""
    by_sha256 = {ref.sha256: ref for ref in current}
    return [by_sha256.get(ref.sha256, ref) for ref in refs]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

"""One date of a data set while a command works on it: opened once, handed on, closed."""

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
from pipeline.run.cleanup import forget_attempts
from pipeline.run.resolve import ResolvedModels
from pipeline.store.dataset import DataSet, OtherDates
from pipeline.store.manifest import Manifest
from pipeline.store.run_record import RunRecord
from stages.storage.atomic import write_text
from stages.storage.records import FileRef, ShardRecord

PACKAGES = ("gristmill", "apache-beam", "pyarrow", "torch", "transformers", "peft")  # and those of the backend


@dataclass
class DateRun:
    """Paths, manifest and earlier start of a date. As a context manager it gives the lock back."""

    data: DataSet
    date: str
    manifest: Manifest | None  # of the finished date
    _lock: int | None = field(default=None, repr=False)

    @classmethod
    def open(cls, data: DataSet, date: str, *, ignore_damage: bool = False) -> "DateRun":
        """Reads what is known of the date. Raises StoreError when its manifest is damaged, unless that is ignored."""
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
        return self.data.run_folder(self.date)

    @property
    def lock_handle(self) -> int:
        """The file descriptor that holds the data set; child processes inherit it."""
        assert self._lock is not None, "call lock() first"
        return self._lock

    def lock(self) -> None:
        """Holds the data set until this object and all that inherited the handle are gone. Raises HeldError."""
        self._lock = self.data.lock(self.date)

    @cached_property
    def earlier_start(self) -> RunRecord | None:
        """What the last start of the date fixed. Raises StoreError when it is damaged."""
        return RunRecord.read(self.folder)

    @property
    def owner(self) -> Manifest | RunRecord | None:
        """What a start with another configuration would replace; None where nothing was made yet."""
        has_records = any(self.folder.glob("stages/*/part-*.json"))
        return self.manifest or (self.earlier_start if has_records else None)

    def check_configuration(self, fingerprint: str, config: Config) -> None:
        """Raises ConfigError when the date belongs to another configuration; it names what differs."""
        owner = self.owner
        if owner is None or owner.fingerprint == fingerprint:
            return
        changes = self._changed_keys(config)
        raise ConfigError(
            f"{self.date} {'was finished' if self.manifest else 'was started'} with another configuration"
            f"{f' ({changes})' if changes else ''}; "
            "--force makes it again with this one; what is still valid is kept"
        )

    def forgive_failures(self) -> None:
        """Removes records of quarantined shards: a start by the user tries again, since the cause may be fixed."""
        for path in self.folder.glob("stages/*/part-*.json"):
            if ShardRecord.read(path).error:
                path.unlink()
        forget_attempts(self.folder)

    def begin(self, models: ResolvedModels, fingerprint: str) -> RunRecord:
        """Writes what the driver reads: this start's runner and limits, and what the other dates used.

        A date that has reserved its passages keeps what it knew of other dates' passages, since later dates passed
        its own over. A finished date keeps all that it knew: it must become the same again.
        """
        config = models.config
        same = self.earlier_start
        if same is not None and same.fingerprint != fingerprint:
            same = None
        others = self.data.other_dates(self.date)
        is_finished = self.data.manifest_path(self.date).exists()
        if same and (is_finished or self.data.reserved(self.date)):
            others = replace(others, used=_where_they_are_now(same.used, others.used))
        if same and is_finished:
            others = replace(others, index=_where_they_are_now(same.index, others.index))
        write_text(self.folder / "config.yaml", load.dump(config))
        record = self._record(models, fingerprint, others, same)
        record.write(self.folder)
        return record

    def _record(
        self, models: ResolvedModels, fingerprint: str, others: OtherDates, same: RunRecord | None
    ) -> RunRecord:
        config = models.config
        cores = len(os.sched_getaffinity(0))
        packages = PACKAGES + backends.get(models.generator.backend).packages
        return RunRecord(
            date=self.date,
            run_id=f"{self.date}-{fingerprint}",
            fingerprint=fingerprint,
            started=same.started if same else datetime.now(UTC).isoformat(timespec="seconds"),
            generator=models.generator,
            encoder=models.encoder,
            filters=models.filters,
            threads=config.generator.threads or max(cores // config.run.workers, 1),
            used=others.used,
            index=others.index,
            versions={name: metadata.version(name) for name in packages if _is_installed(name)},
        )

    def _changed_keys(self, config: Config) -> str:
        """The first config keys that differ from those of the last start."""
        try:
            keys = load.changed_keys(load.load(str(self.folder / "config.yaml")), config)
        except ConfigError:
            return ""
        return ", ".join(keys[:5]) or "a model or filter file differs"


def _where_they_are_now(refs: list[FileRef], current: list[FileRef]) -> list[FileRef]:
    """The same files under the names that they have now: what was in a run folder may be published since."""
    by_sha256 = {ref.sha256: ref for ref in current}
    return [by_sha256.get(ref.sha256, ref) for ref in refs]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

"""A date's audit while a command works on it: its sample, its labels, and the figures in the manifest."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from configs.errors import GristmillError, InputError, StoreError
from pipeline.pages.audit_rows import AuditRow, draw_sample, read_rows
from pipeline.pages.report import finished_manifest, report_path, write_report
from pipeline.store.audit_figures import audit_figures
from pipeline.store.audit_labels import AuditLabel, Labels, Saved, read_labels, save_labels
from pipeline.store.audit_sample import AuditSample, audit_folder, other_audits
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import AuditFigures, Manifest
from stages.storage.lock import HeldError

DEFAULT_ROWS = 100


@dataclass
class AuditSession:
    """A date's audit. `notes` collects what a user should know besides the result."""

    data: DataSet
    manifest: Manifest
    folder: Path
    sample: AuditSample
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, data: DataSet, date: str, rows: int | None = None) -> "AuditSession":
        """Opens a date's audit, and draws its sample if it has none, or if more rows are asked for than it has.

        Args:
            data: the data set.
            date: a finished date.
            rows: how many accepted rows to sample; None means those of the sample, or DEFAULT_ROWS.

        Raises InputError when the date is not finished or has no accepted row, StoreError for damaged files.
        """
        manifest = finished_manifest(data, date)
        folder = audit_folder(data, manifest)
        sample, notes = AuditSample.read(folder), []
        if sample is None or (rows or 0) > min(sample.accepted, manifest.accepted):
            drawn = draw_sample(data, manifest, rows or DEFAULT_ROWS, sample)
            if sample is None or len(drawn.rows) > len(sample.rows):
                sample = drawn
                sample.write(folder)
        elif rows is not None and rows < sample.accepted:
            notes.append(
                f"{date}: the sample has {sample.accepted} accepted rows and keeps them, so that readers read the same"
            )
        if sample.accepted == len(sample.rows):
            notes.append(f"{date}: no rejected rows in the sample: none was rejected, or the run folder was deleted")
        if others := other_audits(data, manifest):
            names = ", ".join(path.name for path in others)
            notes.append(
                f"{date}: publishes {folder.name} now; labels of its other publications ({names}) are kept in "
                f"{folder.parent} and do not count, since their rows are not what is published"
            )
        return cls(data, manifest, folder, sample, notes)

    @property
    def date(self) -> str:
        """The date that is audited."""
        return self.manifest.date

    @property
    def labels(self) -> Labels:
        """All labels of rows of the sample, as they are on disk now."""
        known = self.sample.by_id
        labels = read_labels(self.folder)
        return {by: {row: label for row, label in by_row.items() if row in known} for by, by_row in labels.items()}

    @cached_property
    def rows(self) -> list[AuditRow]:
        """What readers see of the sampled rows, in order. Raises InputError if the run folder was deleted."""
        return read_rows(self.data, self.manifest, self.sample)

    def save(self, labels: Iterable[AuditLabel]) -> Saved:
        """Adds labels. Raises StoreError when they cannot be written."""
        return save_labels(self.folder, labels)

    def update_manifest(self) -> AuditFigures | None:
        """Writes the figures of all labels into the manifest and the report, if they differ; returns them.

        While a run has the data set, labels are kept and a note says that the manifest is behind.
        """
        figures = audit_figures(self.sample, self.labels)
        if figures == self.manifest.audit:
            return figures
        try:
            lock = self.data.lock(self.date)
        except HeldError:
            self.notes.append(
                f"{self.date}: the labels are kept, but a run is at work, so the manifest does not have their figures "
                f"yet: call gristmill audit {self.date} --out {self.data.root} again when it has ended"
            )
            return figures
        try:
            current = finished_manifest(self.data, self.date)
            if current.digest != self.manifest.digest:
                raise InputError(
                    f"{self.date}: published again meanwhile; the labels are kept with the rows that they are of: call "
                    "gristmill audit again to see what is published now"
                )
            self.data.set_audit(self.date, figures)
            self.manifest = current.model_copy(update={"audit": figures})
            self._write_report()
        except OSError as error:
            raise StoreError(
                f"{error.filename or self.data.root}: {error.strerror}; the labels are kept, but the manifest or the "
                f"report lacks their figures: fix it, then call gristmill audit {self.date} --out {self.data.root}"
            ) from None
        finally:
            os.close(lock)
        return figures

    def _write_report(self) -> None:
        """Writes the date's page again if it has one. A damaged file of the run folder ends nothing but the page."""
        if report_path(self.data, self.date).exists():
            try:
                write_report(self.data, self.date)
            except GristmillError as error:
                self.notes.append(f"{self.date}: the report was not written again: {error}")

"""Publishes a date whose stages are finished: its manifest, the data-set card and the report."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.errors import StoreError
from configs.schema import Config
from pipeline.pages.report import write_report
from pipeline.report.dataset_card import dataset_card
from pipeline.report.diversity import measure_diversity
from pipeline.report.drift import alarms
from pipeline.report.summary import summarise
from pipeline.run.graph import Outcome
from pipeline.store.audit_figures import current_audit
from pipeline.store.dataset import DataSet
from pipeline.store.layout import move_former_shards, shard_folder
from pipeline.store.manifest import AuditFigures, Manifest, PublishedShard, content_digest
from pipeline.store.run_record import RunRecord
from stages.storage.activity import working_on
from stages.storage.atomic import write_text
from stages.storage.inputs import read_input
from stages.storage.records import FileRef, StageResult

ROWS_PER_BATCH = 65_536  # when a single column is counted


@dataclass(frozen=True, slots=True)
class Publication:
    """A finished date that is to be published."""

    data: DataSet
    config: Config
    record: RunRecord
    outcome: Outcome
    results: Sequence[StageResult]  # of all stages, in order
    empty: Sequence[str] = ()  # domains that made nothing, or too little

    def publish(self) -> None:
        """Writes the data-set card, moves the files to their published names, writes the manifest and the report.

        The date is finished as soon as its manifest is written. The report may be missing after that: `gristmill
        report` writes it later.
        """
        date, outcome = self.record.date, self.outcome
        working_on(f"publishing {date}", at_once=True)
        move_former_shards(self.data)
        shards = [_published_shard(domain, date, ref) for domain, ref in outcome.shards]
        index = [f"index/date={date}/{number:05d}-{Path(ref.file).name}" for number, ref in enumerate(outcome.index)]
        used = [f"used/date={date}/{Path(ref.file).name}" for ref in outcome.used]
        answers = [f"answers/date={date}/{Path(ref.file).name}" for ref in outcome.answers]
        committed = [*(ref for _, ref in outcome.shards), *outcome.index, *outcome.used, *outcome.answers]
        files = dict(zip([*(shard.file for shard in shards), *index, *used, *answers], committed, strict=True))
        manifest = self._manifest(shards, [files[name]._replace(file=name) for name in index])
        manifest.used = [files[name]._replace(file=name) for name in used]
        manifest.answers = [files[name]._replace(file=name) for name in answers]
        other_manifests = self.data.finished(known for known in self.data.dates() if known != date)
        reference = self._reference(other_manifests)
        manifest.reference = reference.date if reference else None
        manifest.alarms = self._drift_alarms(manifest, reference)
        manifest.audit = self._audit(manifest)
        finished = sorted([*other_manifests, manifest], key=lambda known: known.date)
        write_text(self.data.root / "README.md", dataset_card(self.config, finished))
        self.data.publish(date, files, manifest)
        try:
            write_report(self.data, date)
        except Exception:
            logging.getLogger(__name__).exception("report")

    def _manifest(self, shards: list[PublishedShard], index: list[FileRef]) -> Manifest:
        """The manifest without `used`, `answers` and the comparison with the reference date."""
        record, outcome = self.record, self.outcome
        manifest = Manifest(
            date=record.date,
            run_id=record.run_id,
            fingerprint=record.fingerprint,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            digest=content_digest(ref for _, ref in outcome.shards),
            shards=shards,
            index=index,
            used=[],
            adapters=outcome.adapters,
            champions=record.champions,
            generator=replace(record.generator, path=""),
            encoder=record.encoder and replace(record.encoder, path=""),
            filters=record.filters,
            versions=record.versions,
            notes=outcome.notes,
            empty=list(self.empty),
            licences=self._count_rows("licence"),
            sources=self._count_rows("source"),
            tasks=self._count_rows("task"),
            languages=self._count_rows("language"),
            min_rightness=self.config.publish and self.config.publish.min_rightness,
            **summarise(self.config, self.results),
        )
        for name, domain in manifest.domains.items():
            domain.diversity = measure_diversity(self._published_rows(name))
        return manifest

    def _reference(self, manifests: list[Manifest]) -> Manifest | None:
        """The date to compare with: the one that the config names, or the oldest. None if it cannot be compared."""
        wanted = self.config.drift.reference and self.config.drift.reference.isoformat()
        comparable = (known for known in manifests if wanted in (None, known.date) and known.canary is not None)
        return next(comparable, None)

    def _drift_alarms(self, manifest: Manifest, reference: Manifest | None) -> list[str]:
        if reference is not None:
            return alarms(self.config.drift, manifest, reference)
        wanted = self.config.drift.reference and self.config.drift.reference.isoformat()
        if wanted not in (None, manifest.date):
            return [f"drift.reference: {wanted} is not a finished date of this data set, or is too old to compare with"]
        return []

    def _audit(self, manifest: Manifest) -> AuditFigures | None:
        """The audit of the same rows, if the date was published with them before and somebody read them."""
        try:
            return current_audit(self.data, manifest)
        except StoreError:
            logging.getLogger(__name__).exception("audit")
            return None

    def _published_rows(self, domain: str) -> Iterator[dict[str, Any]]:
        for name, ref in self.outcome.shards:
            if name == domain:
                for batch in read_input(str(self.data.root), ref, ["id", "messages"]):
                    yield from batch.to_pylist()

    def _count_rows(self, column: str) -> dict[str, int]:
        """Counts published rows by the values of a column."""
        rows: Counter[str] = Counter()
        for _, ref in self.outcome.shards:
            for batch in read_input(str(self.data.root), ref, [column], rows=ROWS_PER_BATCH):
                rows.update(batch[column].to_pylist())
        return dict(rows.most_common())


def _published_shard(domain: str, date: str, ref: FileRef) -> PublishedShard:
    file = f"{shard_folder(domain, date)}/{Path(ref.file).name}"
    return PublishedShard(file=file, domain=domain, rows=ref.rows, bytes=ref.bytes, sha256=ref.sha256)

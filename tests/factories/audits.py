"""Labels and samples of audits; a test names what it is about."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store.audit_labels import AuditLabel
from pipeline.store.audit_sample import DIGEST_DIGITS, AuditSample, SampledRow
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest, PublishedShard
from stages.record import content_id
from tests.factories.manifests import manifest_of

DIGEST = "d" * 64
RIGHT = {"faithful": 1, "complete": 1, "useful": 4}
WRONG = {"faithful": 0, "complete": 1, "useful": 2, "fault": "invented"}


def label(row: str, by: str = "anna", **changes: Any) -> AuditLabel:
    values: dict[str, Any] = {
        "row": row, "by": by, "time": datetime(2026, 1, 5, tzinfo=UTC), "publication": DIGEST[:DIGEST_DIGITS],
    }  # fmt: skip
    return AuditLabel.model_validate(values | RIGHT | changes)


def sample_of(accepted: Sequence[str], rejected: Sequence[str] = (), **changes: Any) -> AuditSample:
    """A sample of these ids, of one domain, task and language."""
    rows = [
        SampledRow(id=row_id, accepted=row_id in accepted, domain="law", task="explain", language="en")
        for row_id in (*accepted, *rejected)
    ]
    values: dict[str, Any] = {"date": "2026-01-02", "digest": DIGEST, "run_id": "a run", "rows": rows}
    return AuditSample.model_validate(values | changes)


def publish_strata(root: Path, strata: dict[tuple[str, str, str], int], **changes: Any) -> tuple[DataSet, Manifest]:
    """A shard with so many rows of each domain, task and language; the manifest that names it."""
    rows = [
        {"id": content_id(*key, str(number)), "domain": key[0], "task": key[1], "language": key[2]}
        for key, count in strata.items()
        for number in range(count)
    ]
    file = "data/domain=law/date=2026-01-02/part.parquet"
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / file, row_group_size=7)
    shard = PublishedShard(file=file, domain="law", rows=len(rows), bytes=1, sha256="")
    return DataSet(root), manifest_of(shards=[shard], accepted=len(rows), **{"digest": DIGEST} | changes)

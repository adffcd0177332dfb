"""Plans a date without doing the work: which stages there would be, with how many shards and rows.

It sends results without rejected rows through the graph of a real run, so the two have the same stages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.run.graph import graph
from pipeline.run.stage_specs import Context, Stage
from pipeline.store.manifest import AdapterResult
from stages.seeds import DomainFile
from stages.storage.records import FileRef, ShardRecord, StageResult
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind, StageName
from stages.storage.stats import ShardStats

BYTES_PER_ROW = 1000  # of compressed Parquet; only decides how many files are packed


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage of a date; its numbers are upper bounds, since earlier stages reject rows."""

    name: StageName
    kind: StageKind
    shards: int
    rows: int


def dry_run(context: Context, sources: Sequence[DomainFile], passages: Mapping[str, int]) -> list[PlannedStage]:
    """Returns the stages in order.

    Args:
        context: what the run would depend on.
        sources: the files of all domains.
        passages: by domain, how many passages its sources have. They are counted as those of the domain's first file.
    """
    unlimited = context.config.run.model_copy(update={"minutes": None})  # nothing is known of the pace
    context = replace(context, config=context.config.model_copy(update={"run": unlimited}))
    steps = graph(context, sources, lambda trained: [_no_adapter(record.label) for record in trained.records])
    uncounted = dict(passages)
    planned: list[PlannedStage] = []
    try:
        stage = next(steps)
        while True:
            rows = sum(spec.rows for spec in stage.specs) or sum(passages.values())
            planned.append(PlannedStage(stage.name, stage.kind, len(stage.specs), rows))
            stage = steps.send(_result(stage, uncounted))
    except StopIteration:
        return planned


def _result(stage: Stage, uncounted: dict[str, int]) -> StageResult:
    is_first = not any(spec.rows for spec in stage.specs)
    records = []
    for spec in stage.specs:
        rows = uncounted.pop(spec.label, 0) if is_first else spec.rows
        kept = FileRef(spec.file, spec.fingerprint, rows, rows * BYTES_PER_ROW)
        records.append(_record(spec, kept))
    return StageResult(stage.name, stage.kind, records)


def _record(spec: ShardSpec, kept: FileRef) -> ShardRecord:
    index = {"index": kept}
    return ShardRecord(
        spec.number, spec.fingerprint, kept.rows, kept, None, index, {}, 0, "", ShardStats(), label=spec.label
    )


def _no_adapter(domain: str) -> AdapterResult:
    return AdapterResult(domain=domain, used=False, reason="not trained yet")

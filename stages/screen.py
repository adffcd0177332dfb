"""Screen: applies the filters in order, cheapest first. The first one that rejects a candidate gives the reason."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from configs.errors import GristmillError
from stages.execute import PerProcess
from stages.histograms import canary
from stages.ports import Filter, Verdict
from stages.record import Candidate, reject_row
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

ROWS_PER_BATCH = 512

NamedFilters = list[tuple[str, Filter]]


class Screen:
    """Payload: `input`, a file of candidates. `build` creates the filters, once per process."""

    kind = StageKind("screen", Counts.CANDIDATES)

    def __init__(self, build: Callable[[], NamedFilters]) -> None:
        self._filters: PerProcess[NamedFilters] = PerProcess("filters", build)

    def load(self) -> None:
        self._filters.load()

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        for batch in read_input(spec.root, FileRef(*payload["input"]), rows=ROWS_PER_BATCH):
            rows_before = out.rows_in
            out.rows_in += batch.num_rows
            rows = [Candidate(**row) for row in batch.to_pylist()]
            for place, (name, judge) in enumerate(self._filters.value, 1):
                rows = self._apply(spec, name, judge, rows, out)
                out.report_progress(rows_before + batch.num_rows * place // len(self._filters.value))
            out.keep_rows(rows)
        if spec.number == 0:
            self._score_canary(out)

    def _apply(
        self, spec: ShardSpec, name: str, judge: Filter, rows: list[Candidate], out: ShardWriter
    ) -> list[Candidate]:
        """The rows that a filter keeps, with its score; the others become rejects."""
        kept: list[Candidate] = []
        for row, verdict in zip(rows, judge_all(judge, rows), strict=True):
            if isinstance(verdict, Exception):
                reject = reject_row(row, str(spec.stage), f"filter_error:{name}", repr(verdict))
                out.reject([reject], quarantine=True)
                continue
            out.stats.findings.update(verdict.findings)
            row = verdict.row or row
            if verdict.reason is not None:
                out.reject([reject_row(row, str(spec.stage), verdict.reason, verdict.detail)])
                continue
            score = [] if verdict.score is None else [{"filter": name, "score": verdict.score}]
            kept.append(replace(row, scores=[*row.scores, *score]) if score else row)
        return kept

    def _score_canary(self, out: ShardWriter) -> None:
        for name, judge in self._filters.value:
            for number, verdict in enumerate(judge_all(judge, canary())):
                if not isinstance(verdict, Exception) and verdict.score is not None:
                    out.stats.canary[f"{name} {number}"] = verdict.score


def judge_all(judge: Filter, rows: Sequence[Candidate]) -> list[Verdict | Exception]:
    """One verdict per row. If a batch fails it is halved, until only single rows fail: these get the exception."""
    if not rows:
        return []
    try:
        verdicts = judge(rows)
        if len(verdicts) != len(rows):
            raise ValueError(f"{len(verdicts)} verdicts for {len(rows)} rows")
    except GristmillError:
        raise
    except Exception as error:
        if len(rows) == 1:
            return [error]
        half = len(rows) // 2
        return judge_all(judge, rows[:half]) + judge_all(judge, rows[half:])
    return [
        ValueError(f"score is {verdict.score}")
        if verdict.score is not None and not math.isfinite(verdict.score)
        else verdict
        for verdict in verdicts
    ]

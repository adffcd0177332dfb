"""Screen: filters in order, cheapest first. Each drop has one reason, each row ends in one place."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from apache_beam.utils.shared import Shared

from configs.errors import GristmillError
from stages.histograms import canary
from stages.ports import Filter, Verdict
from stages.record import Candidate
from stages.storage.records import FileRef, ShardSpec, read_input
from stages.storage.writer import ShardWriter

BATCH = 512


class Screen:
    """The body of the stage; `build` makes the filters once a process. Payload: `input`, a file ref."""

    def __init__(self, build: Callable[[], list[tuple[str, Filter]]]) -> None:
        self._build = build
        self._shared = Shared()

    def open(self) -> None:
        self._held: _Filters = self._shared.acquire(lambda: _Filters(self._build()), tag="filters")

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        for batch in read_input(spec.root, FileRef(*payload["input"]), rows=BATCH):
            before = out.rows_in
            out.rows_in += batch.num_rows
            rows = [Candidate(**row) for row in batch.to_pylist()]
            for place, (name, judge) in enumerate(self._held.value, 1):
                rows = self._pass(spec, name, judge, rows, out)
                out.report_progress(before + batch.num_rows * place // len(self._held.value))
            out.keep_rows(rows)
        if spec.number == 0:
            for name, judge in self._held.value:
                for number, verdict in enumerate(judge_all(judge, canary())):
                    if not isinstance(verdict, Exception) and verdict.score is not None:
                        out.count(**{f"canary {name} {number}": verdict.score})

    def _pass(
        self, spec: ShardSpec, name: str, judge: Filter, rows: list[Candidate], out: ShardWriter
    ) -> list[Candidate]:
        kept: list[Candidate] = []
        for row, verdict in zip(rows, judge_all(judge, rows), strict=True):
            if isinstance(verdict, Exception):
                out.reject([_reject(spec, row, f"filter_error:{name}", repr(verdict))], quarantine=True)
                continue
            out.count(**Counter(f"found {what}" for what in verdict.found))
            if verdict.reason is not None:
                out.reject([_reject(spec, verdict.row or row, verdict.reason, verdict.detail)])
                continue
            row = verdict.row or row
            score = [] if verdict.score is None else [{"filter": name, "score": verdict.score}]
            kept.append(replace(row, scores=[*row.scores, *score]) if score else row)
        return kept


class _Filters:
    def __init__(self, value: list[tuple[str, Filter]]) -> None:
        self.value = value


def judge_all(judge: Filter, rows: Sequence[Candidate]) -> list[Verdict | Exception]:
    """One verdict a row; a batch that fails is halved until the failing rows stand alone."""
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


def _reject(spec: ShardSpec, row: Candidate, reason: str, detail: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "seed_id": row.seed_id,
        "domain": row.domain,
        "stage": spec.stage.rsplit("/", 1)[-1],
        "reason": reason,
        "detail": detail,
        "text": row.text,
    }

"""Screen: applies the filters in order, cheapest first. The first one that rejects a candidate gives the reason.

Of several samples of a passage that pass, the one with the best score is kept.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import pyarrow as pa

from configs.errors import GristmillError
from stages.body import PerProcess
from stages.histograms import canary
from stages.ports import Filter, Verdict, judged_by
from stages.record import FILTER_ERROR, SAMPLE_SCORE, Candidate, reject_row
from stages.storage.activity import working_on
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

ROWS_PER_BATCH = 512

NamedFilters = list[tuple[str, Filter]]


class Screen:
    """Payload: `input`, a file of candidates in which the samples of a passage follow each other.

    `build` creates the filters, once per process. `prefer`: names of scores; the first of them that a candidate has
    decides between samples. `redact(text, language)` masks personal data and secrets in what rejects quote. With
    `keep_scores` the side file `scores` has every candidate that passed the filters, with the score that decided.
    """

    kind = StageKind("screen", Counts.CANDIDATES)

    def __init__(
        self,
        build: Callable[[], NamedFilters],
        prefer: Sequence[str],
        redact: Callable[[str, str], str],
        *,
        keep_scores: bool = False,
    ) -> None:
        self._filters: PerProcess[NamedFilters] = PerProcess("filters", build)
        self._prefer = tuple(prefer)
        self._redact = redact
        self._keep_scores = keep_scores

    def load(self) -> None:
        self._filters.load()

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        samples: list[Candidate] = []  # those of the last passage so far: more of them may be in the next batch
        for batch in read_input(spec.root, FileRef(*payload["input"]), rows=ROWS_PER_BATCH):
            rows_before = out.rows_in
            out.rows_in += batch.num_rows
            rows = [Candidate(**row) for row in batch.to_pylist()]
            for place, (name, judge) in enumerate(self._filters.value, 1):
                rows = self._apply(spec, name, judge, rows, out)
                out.report_progress(rows_before + batch.num_rows * place // len(self._filters.value))
            rows = samples + rows
            last = rows[-1].seed_id if rows else ""
            samples = [row for row in rows if row.seed_id == last]
            self._choose(spec, [row for row in rows if row.seed_id != last], out)
        self._choose(spec, samples, out)
        if spec.number == 0:
            self._score_canary(out)

    def _choose(self, spec: ShardSpec, rows: list[Candidate], out: ShardWriter) -> None:
        """Keeps the best sample of each passage."""
        if self._keep_scores and rows:
            out.side("scores", pa.table([[row.id for row in rows], [self._rank(row) for row in rows]], SAMPLE_SCORE))
        for _, group in groupby(rows, key=lambda row: row.seed_id):
            samples = list(group)
            best = max(samples, key=self._rank)  # the first of equal ones
            out.keep_rows([best])
            for row in samples:
                if row is not best:
                    self._reject(spec, row, "better_sample", f"{best.id} is better", out)

    def _rank(self, row: Candidate) -> float:
        scores = {str(score["filter"]): float(score["score"]) for score in row.scores}
        return next((scores[name] for name in self._prefer if name in scores), 0.0)

    def _apply(
        self, spec: ShardSpec, name: str, judge: Filter, rows: list[Candidate], out: ShardWriter
    ) -> list[Candidate]:
        """The rows that a filter keeps, with its score; the others become rejects."""
        judged = judged_by(judge)
        verdicts = iter(judge_all(judge, [row for row in rows if row.writes in judged], name))
        kept: list[Candidate] = []
        for row in rows:
            if row.writes not in judged:
                kept.append(row)
                continue
            verdict = next(verdicts)
            if isinstance(verdict, Exception):
                self._reject(spec, row, f"{FILTER_ERROR}{name}", repr(verdict), out, quarantine=True)
                continue
            out.stats.findings.update(verdict.findings)
            row = verdict.row or row
            if verdict.reason is not None:
                self._reject(spec, row, verdict.reason, verdict.detail, out)
                continue
            score = [] if verdict.score is None else [{"filter": name, "score": verdict.score}]
            earlier = [entry for entry in row.scores if not score or entry["filter"] != name]
            kept.append(replace(row, scores=[*earlier, *score]) if score else row)
        return kept

    def _reject(
        self, spec: ShardSpec, row: Candidate, reason: str, detail: str, out: ShardWriter, *, quarantine: bool = False
    ) -> None:
        reject = reject_row(row, str(spec.stage), reason, detail)
        reject |= {"prompt": self._redact(row.prompt, row.language), "answer": self._redact(row.answer, row.language)}
        out.reject([reject], quarantine=quarantine)

    def _score_canary(self, out: ShardWriter) -> None:
        for name, judge in self._filters.value:
            if "answer" not in judged_by(judge):
                continue
            for number, verdict in enumerate(judge_all(judge, canary(), name)):
                if not isinstance(verdict, Exception) and verdict.score is not None:
                    out.stats.canary[f"{name} {number}"] = verdict.score


class _Reported(list[Candidate]):
    """Rows, each of which is a sign of life when a filter comes to it: a slow filter is not one that hangs.

    `filter_name`: for whoever reads where the work stopped.
    """

    def __init__(self, rows: Iterable[Candidate], filter_name: str) -> None:
        super().__init__(rows)
        self._filter_name = filter_name

    def __iter__(self) -> Iterator[Candidate]:
        for row in super().__iter__():
            working_on(f"the filter {self._filter_name} judges the row {row.id}")
            yield row


def judge_all(judge: Filter, rows: Sequence[Candidate], name: str = "") -> list[Verdict | Exception]:
    """One verdict per row. If a batch fails it is halved, until only single rows fail: these get the exception.

    `name`: of the filter, in what is said of its progress.
    """
    if not rows:
        return []
    try:
        working_on(f"the filter {name} judges {len(rows)} rows", at_once=True)
        verdicts = judge(_Reported(rows, name))
        if len(verdicts) != len(rows):
            raise ValueError(f"{len(verdicts)} verdicts for {len(rows)} rows")
    except GristmillError:
        raise
    except Exception as error:
        if len(rows) == 1:
            return [error]
        half = len(rows) // 2
        return judge_all(judge, rows[:half], name) + judge_all(judge, rows[half:], name)
    return [
        ValueError(f"score is {verdict.score}")
        if verdict.score is not None and not math.isfinite(verdict.score)
        else verdict
        for verdict in verdicts
    ]

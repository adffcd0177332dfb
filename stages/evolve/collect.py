"""Collect: a date keeps all answers to the passages that got several, accepted and rejected, for later training."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from stages.evolve.answer import CollectedAnswer, arrow_schema
from stages.record import FILTER_ERROR
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind
from stages.storage.writer import ShardWriter

COLLECTED = arrow_schema(CollectedAnswer)
_COLUMNS = [
    "id",
    "seed_id",
    "document_id",
    "language",
    "source",
    "task",
    "prompt",
    "answer",
    "output_tokens",
    "adapter",
]


class JudgedFiles(NamedTuple):
    """The files of one shard of candidates, after all stages have judged them."""

    candidates: FileRef
    scores: FileRef | None  # of the screen: who passed the filters
    rejects: FileRef | None  # of the screen
    duplicates: FileRef | None  # the rejects of dedup


class CollectAnswers:
    """Payload: `files`, a JudgedFiles for each shard of candidates; `date`. Writes rows of CollectedAnswer.

    Answers that nobody judged are left out: those of a filter that failed, and edits that were known without the
    generator. `redact(text, language)` masks personal data and secrets in prompts and answers.
    """

    kind = StageKind("answers", shown=False)

    def __init__(self, redact: Callable[[str, str], str]) -> None:
        self._redact = redact

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        for refs in payload["files"]:
            files = JudgedFiles(*(ref and FileRef(*ref) for ref in refs))
            scores = {row["id"]: row["score"] for row in _rows(spec.root, files.scores, ["id", "score"])}
            rejected = _reasons(spec.root, files.rejects)
            duplicates = _reasons(spec.root, files.duplicates)
            rows = (row for row in _rows(spec.root, files.candidates, _COLUMNS) if row["answer"])
            for _, samples in groupby(rows, key=itemgetter("seed_id")):  # they follow each other
                answers = list(samples)
                if len(answers) > 1:
                    judged = self._judged(answers, scores, rejected, duplicates, spec.label, payload["date"])
                    out.rows_in += len(judged)
                    out.keep_rows(judged)
            out.report_progress(out.rows_in)

    def _judged(
        self,
        answers: Sequence[dict[str, Any]],
        scores: dict[str, float],
        rejected: dict[str, str],
        duplicates: dict[str, str],
        domain: str,
        date: str,
    ) -> list[CollectedAnswer]:
        judged = []
        for row in answers:
            accepted = row["id"] in scores
            reason = (duplicates if accepted else rejected).get(row["id"], "")
            if not accepted and (not reason or reason.startswith(FILTER_ERROR)):
                continue
            masked: dict[str, Any] = {
                "prompt": self._masked_prompt(row["prompt"], row["language"]),
                "answer": self._redact(row["answer"], row["language"]),
            }
            score = scores.get(row["id"], 0.0)
            verdict: dict[str, Any] = {"accepted": accepted, "reason": reason, "score": score, "domain": domain, "date": date}
            judged.append(CollectedAnswer(**row | masked | verdict))
        return judged

    def _masked_prompt(self, prompt: str, language: str) -> str:
        messages = json.loads(prompt)
        for message in messages:
            message["content"] = self._redact(message["content"], language)
        return json.dumps(messages, ensure_ascii=False)


def _reasons(root: str, rejects: FileRef | None) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in _rows(root, rejects, ["id", "reason"])}


def _rows(root: str, ref: FileRef | None, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in read_input(root, ref, columns) if ref else ():
        yield from batch.to_pylist()

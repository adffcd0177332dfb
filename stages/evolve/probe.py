"""Probe: several generators write about the same passages, and the filters say what they think of every answer."""

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from configs.schema import Config
from stages.body import PerProcess
from stages.evolve.answer import PLANTED_BAD, PLANTED_GOOD, ProbeAnswer
from stages.generate import Generate
from stages.ports import Filter, Generator, ModelCard, Verdict, judged_by
from stages.record import FILTER_ERROR, Candidate
from stages.screen import judge_all
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

NamedFilters = list[tuple[str, Filter]]
VERIFIER, COPYING = "grounded", "prompt_echo"  # filters whose scores are compared
_SENTENCE = re.compile(r"[^.!?。！？]{40,300}[.!?。！？]")
NOT_AN_ANSWER = frozenset({"no_target"})  # of rejects: nothing was asked


class ProbeGenerate(Generate):
    """As `Generate`, for several generators at once; the payload's `generator` is one of `configs`.

    `configs`: by generator, the configuration with its tasks.
    """

    kind = StageKind("probe-generate", Counts.CANDIDATES, needs_accelerator=True)

    def __init__(
        self,
        configs: Mapping[str, Config],
        card: ModelCard,
        open_generator: Callable[[], Generator],
        redact: Callable[[str, str], str],
    ) -> None:
        super().__init__(next(iter(configs.values())), card, open_generator, redact)
        self._configs = dict(configs)

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        one = copy.copy(self)
        one._config = self._configs[json.loads(spec.payload)["generator"]]
        Generate.process(one, spec, out)


@dataclass(frozen=True, slots=True)
class ProbeFilters:
    """The filters of a run, and those that candidates are measured with beside them."""

    screen: NamedFilters
    hidden: NamedFilters


class JudgeProbes:
    """Payload: `input`, a file of candidates; `rejects`, of the answers that could not be read, or null; `tokens` of
    all of them; `generator`; `plants`, whether answers of known worth are judged with them.

    Writes a ProbeAnswer for each answer. The first filter of the screen that rejects an answer gives its reason; the
    verifier judges every answer, rejected ones too.
    """

    kind = StageKind("probe-screen")

    def __init__(self, build: Callable[[], ProbeFilters]) -> None:
        self._filters: PerProcess[ProbeFilters] = PerProcess("probe filters", build)

    def load(self) -> None:
        self._filters.load()

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        generator, filters, tokens = payload["generator"], self._filters.value, payload["tokens"]
        if payload["input"]:
            for batch in read_input(spec.root, FileRef(*payload["input"]), rows=512):
                out.rows_in += batch.num_rows
                rows = [Candidate(**row) for row in batch.to_pylist()]
                tokens -= sum(row.prompt_tokens + row.output_tokens for row in rows)
                out.keep_rows(judge_answers(filters, generator, rows))
                if payload["plants"]:
                    planted = judge_planted(filters, rows)
                    out.rows_in += len(planted)
                    out.keep_rows(planted)
                out.report_progress(out.rows_in)
        if payload["rejects"]:
            rejects = [
                row for batch in read_input(spec.root, FileRef(*payload["rejects"])) for row in batch.to_pylist()
            ]
            rows = [row for row in rejects if row["reason"] not in NOT_AN_ANSWER]
            out.rows_in += len(rows)
            share = max(tokens, 0) // max(len(rows), 1)  # the files have no count for each of them
            out.keep_rows([_unreadable(generator, spec.label, row, share) for row in rows])


def judge_answers(filters: ProbeFilters, generator: str, rows: Sequence[Candidate]) -> list[ProbeAnswer]:
    """One ProbeAnswer for each candidate, in order."""
    reasons: list[str] = [""] * len(rows)
    scores: list[dict[str, float]] = [{} for _ in rows]
    judged = list(rows)  # with what filters mask
    for name, judge in filters.screen:
        for index, verdict in _verdicts(judge, judged, [not reason or name == VERIFIER for reason in reasons]):
            if isinstance(verdict, Exception):
                reasons[index] = reasons[index] or f"{FILTER_ERROR}{name}"
                continue
            judged[index] = verdict.row or judged[index]
            if verdict.score is not None:
                scores[index][name] = verdict.score
            if verdict.reason is not None:
                reasons[index] = reasons[index] or verdict.reason
    hidden = [not reason for reason in reasons]
    for name, judge in filters.hidden:
        asked = [True] * len(rows) if name == VERIFIER else hidden
        for index, verdict in _verdicts(judge, judged, asked):
            if isinstance(verdict, Exception):
                hidden[index] = False
                continue
            hidden[index] = hidden[index] and verdict.reason is None
            if verdict.score is not None:
                scores[index].setdefault(name, verdict.score)
    return [
        ProbeAnswer(
            generator=generator,
            domain=row.domain,
            seed_id=row.seed_id,
            document_id=row.document_id,
            source=row.source,
            task=row.task,
            text=own_text(row),
            answer=row.reply,
            accepted=not reason,
            reason=reason,
            copied=score.get(COPYING),
            rightness=score.get(VERIFIER),
            hidden=None if reason else passes,
            tokens=row.prompt_tokens + row.output_tokens,
        )
        for row, reason, score, passes in zip(judged, reasons, scores, hidden, strict=True)
    ]


def judge_planted(filters: ProbeFilters, rows: Sequence[Candidate]) -> list[ProbeAnswer]:
    """Answers that are known to be right or wrong, as the verifier judges them: a sentence of the passage itself, and
    one of the next passage. Empty without a verifier."""
    verifiers = [judge for name, judge in (*filters.screen, *filters.hidden) if name == VERIFIER][:1]
    planted: list[ProbeAnswer] = []
    for name, shift in ((PLANTED_GOOD, 0), (PLANTED_BAD, 1)):
        answers = []
        for place, row in enumerate(rows):
            source = rows[(place + shift) % len(rows)]
            sentence = _SENTENCE.search(source.passage)
            if row.writes == "answer" and sentence and (source.seed_id == row.seed_id) == (shift == 0):
                turns = [row.messages[0], {"role": "assistant", "content": sentence[0].strip()}]
                answers.append(replace(row, messages=turns, written=""))
        plain = ProbeFilters([(VERIFIER, judge) for judge in verifiers], [])
        planted += [
            replace(answer, accepted=False, hidden=None, tokens=0) for answer in judge_answers(plain, name, answers)
        ]
    return planted if verifiers else []


def own_text(row: Candidate) -> str:
    """The row's conversation without the passage: what a student learns from the row and not from its document."""
    return "\n".join(turn["content"].replace(row.passage, "").strip() for turn in row.messages)


def _verdicts(judge: Filter, rows: Sequence[Candidate], asked: Sequence[bool]) -> list[tuple[int, Verdict | Exception]]:
    """The filter's verdicts on the rows that it is asked about and judges, each with the row's index."""
    judges = judged_by(judge)
    indices = [index for index, row in enumerate(rows) if asked[index] and row.writes in judges]
    return list(zip(indices, judge_all(judge, [rows[index] for index in indices]), strict=True))


def _unreadable(generator: str, domain: str, row: dict[str, str], tokens: int) -> ProbeAnswer:
    """An answer that is not in the task's form: the files of rejects do not have its document."""
    return ProbeAnswer(
        generator=generator,
        domain=domain,
        seed_id=row["seed_id"],
        document_id="",
        source="",
        task=row["task"] or "",
        text="",
        answer="",
        accepted=False,
        reason=row["reason"],
        copied=None,
        rightness=None,
        hidden=None,
        tokens=tokens,
    )

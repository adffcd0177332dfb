"""Chooses what a candidate is trained on, from the answers of all dates: accepted ones, or pairs with rejected ones."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from configs.schema import Evolve
from stages.evolve.known_answers import KnownAnswer, KnownPassage, answer_key, read_answers, read_known
from stages.evolve.real_text import RealExample, RealTexts
from stages.evolve.roles import Measured, is_held_out
from stages.prompt import read_conversation
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind
from stages.storage.writer import ShardWriter

EXAMPLE = pa.schema(
    [
        ("seed_id", pa.string()),
        ("document_id", pa.string()),
        ("messages", pa.string()),  # JSON: the prompt
        ("answer", pa.string()),
        ("rejected", pa.string()),  # the worse answer; null where there is none
        ("real", pa.bool_()),  # the answer is text of the passage, not of a generator
        ("held_out", pa.bool_()),
    ]
)
CHOICE = pa.schema(  # one row: what was chosen
    [
        ("domain", pa.string()),
        ("kind", pa.string()),
        ("reason", pa.string()),  # why there are no examples; "" where there are
        ("passages", pa.int64()),  # that have answers and are not measured
        ("mixed", pa.int64()),  # of them those with accepted and rejected answers
        ("examples", pa.int64()),
        ("real_examples", pa.int64()),
        ("held_out", pa.int64()),  # examples
        ("measured", pa.int64()),  # answers and passages left out: candidates are measured with them
    ]
)
MAX_HELD_OUT = 256  # generated examples: their loss is measured many times
CHARS_PER_TOKEN = 5  # a high estimate for English, so that lora.max_tokens is reached before all examples are read

Choice = tuple[KnownPassage, tuple[KnownAnswer, ...]]


@dataclass(frozen=True, slots=True)
class _Selection:
    """What is trained on and held out, or the reason why nothing is."""

    train: Sequence[Choice] = ()
    held_out: Sequence[Choice] = ()
    real: Sequence[RealExample] = field(default=())
    reason: str = ""


class ChoosePairs:
    """Payload: `kind` (sft or dpo); `answers`, files of CollectedAnswer of all dates and domains;
    `passages`, files of Seed of the shard's domain; `measured`, those that the date's candidates are measured with.

    Writes rows of EXAMPLE, and one row of CHOICE as the side file `choice`. For sft these are accepted answers to the
    generator's prompts, and real passages; for dpo pairs of answers to one prompt. Nothing about a measured document or
    passage is chosen. The same answers give the same examples, in whatever files and order they are.

    `redact(text, language)` masks personal data and secrets in passages, as the filters do in rows.
    """

    kind = StageKind("pairs")

    def __init__(self, options: Evolve, redact: Callable[[str, str], str]) -> None:
        self._options = options
        self._redact = redact

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        kind = payload["kind"]
        answers, passages, held_back = (
            [FileRef(*ref) for ref in payload[name]] for name in ("answers", "passages", "measured")
        )
        measured = Measured(self._options.measured_share, _ids(spec.root, held_back))
        known = read_known(spec.root, answers, spec.label, measured)
        real = RealTexts(spec.root, passages if kind == "sft" else [], measured, self._redact)
        selection = self._select(kind, known.passages, real)
        rows = [*_generated_rows(spec, answers, [*selection.train, *selection.held_out])]
        rows += map(_real_row, selection.real)
        out.keep(pa.Table.from_pylist(rows, EXAMPLE))
        out.rows_in = known.answers + real.read
        left_out = known.measured + real.measured
        counts = {"measured": left_out, "not_chosen": out.rows_in - left_out - len(rows)}
        out.rejected |= {name: count for name, count in counts.items() if count}
        choice = {
            "domain": spec.label,
            "kind": kind,
            "reason": selection.reason,
            "passages": len(known.passages),
            "mixed": sum(passage.is_mixed for passage in known.passages),
            "examples": len(rows),
            "real_examples": len(selection.real),
            "held_out": sum(row["held_out"] for row in rows),
            "measured": left_out,
        }
        out.side("choice", pa.Table.from_pylist([choice], CHOICE))

    def _select(self, kind: str, passages: Iterable[KnownPassage], real: RealTexts) -> _Selection:
        options, limit = self._options, self._options.rows_per_passage
        real_share = options.real_share if kind == "sft" else 0.0
        choices = [
            (passage, answers)
            for passage in passages
            for answers in (passage.accepted(limit) if kind == "sft" else passage.pairs(limit))
        ]
        train, held_out = self._sides(choices, real_share)
        if len(choices) < options.min_rows or not train or not held_out:
            what = "accepted answers" if kind == "sft" else "pairs of an accepted and a rejected answer"
            return _Selection(
                reason=f"{len(choices)} {what} to learn from, {options.min_rows} are needed (evolve.min_rows)"
            )
        if not real_share:
            return _Selection(train, held_out)
        wanted = [math.ceil(len(side) * real_share / (1 - real_share) - 1e-9) for side in (train, held_out)]
        real_train, real_held_out = real.choose(*wanted)
        if len(real_train) < wanted[0]:
            train = train[: math.floor(len(real_train) * (1 - real_share) / real_share + 1e-9)]
            if not train or len(train) + len(held_out) < options.min_rows:
                reason = (
                    f"{len(real_train)} real passages to learn from: with evolve.real_share {real_share:g} they allow "
                    f"{len(train)} accepted answers, {options.min_rows} are needed (evolve.min_rows)"
                )
                return _Selection(reason=reason)
        return _Selection(train, held_out, [*real_train, *real_held_out])

    def _sides(self, choices: Iterable[Choice], real_share: float) -> tuple[list[Choice], list[Choice]]:
        """What is trained on, up to the characters of `lora.max_tokens` less the real share, and what is held out."""
        budget = self._options.lora.max_tokens * CHARS_PER_TOKEN * (1 - real_share)
        train: list[Choice] = []
        held_out: list[Choice] = []
        for passage, answers in choices:
            if is_held_out(passage.document_id):
                if len(held_out) < MAX_HELD_OUT:
                    held_out.append((passage, answers))
            elif budget > 0:
                train.append((passage, answers))
                budget -= sum(answer.chars for answer in answers)
        return train, held_out


def _ids(root: str, files: Iterable[FileRef]) -> frozenset[str]:
    """The ids of passages."""
    return frozenset(
        identity for ref in files for batch in read_input(root, ref, ["id"]) for identity in batch["id"].to_pylist()
    )


def _generated_rows(spec: ShardSpec, files: Sequence[FileRef], choices: Sequence[Choice]) -> Iterable[dict[str, Any]]:
    """The rows of EXAMPLE of the choices. Their texts are read from the files."""
    wanted = {answer.key for _, answers in choices for answer in answers}
    texts: dict[str, tuple[list[dict[str, str]], str]] = {}
    for row in (
        read_answers(spec.root, files, spec.label, ["seed_id", "prompt", "answer", "language"]) if wanted else ()
    ):
        key = answer_key(row)
        if key in wanted and key not in texts:
            texts[key] = read_conversation(row["prompt"], row["answer"], row["language"])
    for passage, answers in choices:
        (messages, answer), *rejected = (texts[known.key] for known in answers)
        yield {
            "seed_id": passage.seed_id,
            "document_id": passage.document_id,
            "messages": json.dumps(messages, ensure_ascii=False),
            "answer": answer,
            "rejected": rejected[0][1] if rejected else None,
            "real": False,
            "held_out": is_held_out(passage.document_id),
        }


def _real_row(example: RealExample) -> dict[str, Any]:
    return {
        "seed_id": example.seed_id,
        "document_id": example.document_id,
        "messages": json.dumps([{"role": "user", "content": example.prompt}], ensure_ascii=False),
        "answer": example.answer,
        "rejected": None,
        "real": True,
        "held_out": is_held_out(example.document_id),
    }

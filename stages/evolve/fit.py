"""Trains a domain's candidate: an adapter on accepted answers, or on pairs of an accepted and a rejected answer."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.ports import Adapter, AdapterTrainer, Preference, Training, TrainingRefused
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind
from stages.storage.writer import ShardWriter

FIT = pa.schema(
    [
        ("domain", pa.string()),
        ("kind", pa.string()),  # sft | dpo
        ("trained", pa.bool_()),  # there is an adapter that is better than the start on held-out examples
        ("reason", pa.string()),  # for people: what was gained, or why there is no adapter
        ("name", pa.string()),
        ("sha256", pa.string()),
        ("path", pa.string()),  # relative to the data set's root
        ("start", pa.string()),  # the name of the adapter that it started from; null: the base model
        ("losses", pa.list_(pa.struct([("step", pa.int64()), ("loss", pa.float64())]))),  # of held-out examples
        ("loss_before", pa.float64()),
        ("loss_after", pa.float64()),
        ("accuracy", pa.float64()),  # dpo: share of held-out pairs whose chosen answer gained more
        ("chosen_change", pa.float64()),  # dpo: of held-out chosen answers' log-probability, in nats per token
        ("steps", pa.int64()),
        ("best_step", pa.int64()),
        ("examples", pa.int64()),  # to train on
        ("real_examples", pa.int64()),  # of them with real text as the answer
        ("held_out_rows", pa.int64()),
        ("left_out_as_measured", pa.int64()),  # answers and real passages that candidates are measured with
        ("tokens", pa.int64()),
    ]
)


@dataclass(slots=True)
class _Examples:
    """Committed rows of EXAMPLE, in memory."""

    train: list[dict[str, Any]] = field(default_factory=list)
    held_out: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, root: str, files: Iterable[FileRef]) -> "_Examples":
        examples = cls()
        for ref in files:
            for batch in read_input(root, ref, ["messages", "answer", "rejected", "real", "held_out"]):
                for row in batch.to_pylist():
                    row["messages"] = json.loads(row["messages"])
                    (examples.held_out if row["held_out"] else examples.train).append(row)
        return examples


class FitCandidate:
    """Payload: `kind` (sft or dpo); `examples`, files of EXAMPLE; `choices`, files of CHOICE; `start`, null or the
    adapter that dpo starts from: name, sha256 and path relative to the root. sft starts from the base model.

    Writes one row of FIT. It is without an adapter where there are no examples, where the training is refused, and
    where no step was better than the start: `reason` says so. How long it took is in the shard's record, so that the
    row is the same each time.
    """

    kind = StageKind("fit", needs_accelerator=True)

    def __init__(self, open_trainer: Callable[[], AdapterTrainer | None], folder: str) -> None:
        self._open = open_trainer
        self._folder = folder

    def load(self) -> None:
        self._trainer = self._open()

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        out.rows_in = 1
        examples = _Examples.read(spec.root, [FileRef(*ref) for ref in payload["examples"]])
        start = _start(spec.root, payload["start"]) if payload["kind"] == "dpo" else None
        choices = _choices(spec.root, [FileRef(*ref) for ref in payload["choices"]])
        row: dict[str, Any] = dict.fromkeys(FIT.names) | {
            "domain": spec.label,
            "kind": payload["kind"],
            "trained": False,
            "start": start and start.name,
            "examples": len(examples.train),
            "real_examples": sum(example["real"] for example in examples.train),
            "left_out_as_measured": sum(choice["measured"] for choice in choices),
        }
        if self._trainer is None:
            row["reason"] = "this backend cannot train adapters"
        elif not examples.train or not examples.held_out:
            reasons = [choice["reason"] for choice in choices if choice["reason"]]
            row["reason"] = "; ".join(reasons) or "no examples to learn from"
        else:
            try:
                training = self._fit(self._trainer, spec, payload["kind"], examples, start)
                row |= _figures(training, spec.root)
            except TrainingRefused as error:
                row["reason"] = str(error)
        out.keep(pa.Table.from_pylist([row], FIT))

    def _fit(
        self, trainer: AdapterTrainer, spec: ShardSpec, kind: str, examples: _Examples, start: Adapter | None
    ) -> Training:
        folder = Path(spec.root, self._folder)
        if kind == "dpo":
            train, held_out = (
                [Preference(row["messages"], row["answer"], row["rejected"]) for row in rows]
                for rows in (examples.train, examples.held_out)
            )
            return trainer.prefer(spec.label, train, held_out, folder, start)
        learnt, judged = (
            [[*row["messages"], {"role": "assistant", "content": row["answer"]}] for row in rows]
            for rows in (examples.train, examples.held_out)
        )
        return trainer.train(spec.label, learnt, judged, folder, keep_best=True)


def _start(root: str, adapter: dict[str, str] | None) -> Adapter | None:
    return None if adapter is None else Adapter(adapter["name"], str(Path(root, adapter["path"])), adapter["sha256"])


def _choices(root: str, files: Iterable[FileRef]) -> list[dict[str, Any]]:
    """How the examples were chosen: why there are none, and how much was left out."""
    columns = ["reason", "measured"]
    return [row for ref in files for batch in read_input(root, ref, columns) for row in batch.to_pylist()]


def _figures(training: Training, root: str) -> dict[str, Any]:
    change = f"held-out loss {training.loss_before:.4f} -> {training.loss_after:.4f}"
    figures = {name: value for name, value in asdict(training).items() if name in FIT.names}
    figures["losses"] = [{"step": step, "loss": loss} for step, loss in training.losses or ()]
    if not training.best_step:
        lowest = min((loss for step, loss in training.losses or () if step), default=math.nan)
        change = f"held-out loss {training.loss_before:.4f} at the start, {lowest:.4f} at the best step"
        return figures | {"reason": f"{change}: no better, so there is no candidate"}
    return figures | {
        "trained": True,
        "reason": f"{change} after {training.best_step} of {training.steps} steps",
        "name": training.adapter.name,
        "sha256": training.adapter.sha256,
        "path": str(Path(training.adapter.path).relative_to(root)),
    }

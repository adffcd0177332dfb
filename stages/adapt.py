"""Adapt: trains a LoRA adapter per domain on the first round's accepted rows; it is used if held-out loss falls."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from configs.schema import Adapt as Options
from stages.ports import AdapterTrainer, Training
from stages.prompt import read_conversation
from stages.record import uniform
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind
from stages.storage.writer import ShardWriter

ADAPTER = pa.schema(
    [
        ("domain", pa.string()),
        ("used", pa.bool_()),
        ("reason", pa.string()),
        ("name", pa.string()),
        ("sha256", pa.string()),
        ("path", pa.string()),  # relative to the data set's root
        ("loss_before", pa.float64()),
        ("loss_after", pa.float64()),
        ("train_rows", pa.int64()),
        ("held_out_rows", pa.int64()),
        ("tokens", pa.int64()),
        ("trainable_parameters", pa.int64()),
        ("total_parameters", pa.int64()),
    ]
)
MIN_CHARS_PER_TOKEN = 2  # a low estimate for any language; bounds what is read into memory


class TrainAdapter:
    """Payload: `inputs`, files of accepted rows. Writes one row of ADAPTER.

    An adapter learns the generator's own part: the prompt of an accepted row and the raw answer. `redact(text,
    language)` masks personal data and secrets in both, as the filters do in the row.
    """

    kind = StageKind("adapt", needs_accelerator=True)

    def __init__(
        self,
        options: Options,
        open_trainer: Callable[[], AdapterTrainer | None],
        folder: str,
        redact: Callable[[str, str], str],
    ) -> None:
        self._options = options
        self._redact = redact
        self._open = open_trainer
        self._folder = folder

    def load(self) -> None:
        self._trainer = self._open()

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        out.rows_in = 1
        train, held_out = self._split(spec.root, [FileRef(*ref) for ref in payload["inputs"]])
        written = len(train) + len(held_out)  # accepted rows in which the generator wrote something
        row: dict[str, object] = dict.fromkeys(ADAPTER.names) | {"domain": spec.label, "used": False}
        if self._trainer is None:
            row["reason"] = "this backend cannot train adapters"
        elif written < self._options.min_rows or not held_out or not train:
            row["reason"] = (
                f"{written} accepted rows to learn from, {self._options.min_rows} are needed (adapt.min_rows)"
            )
        else:
            training = self._trainer.train(spec.label, train, held_out, Path(spec.root, self._folder))
            row |= self._decision(training, spec.root)
        out.keep(pa.Table.from_pylist([row], ADAPTER))

    def _decision(self, training: Training, root: str) -> dict[str, object]:
        figures = {name: value for name, value in asdict(training).items() if name in ADAPTER.names}
        better = training.loss_after < training.loss_before
        change = f"held-out loss {training.loss_before:.4f} -> {training.loss_after:.4f}"
        return figures | {
            "used": better,
            "reason": change if better else f"{change}: no better, so not used",
            "name": training.adapter.name,
            "sha256": training.adapter.sha256,
            "path": str(Path(training.adapter.path).relative_to(root)),
        }

    def _split(self, root: str, inputs: list[FileRef]) -> tuple[list[list[dict]], list[list[dict]]]:
        """Conversations to train on and to hold out. Divided by a hash of the passage: none is on both sides."""
        budget = self._options.lora.max_tokens * MIN_CHARS_PER_TOKEN * 4
        train: list[list[dict]] = []
        held_out: list[list[dict]] = []
        for seed_id, messages in self._read(root, inputs):
            is_held_out = uniform("held-out", seed_id) < self._options.held_out
            (held_out if is_held_out else train).append(messages)
            budget -= sum(len(message["content"]) for message in messages)
            if budget < 0:
                break
        return train, held_out

    def _read(self, root: str, inputs: list[FileRef]) -> Iterator[tuple[str, list[dict]]]:
        for ref in inputs:
            for batch in read_input(root, ref, ["seed_id", "language", "prompt", "answer"], rows=256):
                for row in batch.to_pylist():
                    if not row["answer"]:  # the edit of a sentence was known without the generator
                        continue
                    messages, answer = read_conversation(row["prompt"], row["answer"], row["language"])
                    messages.append({"role": "assistant", "content": answer})
                    for message in messages:
                        message["content"] = self._redact(message["content"], row["language"])
                    yield row["seed_id"], messages

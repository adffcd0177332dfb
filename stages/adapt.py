"""Adapt: one LoRA adapter a domain from the first round's accepted rows, used only if it helps on held-out rows."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from configs.schema import Adapt as Options
from stages.ports import AdapterTrainer, Training
from stages.record import content_id
from stages.storage.records import FileRef, ShardSpec, read_input
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
CHARS_PER_TOKEN = 2  # a floor over languages, to bound what is read into memory


class Train:
    """The body of the stage. Payload: `inputs` file refs. Writes one row of ADAPTER."""

    def __init__(self, options: Options, open_trainer: Callable[[], AdapterTrainer | None], folder: str) -> None:
        self._options = options
        self._open = open_trainer
        self._folder = folder

    def open(self) -> None:
        self._trainer = self._open()

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        out.rows_in = 1
        train, held_out = self._split(spec.root, [FileRef(*ref) for ref in payload["inputs"]])
        accepted = sum(ref[2] for ref in payload["inputs"])
        row: dict[str, object] = dict.fromkeys(ADAPTER.names) | {"domain": spec.label, "used": False}
        if self._trainer is None:
            row["reason"] = "this backend cannot train adapters"
        elif accepted < self._options.min_rows or not held_out or not train:
            row["reason"] = f"{accepted} accepted rows, {self._options.min_rows} are needed (adapt.min_rows)"
        else:
            done = self._trainer.train(spec.label, train, held_out, Path(spec.root, self._folder))
            row |= self._judge(done, spec.root)
            out.count(tokens=done.tokens)
        out.keep(pa.Table.from_pylist([row], ADAPTER))

    def _judge(self, done: Training, root: str) -> dict[str, object]:
        figures = {name: value for name, value in asdict(done).items() if name in ADAPTER.names}
        better = done.loss_after < done.loss_before
        change = f"held-out loss {done.loss_before:.4f} -> {done.loss_after:.4f}"
        return figures | {
            "used": better,
            "reason": change if better else f"{change}: no better, so not used",
            "name": done.adapter.name,
            "sha256": done.adapter.sha256,
            "path": str(Path(done.adapter.path).relative_to(root)),
        }

    def _split(self, root: str, inputs: list[FileRef]) -> tuple[list[list[dict]], list[list[dict]]]:
        """Conversations to train on and to hold out, by seed: no passage is on both sides."""
        budget = self._options.lora.max_tokens * CHARS_PER_TOKEN * 4
        train: list[list[dict]] = []
        held_out: list[list[dict]] = []
        for seed_id, messages in self._read(root, inputs):
            aside = int(content_id("held-out", seed_id)[:8], 16) / 2**32 < self._options.held_out
            (held_out if aside else train).append(messages)
            budget -= sum(len(message["content"]) for message in messages)
            if budget < 0:
                break
        return train, held_out

    def _read(self, root: str, inputs: list[FileRef]) -> Iterator[tuple[str, list[dict]]]:
        for ref in inputs:
            for batch in read_input(root, ref, ["seed_id", "messages"], rows=256):
                yield from zip(batch["seed_id"].to_pylist(), batch["messages"].to_pylist(), strict=True)

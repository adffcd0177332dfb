"""The fit stage: what it gives the trainer, and what it says where there is no candidate."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.schema import Lora
from model.backends import open_trainer
from stages.evolve.fit import FIT, FitCandidate
from stages.evolve.pairs import CHOICE, EXAMPLE
from stages.ports import Adapter, ModelCard, Preference, Training, TrainingRefused
from stages.storage.checksum import sha256_file
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter

ASKED = [{"role": "user", "content": "Why?"}]
LOSSES = ((0, 2.0), (10, 1.5), (20, 1.75))
START = {"name": "law@abc", "sha256": "abc", "path": "adapters/abc"}


class Trainer:
    """Implements stages.ports.AdapterTrainer; remembers what it was given."""

    def __init__(self, losses=LOSSES, refusal=None):
        self.losses, self.refusal, self.calls = losses, refusal, []

    def train(self, domain, rows, held_out, folder, *, keep_best=False):
        return self._result(domain, folder, ("train", rows, held_out, keep_best))

    def prefer(self, domain, pairs, held_out, folder, start=None):
        return self._result(domain, folder, ("prefer", pairs, held_out, start))

    def _result(self, domain, folder, call):
        self.calls.append(call)
        if self.refusal:
            raise TrainingRefused(self.refusal)
        adapter = Adapter(f"{domain}@def", str(folder / "def"), "def")
        step, loss = min(self.losses, key=lambda item: item[1])
        last = self.losses[-1][0]
        return Training(
            adapter, self.losses[0][1], loss, 8, 1, 99, 10, 1000, steps=last, best_step=step, losses=self.losses
        )


def example(number, *, held_out=False, rejected=None, real=False):
    return {
        "seed_id": f"seed {number}",
        "document_id": f"document {number}",
        "messages": json.dumps(ASKED),
        "answer": f"It holds for case {number}.",
        "rejected": rejected,
        "real": real,
        "held_out": held_out,
    }


SFT = [*(example(n, real=n < 3) for n in range(8)), example(8, held_out=True)]
DPO = [example(n, rejected=f"Nobody knows case {n}.", held_out=n > 6) for n in range(9)]


def fitted(root: Path, trainer, kind, examples, reason="", start=None):
    """The one row that the stage writes, from files of examples and of the choice."""
    tables = {
        "examples": pa.Table.from_pylist(examples, EXAMPLE),
        "choices": pa.Table.from_pylist(
            [dict.fromkeys(CHOICE.names) | {"domain": "law", "reason": reason, "measured": 5}], CHOICE
        ),
    }
    payload = {"kind": kind, "start": start}
    for name, table in tables.items():
        pq.write_table(table, root / f"{name}.parquet")
        payload[name] = [FileRef(f"{name}.parquet", sha256_file(root / f"{name}.parquet"), table.num_rows)]
    out = ShardWriter(
        spec := ShardSpec(str(root), "evolve/D/stages/fit", 0, 1, "f", 1, json.dumps(payload), "law"), FIT
    )
    body = FitCandidate(lambda: trainer, "adapters")
    body.load()
    body.process(spec, out)
    record = out.commit()
    assert record.kept is not None
    (row,) = pq.read_table(root / record.kept.file).to_pylist()
    return row


def test_accepted_answers_and_real_text_are_learnt_from_the_base(tmp_path):
    trainer = Trainer()
    row = fitted(tmp_path, trainer, "sft", SFT, start=START)
    ((what, rows, held_out, keep_best),) = trainer.calls
    assert (what, keep_best) == ("train", True)
    assert rows[0] == [*ASKED, {"role": "assistant", "content": "It holds for case 0."}]
    assert (len(rows), len(held_out)) == (8, 1)
    assert row == dict.fromkeys(FIT.names) | {
        "domain": "law", "kind": "sft", "trained": True,
        "reason": "held-out loss 2.0000 -> 1.5000 after 10 of 20 steps",
        "name": "law@def", "sha256": "def", "path": "adapters/def", "loss_before": 2.0, "loss_after": 1.5,
        "losses": [{"step": step, "loss": loss} for step, loss in LOSSES], "steps": 20, "best_step": 10,
        "examples": 8, "real_examples": 3, "held_out_rows": 1, "tokens": 99,
        "left_out_as_measured": 5,
    }  # fmt: skip


def test_pairs_are_learnt_from_the_champion(tmp_path):
    trainer = Trainer()
    row = fitted(tmp_path, trainer, "dpo", DPO, start=START)
    ((what, pairs, held_out, start),) = trainer.calls
    assert what == "prefer"
    assert pairs[0] == Preference(ASKED, "It holds for case 0.", "Nobody knows case 0.")
    assert (len(pairs), len(held_out)) == (7, 2)
    assert start == Adapter("law@abc", str(tmp_path / "adapters/abc"), "abc")
    assert (row["trained"], row["start"], row["real_examples"]) == (True, "law@abc", 0)
    assert fitted(tmp_path, trainer, "dpo", DPO)["start"] is None


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        (((0, 2.0), (10, 2.5), (20, 2.25)), "held-out loss 2.0000 at the start, 2.2500 at the best step: no better"),
        (((0, 2.0), (10, math.nan)), "held-out loss 2.0000 at the start, nan at the best step: no better"),
    ],
)
def test_a_training_that_does_not_help_makes_no_candidate(tmp_path, losses, reason):
    row = fitted(tmp_path, Trainer(losses), "sft", SFT)
    assert row["reason"].startswith(reason)
    assert (row["trained"], row["name"], row["path"], row["best_step"]) == (False, None, None, 0)


def test_a_refused_training_says_why(tmp_path):
    row = fitted(tmp_path, Trainer(refusal="the chosen answers became less likely"), "dpo", DPO)
    assert (row["trained"], row["reason"], row["sha256"]) == (False, "the chosen answers became less likely", None)


@pytest.mark.parametrize(
    ("examples", "told", "reason"),
    [
        ([], "3 accepted answers to learn from, 64 are needed", "3 accepted answers to learn from, 64 are needed"),
        ([], "", "no examples to learn from"),
        (SFT[:8], "", "no examples to learn from"),
    ],
)
def test_too_few_examples_train_nothing(tmp_path, examples, told, reason):
    trainer = Trainer()
    row = fitted(tmp_path, trainer, "sft", examples, reason=told)
    assert trainer.calls == []
    assert (row["trained"], row["reason"]) == (False, reason)


def test_a_backend_without_training_says_so(tmp_path):
    row = fitted(tmp_path, None, "sft", SFT)
    assert (row["trained"], row["reason"]) == (False, "this backend cannot train adapters")


@pytest.mark.parametrize(("kind", "examples"), [("sft", SFT), ("dpo", DPO)])
def test_with_a_real_trainer_the_adapter_is_in_the_data_set(tmp_path, kind, examples):
    trainer = open_trainer(Lora(max_tokens=10_000), ModelCard("echo", "0" * 64, "echo", "", 0), 1, 17)
    row = fitted(tmp_path, trainer, kind, examples)
    assert row["trained"] is True
    assert Path(tmp_path, row["path"], "adapter_model.safetensors").exists()
    assert row["path"] == f"adapters/{row['sha256']}"
    again = fitted(tmp_path, trainer, kind, examples, start=row if kind == "dpo" else None)
    assert (again["sha256"] == row["sha256"]) is (kind == "sft")

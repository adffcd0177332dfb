"""The adapt stage's decision, with trainers of the port that say what they are told to say."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.schema import Adapt
from stages.adapt import ADAPTER, TrainAdapter
from stages.ports import Adapter, Training
from stages.record import CANDIDATE
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter

ANSWER = "{} answer {}"
ASKED = json.dumps([{"role": "user", "content": "Why?"}])
OPTIONS = Adapt(min_rows=8, held_out=0.3)


class Trainer:
    """Implements stages.ports.AdapterTrainer; remembers what it was given."""

    def __init__(self, before, after):
        self._losses = before, after
        self.calls = []

    def train(self, domain, rows, held_out, folder):
        self.calls.append((domain, rows, held_out, folder))
        adapter = Adapter(f"{domain}@abc", str(folder / "abc"), "abc")
        return Training(adapter, *self._losses, len(rows), len(held_out), 123, 10, 1000)


def accepted(root, count):
    """A committed shard of two answers a seed."""
    spec = ShardSpec(str(root), "runs/dedup", 0, 1, "f", count, "{}", "law")
    out = ShardWriter(spec, CANDIDATE)
    rows = [
        dict.fromkeys(CANDIDATE.names)
        | {"seed_id": f"seed {n // 2}", "language": "en", "prompt": ASKED, "answer": ANSWER.format(n // 2, n)}
        for n in range(count)
    ]
    out.rows_in = count
    out.keep(pa.Table.from_pylist(rows, CANDIDATE))
    return out.commit().kept


def trained(root, count, trainer):
    """The one row that the stage writes."""
    refs = [accepted(root, count)] if count else []
    spec = ShardSpec(str(root), "runs/adapt", 0, 1, "f", 1, json.dumps({"inputs": refs}), "law")
    out = ShardWriter(spec, ADAPTER)
    body = TrainAdapter(OPTIONS, lambda: trainer, "adapters", lambda text, language: text.replace("answer", "reply"))
    body.load()
    body.process(spec, out)
    record = out.commit()
    (row,) = pq.read_table(Path(root, record.kept.file)).to_pylist()
    return row


@pytest.mark.parametrize("after", [2.0, 2.5, float("nan")])
def test_an_adapter_that_does_not_help_is_not_used_and_says_why(tmp_path, after):
    row = trained(tmp_path, 40, Trainer(2.0, after))
    assert row["used"] is False
    assert row["reason"] == f"held-out loss 2.0000 -> {after:.4f}: no better, so not used"
    assert (row["domain"], row["name"], row["path"]) == ("law", "law@abc", "adapters/abc")
    assert (row["loss_before"], row["tokens"]) == (2.0, 123)


def test_an_adapter_that_helps_is_used(tmp_path):
    trainer = Trainer(2.0, 1.9)
    row = trained(tmp_path, 40, trainer)
    assert row["used"] is True
    assert row["reason"] == "held-out loss 2.0000 -> 1.9000"
    ((domain, train, held_out, folder),) = trainer.calls
    assert (domain, folder) == ("law", tmp_path / "adapters")
    assert (row["train_rows"], row["held_out_rows"]) == (len(train), len(held_out))
    assert len(train) + len(held_out) == 40
    sides = [{rows[-1]["content"].split()[0] for rows in side} for side in (train, held_out)]
    assert all(sides)
    assert not sides[0] & sides[1]  # no seed is trained on and judged by


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_rows_train_nothing(tmp_path, count):
    trainer = Trainer(2.0, 1.0)
    row = trained(tmp_path, count, trainer)
    assert trainer.calls == []
    assert row["used"] is False
    assert row["reason"] == f"{count} accepted rows to learn from, 8 are needed (adapt.min_rows)"
    assert (row["name"], row["loss_after"], row["tokens"]) == (None, None, None)
    assert not os.path.exists(tmp_path / "adapters")


def test_rows_in_which_the_generator_wrote_nothing_are_not_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.stages.test_adapt.ANSWER", "")
    trainer = Trainer(2.0, 1.0)
    assert trained(tmp_path, 40, trainer)["reason"].startswith("0 accepted rows to learn from")
    assert trainer.calls == []


def test_a_backend_without_training_says_so(tmp_path):
    row = trained(tmp_path, 40, None)
    assert (row["used"], row["reason"]) == (False, "this backend cannot train adapters")

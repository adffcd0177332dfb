"""Training: exact resume, the same curve on more ranks, keys that matter, and errors that lose nothing."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.factories.command_line import ROOT, call, command, environment
from tests.factories.documents import passage
from tests.factories.token_files import documents_of, write_tokens
from tests.factories.trainings import configured, curve, train_small, write_shard

torch = pytest.importorskip("torch")
from configs.errors import BackendError, ConfigError, InputError, StoreError  # noqa: E402
from configs.schema.training import Schedule  # noqa: E402
from model.training import checkpoint, held_out  # noqa: E402
from model.training.optimizers import learning_rate_factor  # noqa: E402

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two shards of 60 short documents."""
    folder = tmp_path_factory.mktemp("shards")
    write_shard(folder / "law.parquet", "law", range(60))
    write_shard(folder / "medicine.parquet", "medicine", range(60, 120))
    return folder


def run(folder, shards, *changes: str) -> list[dict]:
    """Trains in this process; the lines of metrics."""
    lines: list[dict] = []
    train_small(folder, shards, *changes, watch=lines.append)
    return lines


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, shards)
    return folder


def test_the_loss_falls_and_what_it_leaves_loads(undisturbed) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    losses = [loss for _, loss, _, _ in curve(undisturbed) if loss is not None]
    assert losses[-1] < losses[0] - 0.5
    out = undisturbed / "out"
    result = json.loads((out / "result.json").read_text())
    assert (result["steps"], result["tokens"]) == (12, 12 * 8 * 64)
    assert result["perplexity"] == pytest.approx(math.exp(curve(undisturbed)[-1][3]))
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    text = tokenizer("The court of the", return_tensors="pt")
    assert model.generate(**text, max_new_tokens=4, do_sample=False).shape[1] == text["input_ids"].shape[1] + 4
    assert (out / "curves.png").stat().st_size > 5_000
    assert [path.name for path in sorted((out / "checkpoints").iterdir())] == ["step-00000009", "step-00000012"]


@pytest.mark.parametrize("steps", [7, pytest.param(4, marks=pytest.mark.slow)])
def test_kill_9_and_go_on_gives_the_same_curve_bit_by_bit(undisturbed, shards, tmp_path, steps) -> None:
    configured(tmp_path)
    line = ("train", "--config", tmp_path / "small.yaml", "--data", shards, "--json")
    process = subprocess.Popen(command(*line), env=environment(), stdout=-1, stderr=-1, text=True)
    metrics = tmp_path / "out" / "metrics.jsonl"
    for _ in range(6000):
        if metrics.exists() and metrics.read_text().count('"loss"') >= steps:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.latest(tmp_path / "out").step < 12
    result = call(*line)
    assert result.code == 0, result.err
    assert curve(tmp_path) == curve(undisturbed)


@pytest.mark.slow
def test_four_ranks_walk_the_same_curve(undisturbed, shards, tmp_path) -> None:
    configured(tmp_path)
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4", "--master-port", "29571"]
    line += ["-m", "pipeline", "train", "--config", str(tmp_path / "small.yaml"), "--data", str(shards)]
    result = subprocess.run(line, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    one, four = curve(undisturbed), curve(tmp_path)
    assert [row[0] for row in one] == [row[0] for row in four]
    for a, b in zip(one, four, strict=True):
        assert a[1] == pytest.approx(b[1], abs=2e-3) if a[1] else a[3] == pytest.approx(b[3], abs=2e-3)


def test_a_finished_run_is_left_alone(undisturbed, shards) -> None:
    before = curve(undisturbed)
    assert run(undisturbed, shards) == []
    assert curve(undisturbed) == before


def test_a_checkpoint_of_another_configuration_is_refused(shards, tmp_path) -> None:
    run(tmp_path, shards, "steps=3")
    with pytest.raises(ConfigError, match="another configuration"):
        run(tmp_path, shards, "steps=3", "seed=2")


@pytest.mark.parametrize(
    "change",
    [
        "seed=2",
        "data.vocabulary=310",
        "data.held_out=0.3",
        "model.num_hidden_layers=1",
        "model.attention=dense",
        "model.top=4",
        "model.gate_dim=4",
        "batch.length=48",
        "batch.sequences=4",
        "optimizer={name: adamw, learning_rate: 0.003}",
        "optimizer.learning_rate=0.001",
        "optimizer.matrix_learning_rate=0.01",
        "optimizer.weight_decay=5",
        "optimizer.betas=[0.5, 0.9]",
        "optimizer.clip=0.01",
        "schedule={kind: cosine, warmup: 2}",
        "schedule.warmup=1",
        "schedule.decay=1.0",
        "schedule={kind: wsd, warmup: 2, decay: 1.0, floor: 0.9}",
        "precision=bfloat16",
    ],
)
def test_each_key_changes_the_curve(plain, shards, tmp_path, change) -> None:
    lines = run(tmp_path, shards, "steps=5", change)
    assert [x.get("held_out") for x in lines if "held_out" in x] != plain


@pytest.fixture(scope="module")
def plain(shards, tmp_path_factory):
    lines = run(tmp_path_factory.mktemp("plain"), shards, "steps=5")
    return [x.get("held_out") for x in lines if "held_out" in x]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("modle={preset: tiny}", "unknown key, did you mean 'model'"),
        ("model={preset: huge}", "model.preset"),
        ("data={}", "either tokenizer"),
        ("data={vocabulary: 500, eos: x}", "eos belongs"),
        ("batch.micro=3", "multiple of batch.micro"),
        ("schedule.warmup=12", "below steps"),
        ("schedule={kind: cosine, decay: 0.5, warmup: 1}", "decay is the wsd"),
        ("optimizer={name: adamw, learning_rate: 1, matrix_learning_rate: 1}", "Muon's"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path, change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [("model.heads=3", "model.heads: unknown key"), ("model.num_attention_heads=3", "model: hidden_size")],
)
def test_a_model_that_cannot_be_is_refused(shards, tmp_path, change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, shards, change)


def test_a_loss_that_is_no_number_stops_and_keeps_what_was_saved(shards, tmp_path) -> None:
    with pytest.raises(BackendError, match=r"lower optimizer\.learning_rate"):
        run(
            tmp_path,
            shards,
            "optimizer={name: adamw, learning_rate: 1.0e+30}",
            "schedule.warmup=0",
            "checkpoints.every=1",
        )
    assert checkpoint.latest(tmp_path / "out").step >= 1


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(undisturbed, shards, tmp_path) -> None:
    run(tmp_path, shards, "steps=12")
    newest = tmp_path / "out" / "checkpoints" / "step-00000012"
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"damaged .*remove .*step-00000012"):
        run(tmp_path, shards)
    import shutil

    shutil.rmtree(newest)
    run(tmp_path, shards)
    assert curve(tmp_path) == curve(undisturbed)


def test_only_the_first_rank_removes_leftovers(undisturbed, shards) -> None:
    leftover = undisturbed / "out" / "checkpoints" / ".tmp-of-a-killed-process"
    leftover.mkdir()
    assert checkpoint.latest(undisturbed / "out").step == 12  # what every rank calls
    assert leftover.is_dir()
    run(undisturbed, shards)
    assert not leftover.exists()


@pytest.mark.parametrize("call", ["torch.save", "os.replace"])
def test_a_full_disk_while_saving_keeps_the_checkpoint_before(undisturbed, shards, tmp_path, monkeypatch, call) -> None:
    real = {"torch.save": torch.save, "os.replace": os.replace}[call]

    def full(*arguments, **options):
        if "step-00000006" in str(arguments) or (tmp_path / "out/checkpoints/step-00000003").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(StoreError, match=r"step-00000006: cannot be written .*No space left"):
            run(tmp_path, shards)
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-00000003"]
    run(tmp_path, shards)
    assert curve(tmp_path) == curve(undisturbed)


def test_what_is_no_shard_is_named(tmp_path, capsys) -> None:
    from pipeline.cli import main

    configured(tmp_path)
    config = str(tmp_path / "small.yaml")
    assert main(["train", "--config", config, "--data", str(tmp_path / "nowhere")]) == 2
    assert "--data: no such file or folder" in capsys.readouterr().err
    pq.write_table(pa.table({"words": ["a"]}), tmp_path / "a.parquet")
    assert main(["train", "--config", config, "--data", str(tmp_path / "a.parquet")]) == 1
    assert "no column `text`" in capsys.readouterr().err


def test_a_split_without_rows_is_refused_before_the_first_step(tmp_path) -> None:
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.table({"text": [passage(0)]}), tmp_path / "shards" / "one.parquet")
    with pytest.raises(InputError, match=r"no (held_out|train) documents .* change data.held_out"):
        run(tmp_path, tmp_path / "shards")
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def unigram_by_hand(trained: list[list[int]], held: list[list[int]], size: int) -> float:
    counts = [1 + sum(document.count(token) for document in trained) for token in range(size)]
    losses = [-math.log(counts[token] / sum(counts)) for document in held for token in document]
    return sum(losses) / len(losses)


def test_the_unigram_baseline_counts_every_nth_row_group_of_too_many(tmp_path, monkeypatch) -> None:
    groups = [documents_of([10], first) for first in range(1, 9)]
    files = [
        write_tokens(tmp_path / "a.parquet", groups[:5], vocabulary=16, held_out=(1,)),
        write_tokens(tmp_path / "b.parquet", groups[5:], vocabulary=16, held_out=(2,)),
    ]
    trained, held = [groups[place][0] for place in (0, 2, 3, 4, 5, 6)], [groups[1][0], groups[7][0]]
    assert held_out.unigram_loss(files, 16) == pytest.approx(unigram_by_hand(trained, held, 16))
    counted: list[int] = []
    count_tokens = held_out._count_tokens
    monkeypatch.setattr(held_out, "MAX_UNIGRAM_TOKENS", 20)  # of 60
    monkeypatch.setattr(
        held_out, "_count_tokens", lambda *given: (found := count_tokens(*given), counted.append(int(found.sum())))[0]
    )
    assert held_out.unigram_loss(files, 16) == pytest.approx(unigram_by_hand(trained[::3], held, 16))
    assert counted == [20, 20]  # training, held out


def test_the_gates_curve_has_every_logged_step(tmp_path, monkeypatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from model.training.plot import draw_curves

    lines = [{"step": step, "loss": 2.0, "gate_loss": loss} for step, loss in ((1, 0.5), (2, 0.0), (3, 0.1))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png", 3.0)
    assert figures[0].axes[1].lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.0], [3, 0.1]]
    monkeypatch.undo()
    pyplot.close(figures[0])


def test_schedules() -> None:
    cosine, wsd = Schedule(warmup=10, floor=0.1), Schedule(kind="wsd", warmup=10, decay=0.5, floor=0.0)
    assert [learning_rate_factor(cosine, step, 100) for step in (0, 9, 10)] == [0.1, 1.0, 1.0]
    assert learning_rate_factor(cosine, 99, 100) == pytest.approx(0.1, abs=1e-3)
    assert learning_rate_factor(cosine, 55, 100) == pytest.approx(0.55)
    assert [learning_rate_factor(wsd, step, 100) for step in (4, 10, 50, 75)] == [0.5, 1.0, 1.0, 0.5]
    assert learning_rate_factor(wsd, 99, 100) == pytest.approx(0.02)

"""Trainings as users have them: what would be wrong in silence, what loses a run, and what daily data needs."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.factories.trainings import configured, curve, train_small, write_shard

torch = pytest.importorskip("torch")
from configs.errors import BackendError, ConfigError, InputError, StoreError  # noqa: E402
from model.data.training_record import TrainingRecord  # noqa: E402
from model.training import checkpoint  # noqa: E402
from model.training.lock import HeldError, TrainingLock  # noqa: E402
from pipeline.cli import main  # noqa: E402

pytestmark = pytest.mark.weights
SHORT = ("steps=3", "held_out.every=3", "schedule={kind: cosine, warmup: 1}")
ADAMW = "optimizer={{name: adamw, learning_rate: {}}}"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shard(folder / "law.parquet", "law", range(60))
    return folder


@pytest.fixture(scope="module")
def more_shards(shards, tmp_path_factory) -> Path:
    """The same shard and one of another date."""
    folder = tmp_path_factory.mktemp("more")
    shutil.copy(shards / "law.parquet", folder)
    write_shard(folder / "medicine.parquet", "medicine", range(100, 160))
    return folder


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory) -> Path:
    """A finished training. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    train_small(folder, shards, *SHORT)
    return folder


def run_short(folder: Path, shards: Path, *changes: str, **options) -> dict:
    return train_small(folder, shards, *SHORT, *changes, **options)


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(".tmp-*"))


def weights_of(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


# --- silently wrong --------------------------------------------------------------------------------------------------
def test_a_refused_run_leaves_no_tokenizer_for_the_next_one(finished, shards, tmp_path) -> None:
    write_shard(tmp_path / "one" / "one.parquet", "tax", range(900, 901))
    with pytest.raises(InputError, match=r"no (held_out|train) documents"):
        run_short(tmp_path, tmp_path / "one")
    assert (tmp_path / "out" / "tokenizer" / "tokenizer.json").is_file()
    run_short(tmp_path, shards)
    expected = (finished / "out" / "tokenizer" / "tokenizer.json").read_bytes()
    assert (tmp_path / "out" / "tokenizer" / "tokenizer.json").read_bytes() == expected
    assert (tmp_path / "out" / "model" / "tokenizer.json").read_bytes() == expected


@pytest.mark.parametrize("change", ["data.vocabulary=310", "data.held_out=0.3"])
def test_a_run_with_another_tokenizer_is_refused_before_it_writes_anything(finished, shards, change) -> None:
    before = state_of(finished / "out")
    with pytest.raises(ConfigError, match="another configuration"):
        run_short(finished, shards, change)
    assert state_of(finished / "out") == before


@pytest.mark.parametrize("eos", [None, "<|padding|>"])
def test_a_tokenizer_is_the_file_that_is_named_not_the_one_beside_it(finished, shards, tmp_path, eos) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "tokenizers"
    folder.mkdir()
    content = json.loads((finished / "out" / "tokenizer" / "tokenizer.json").read_text())
    (folder / "mine.json").write_text(json.dumps(content))
    content["model"]["merges"] = content["model"]["merges"][:5]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "a"}')  # of tokenizer.json
    data = {"tokenizer": str(folder / "mine.json"), "held_out": 0.2} | ({"eos": eos} if eos else {})
    run_short(tmp_path, shards, f"data={json.dumps(data)}")
    model = tmp_path / "out" / "model"
    assert (model / "tokenizer.json").read_bytes() == (folder / "mine.json").read_bytes()
    expected = eos or "<|endoftext|>"
    assert AutoTokenizer.from_pretrained(model).eos_token == expected
    config = json.loads((model / "config.json").read_text())
    assert config["eos_token_id"] == AutoTokenizer.from_pretrained(model).convert_tokens_to_ids(expected)


def test_weights_that_are_not_numbers_are_never_saved_as_done(shards, tmp_path) -> None:
    with pytest.raises(BackendError, match=r"lower optimizer\.learning_rate .* --allow-changes"):
        train_small(tmp_path, shards, "steps=8", ADAMW.format("1e6"), "schedule.warmup=0", "checkpoints.every=1")
    assert not (tmp_path / "out" / "model").exists()
    for folder in (tmp_path / "out" / "checkpoints").iterdir():
        assert all(bool(weight.isfinite().all()) for weight in weights_of(folder).values())


def test_a_gradient_that_is_no_number_is_found_though_the_loss_is_one(shards, tmp_path, monkeypatch) -> None:
    from model.lm import DsaForCausalLM

    def spoil(self, *arguments, **options):
        output = forward(self, *arguments, **options)
        if self.training:  # the value stays, the gradient does not
            output["lm_loss"] = output.lm_loss + (output.lm_loss - output.lm_loss.detach()) * float("inf")
            output["lm_loss"].data = output.lm_loss.detach().nan_to_num(1.0)
        return output

    forward = DsaForCausalLM.forward
    with monkeypatch.context() as patch:
        patch.setattr(DsaForCausalLM, "forward", spoil)
        with pytest.raises(BackendError, match=r"norm of the gradient is (nan|inf)"):
            run_short(tmp_path, shards)
    assert not (tmp_path / "out" / "model").exists()


def test_a_lower_rate_goes_on_from_the_last_whole_checkpoint(shards, tmp_path) -> None:
    train_small(tmp_path, shards, "steps=3", "checkpoints.every=3", "schedule={kind: cosine, warmup: 1}")
    lower = ("optimizer.learning_rate=1e-4", "steps=5", "schedule={kind: cosine, warmup: 1}")
    with pytest.raises(ConfigError, match=r"learning_rate is 0\.003 there and 0\.0001 now.*--allow-changes"):
        train_small(tmp_path, shards, *lower)
    with pytest.raises(ConfigError, match="seed is 17 there and 2 now"):  # would be another training
        train_small(tmp_path, shards, *lower, "seed=2", allow_changes=True)
    lines: list[dict] = []
    result = train_small(tmp_path, shards, *lower, watch=lines.append, allow_changes=True)
    assert result["steps"] == 5
    trained = [line for line in lines if "learning_rate" in line]
    assert [line["step"] for line in trained] == [4, 5]
    assert max(line["learning_rate"] for line in trained) <= 1e-4
    changed = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["changed"]["steps"] for line in changed if "changed" in line] == [[3, 5]]
    assert train_small(tmp_path, shards, *lower) == result  # the new values are the training's own now


def test_a_decay_that_changed_is_the_one_that_is_used(shards, tmp_path) -> None:
    from model.lm import DsaConfig, DsaForCausalLM
    from model.training.distributed import ProcessGroup
    from model.training.step import OptimizerStep

    def small() -> DsaForCausalLM:
        return DsaForCausalLM(DsaConfig(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1))

    saved = [o.state_dict() for o in OptimizerStep(small(), configured(tmp_path), ProcessGroup.join()).optimizers]
    changed = OptimizerStep(small(), configured(tmp_path, "optimizer.weight_decay=0.7"), ProcessGroup.join())
    changed.load_state(saved)
    assert {group["weight_decay"] for optimizer in changed.optimizers for group in optimizer.param_groups} == {0.0, 0.7}


# --- lost runs -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["shared-text.json", "config.yaml", "metrics.jsonl", "result.json", "curves.png", "tokenizer", "checkpoints"],
)
def test_what_cannot_be_written_is_named_and_leaves_nothing_behind(shards, tmp_path, name) -> None:
    place = tmp_path / "out" / name
    place.parent.mkdir()
    if "." in name:
        (place / "full").mkdir(parents=True)
    else:
        place.touch()
    with pytest.raises(StoreError, match=rf"{name}.*: cannot be written .*run the same command again"):
        run_short(tmp_path, shards)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "metrics.jsonl", "model", "result.json", "curves.png"])
def test_a_full_disk_at_any_save_is_reported_and_the_same_command_goes_on(
    finished, shards, tmp_path, monkeypatch, name
) -> None:
    replace = os.replace

    def full(source, target, **options):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(source, target, **options)

    if name == "metrics.jsonl":  # it is rewritten when a run resumes
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).write_text('{"step": 1, "loss"')
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(StoreError, match="No space left on device"):
            run_short(tmp_path, shards)
    assert not leftovers(tmp_path)
    run_short(tmp_path, shards)
    assert curve(tmp_path) == curve(finished)


def test_safetensors_own_error_for_a_full_disk_is_one_too(shards, tmp_path, monkeypatch) -> None:
    from safetensors import SafetensorError
    from transformers import PreTrainedModel

    def full(self, folder, **options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(StoreError, match=r"step-00000003: cannot be written .*os error 28"):
        run_short(tmp_path, shards)
    assert not leftovers(tmp_path)


def test_a_new_version_of_transformers_does_not_end_a_training(finished, shards, tmp_path, monkeypatch) -> None:
    train_small(tmp_path, shards, *SHORT, "checkpoints.every=2", watch=stop_at(2))
    monkeypatch.setattr("transformers.configuration_utils.__version__", "99.0.0")
    assert run_short(tmp_path, shards)["status"] == "done"
    assert curve(tmp_path) == curve(finished)


def test_two_runs_with_one_folder_do_not_mix(finished, shards, capsys) -> None:
    with TrainingLock(finished / "out", is_first_rank=True):
        with pytest.raises(HeldError, match=rf"process {os.getpid()} .* trains here; wait for it"):
            run_short(finished, shards)
        line = ["train", "--config", str(finished / "small.yaml"), "--data", str(shards)]
        assert main(line) == 5
    assert "trains here" in capsys.readouterr().err
    with TrainingLock(finished / "out", is_first_rank=True):
        pass  # it was released


def test_a_file_system_without_locks_is_not_taken_for_another_training(shards, tmp_path, monkeypatch) -> None:
    import fcntl

    def none(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    assert run_short(tmp_path, shards)["status"] == "done"


def stop_at(step: int, number: int = signal.SIGTERM):
    """A watch that sends this process a signal when a step is logged."""

    def watch(line: dict) -> None:
        if line.get("step") == step and "learning_rate" in line:
            os.kill(os.getpid(), number)

    return watch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_the_same_command_goes_on(finished, shards, tmp_path, number) -> None:
    handlers = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
    result = run_short(tmp_path, shards, watch=stop_at(2, number))
    assert (result["status"], result["steps"], result["signal"]) == ("stopped", 2, signal.Signals(number).name)
    assert checkpoint.latest(tmp_path / "out").step == 2
    assert not (tmp_path / "out" / "model").exists()
    assert run_short(tmp_path, shards)["status"] == "done"
    assert curve(tmp_path) == curve(finished)
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)] == handlers


def test_a_second_signal_and_one_before_the_first_step_end_at_once(shards, tmp_path) -> None:
    for when in (lambda line: line.get("step") == 1, lambda line: "tokenizing" in line.get("notice", "")):
        said: list[str] = []

        def watch(line: dict, when=when, said=said) -> None:
            said.append(line.get("notice", ""))
            if when(line):
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(KeyboardInterrupt):
            run_short(tmp_path, shards, watch=watch)
        assert "keeps the token files and checkpoints" in said[-1]
        shutil.rmtree(tmp_path / "out")


def test_the_command_says_where_it_stopped_and_how_to_go_on(shards, tmp_path, capsys, monkeypatch) -> None:
    from pipeline.commands import train as command

    configured(tmp_path)
    monkeypatch.setattr(command, "_print_progress", stop_at(2))
    line = ["train", "--config", str(tmp_path / "small.yaml"), "--data", str(shards)]
    assert main(line) == 3
    said = capsys.readouterr().out
    assert "stopped (SIGTERM) after step 2 of 12; the same command goes on" in said
    assert "step-00000002" in said


def test_an_out_that_is_a_file_is_named(shards, tmp_path, capsys) -> None:
    configured(tmp_path)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        line = ["train", "--config", str(tmp_path / "small.yaml"), "--data", str(shards), "--out", str(out)]
        assert main(line) == 2
        assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage", [b'{"step": 1, "lo\n', b"[1]\n", b'{"loss": 2}\n', b"\xff\xfe\n", b'{"step": "x"}\n']
)
def test_a_damaged_line_of_metrics_is_left_out(shards, tmp_path, damage) -> None:
    run_short(tmp_path, shards, "checkpoints.every=1", watch=stop_at(2))
    metrics = tmp_path / "out" / "metrics.jsonl"
    whole = metrics.read_bytes()
    metrics.write_bytes(damage + whole)
    lines: list[dict] = []
    run_short(tmp_path, shards, watch=lines.append)
    assert any("1 damaged lines are left out" in line.get("notice", "") for line in lines)
    assert metrics.read_bytes().startswith(whole)


# --- use -------------------------------------------------------------------------------------------------------------
def test_a_finished_run_is_left_alone_file_by_file(finished, shards, tmp_path) -> None:
    result = json.loads((finished / "out" / "result.json").read_text())
    before, lines = state_of(finished / "out"), []
    assert run_short(finished, shards, watch=lines.append) == result
    assert state_of(finished / "out") == before
    assert lines == []
    shutil.copytree(finished / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "checkpoints")  # to save space
    assert run_short(tmp_path, shards) == result
    with pytest.raises(ConfigError, match=r"model: a model of another configuration: seed is 17 there and 3 now"):
        run_short(tmp_path, shards, "seed=3")


def test_a_damaged_model_of_a_finished_run_is_written_again(shards, finished, tmp_path) -> None:
    shutil.copytree(finished / "out", tmp_path / "out")
    (tmp_path / "out" / "model" / "model.safetensors").write_bytes(b"")
    assert run_short(tmp_path, shards)["steps"] == 3
    one, other = weights_of(tmp_path / "out" / "model"), weights_of(finished / "out" / "model")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_differs_is_named(finished, shards, more_shards) -> None:
    for changes, words in (
        (["seed=2"], "seed is 17 there and 2 now"),
        (["model.top=4"], "model.top is 5 there and 4 now"),
        (["batch.length=48", "data.vocabulary=310"], "batch.length is 64 .*data.vocabulary is 320 there and 310 now"),
    ):
        with pytest.raises(ConfigError, match=f"a checkpoint of another configuration: .*{words}"):
            run_short(finished, shards, *changes)
    with pytest.raises(
        ConfigError, match=r"of other shards: of the shards 1 new \(.*medicine\.parquet\);.*--start-from"
    ):
        run_short(finished, more_shards)


def test_a_date_that_was_rolled_back_is_named(shards, more_shards, tmp_path) -> None:
    run_short(tmp_path, more_shards)
    with pytest.raises(ConfigError, match=r"of the shards 1 missing \(.*medicine\.parquet\)"):
        run_short(tmp_path, shards)


def test_a_warm_start_goes_on_with_more_data(finished, more_shards, tmp_path) -> None:
    first: list[dict] = []
    start = f"start_from={finished / 'out'}"
    result = run_short(tmp_path, more_shards, start, watch=first.append)
    cold: list[dict] = []
    run_short(tmp_path / "cold", more_shards, watch=cold.append)
    before, from_nothing = (next(x["loss"] for x in lines if "learning_rate" in x) for lines in (first, cold))
    assert before < from_nothing - 0.1
    one, other = tmp_path / "out" / "model", finished / "out" / "model"
    assert (one / "tokenizer.json").read_bytes() == (other / "tokenizer.json").read_bytes()
    assert result["held_out"] < from_nothing
    assert run_short(tmp_path, more_shards, start) == result


def test_a_warm_start_resumes_though_its_start_is_gone(finished, more_shards, tmp_path) -> None:
    shutil.copytree(finished / "out" / "checkpoints" / "step-00000003", tmp_path / "start")
    start = f"start_from={tmp_path / 'start'}"
    run_short(tmp_path / "whole", more_shards, start)
    run_short(tmp_path, more_shards, start, watch=stop_at(2))
    shutil.rmtree(tmp_path / "start")
    assert run_short(tmp_path, more_shards, start)["status"] == "done"
    assert curve(tmp_path) == curve(tmp_path / "whole")


def test_a_start_that_does_not_fit_is_refused_with_the_key(finished, more_shards, tmp_path) -> None:
    model = finished / "out" / "model"
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    (damaged / "model.safetensors").write_bytes(b"x")
    for changes, error, words in (
        ([f"start_from={tmp_path / 'none'}"], ConfigError, "start_from: no such folder"),
        ([f"start_from={tmp_path}"], InputError, r"has no config\.json"),
        ([f"start_from={damaged}"], InputError, r"model\.safetensors: damaged"),
        ([f"start_from={model}", "model.top=4"], ConfigError, "model.top is 5 there, 4 here"),
        ([f"start_from={model}", "data.held_out=0.3"], ConfigError, r"set data\.held_out=0\.2"),
        (
            [f"start_from={model}", f"data={{tokenizer: {tmp_path}, held_out: 0.2}}"],
            ConfigError,
            "data.tokenizer: .* is not the tokenizer of",
        ),
    ):
        with pytest.raises(error, match=words):
            run_short(tmp_path, more_shards, *changes)
    assert not (tmp_path / "out" / "tokens").exists()


def of_version_1(folder: Path) -> None:
    (folder / "training.json").write_text(json.dumps({"step": 3, "loader": {}, "fingerprint": "a", "sha256": {}}))


def test_what_an_earlier_version_trained_is_not_resumed_but_started_from(finished, shards, tmp_path) -> None:
    shutil.copytree(finished / "out", tmp_path / "old" / "out")
    old = tmp_path / "old" / "out"
    of_version_1(old / "checkpoints" / "step-00000003")
    (old / "model" / "training.json").unlink()
    before = state_of(old)
    with pytest.raises(ConfigError, match=r"an earlier version of Gristmill .* --start-from"):
        run_short(tmp_path / "old", shards)
    shutil.rmtree(old / "checkpoints")
    with pytest.raises(ConfigError, match=r"a model of an earlier version .* --start-from"):
        run_short(tmp_path / "old", shards)
    assert {name: before[name] for name in state_of(old)} == state_of(old)
    run_short(tmp_path, shards, f"start_from={old / 'model'}")
    assert TrainingRecord.read(tmp_path / "out" / "model").held_out.by == "seed"  # the split of the first training
    with pytest.raises(ConfigError, match=r"data\.held_out"):
        run_short(tmp_path / "x", shards, f"start_from={old / 'model'}", "data.held_out=0.4")


def test_something_is_shown_while_tokenizing_and_before_the_first_logged_step(shards, tmp_path) -> None:
    lines: list[dict] = []
    train_small(tmp_path, shards, "steps=12", "log_every=12", "held_out.every=12", watch=lines.append)
    notices = [line["notice"] for line in lines if "notice" in line]
    assert any("tokenizer of 320 tokens" in notice for notice in notices)
    assert "tokenizing shard 1 of 1" in notices
    assert any("documents of" in notice and "held out; step 0 of 12" in notice for notice in notices)
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps[0] == 1
    assert [row[0] for row in curve(tmp_path)] == [12, 12]  # metrics.jsonl has the logged steps alone


def test_rows_of_one_document_are_on_one_side(tmp_path) -> None:
    """The record of a model says by which rule; the token files follow it."""
    import pyarrow.parquet as pq

    from model.data.shards import HeldOutRule
    from model.data.tokenize import tokenize

    numbers = range(120)
    documents = [f"document {n // 6}" for n in numbers]
    shard = write_shard(tmp_path / "shards" / "law.parquet", "law", numbers, document_id=documents)
    run_short(tmp_path, tmp_path / "shards")
    record = TrainingRecord.read(tmp_path / "out" / "model")
    assert record.held_out == HeldOutRule(0.2, "document")
    held_out = {
        name for name in documents if record.held_out.holds_out({"document_id": name, "text": "", "seed_id": ""})
    }
    (file,) = (tmp_path / "out" / "tokens").glob("*.parquet")
    sides = np.array(pq.read_table(file)["held_out"].to_pylist())
    assert int(sides.sum()) == 6 * len(held_out)
    assert 1 <= len(held_out) < 20
    (by_seed,) = tokenize(
        [shard],
        tmp_path / "out" / "model",
        tmp_path / "by-seed",
        held_out=HeldOutRule(0.2, "seed"),
        eos="<|endoftext|>",
    )
    assert pq.read_table(by_seed)["held_out"].to_pylist() != sides.tolist()

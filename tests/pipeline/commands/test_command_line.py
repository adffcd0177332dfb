"""What the command line says of damaged shards, notes and prices, without a run for each."""

import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipeline import cli, exit_codes
from pipeline.planning import machine
from pipeline.run.supervisor import RunResult
from tests.factories.command_line import DATE, call


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished.out, tmp_path / "out")


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_published_shard_that_cannot_be_read_is_named(finished, copied, damage, capsys):
    name = finished.manifest["shards"][0]["file"]
    for place, line in (
        (f"history/{DATE}/0001/", ["show", "0123456789", "--out", str(copied)]),
        ("", ["run", "--config", str(finished.config), "--date", DATE, "--out", str(copied)]),
    ):
        shard = copied / f"{place}{name}"
        if damage == "missing":
            shard.unlink()
        else:
            shard.write_bytes(b"no Parquet")
        assert cli.main(line) == exit_codes.FAILED
        err = capsys.readouterr().err
        assert f"{shard}: {damage}" in err
        assert "run the date again with --force" in err


def test_notes_are_said_once(finished, monkeypatch, capsys):
    manifest = finished.parsed_manifest.model_copy(update={"notes": ["few seeds"]})
    result = RunResult("done", manifest, notes=["few seeds"])
    monkeypatch.setattr("pipeline.run.supervisor.run_date", lambda *_, **__: result)
    line = ["run", "--config", str(finished.config), "--date", DATE]
    assert cli.main(line) == exit_codes.DONE
    said = capsys.readouterr()
    assert (said.out + said.err).count("few seeds") == 1
    nothing = replace(result, status="nothing", notes=["no work left"])
    monkeypatch.setattr("pipeline.run.supervisor.run_date", lambda *_, **__: nothing)
    cli.main(line)
    assert "no work left" in capsys.readouterr().err


def test_a_failure_keeps_its_code_when_nobody_reads_standard_error(finished, monkeypatch):
    def gone(_):
        raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=gone, flush=lambda: None))
    assert cli.main(["show", "0123456789", "--out", str(finished.out)]) == exit_codes.FAILED


def test_a_plan_prices_tokens(finished, copied):
    path = copied / "manifests" / f"{DATE}.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["domains"]["law"] |= {"generated": 20, "prompt_tokens": 1_000_000, "output_tokens": 500_000}
    path.write_text(json.dumps(manifest), "utf-8")
    prices = ["--set", "price.prompt_million=3", "--set", "price.output_million=8"]
    done = call("plan", "--config", finished.config, "--date", "2026-01-09", "--out", copied, "--json", *prices)
    assert done.line["estimate"]["cost"] == 2 * (3 + 4)  # 40 passages planned, 20 made then


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_doctor_claims_the_precision_that_models_take(monkeypatch, dtype):
    import torch

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("model.device.choose_device", lambda _: (torch.device("cpu"), getattr(torch, dtype)))
    (found,) = (finding for finding in machine.inspect_machine(None) if finding.what == "bfloat16")
    assert found.state == ("ok" if dtype == "bfloat16" else "note")


@pytest.mark.parametrize("chosen", [None, "active"])
def test_threads_of_models_sleep_while_they_wait_unless_the_user_chose(chosen, monkeypatch, capsys):
    monkeypatch.setenv("OMP_WAIT_POLICY", chosen or "")
    if chosen is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert cli.main(["config", "schema"]) == exit_codes.DONE
    assert os.environ["OMP_WAIT_POLICY"] == (chosen or "passive")


def test_ctrl_c_before_a_command_is_imported_is_a_stop(monkeypatch, capsys):
    def interrupt(name, *rest):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.command_line.folder.importlib.import_module", interrupt)
    assert cli.main(["plan", "--config", "echo"]) == exit_codes.DEFERRED
    assert capsys.readouterr().err == "gristmill: stopped\n"

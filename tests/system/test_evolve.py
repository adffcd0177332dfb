"""The loop from the command line: a date, its evolution, and what kills and second calls do to it. Without a model."""

import json
import os
import signal
import subprocess
import time

import pytest
import yaml

from pipeline.store.registry_files import Registry
from tests.factories.command_line import DATE, TIMEOUT_S, call, command, environment
from tests.factories.data_sets import NEXT_DATE

CONFIG = {
    "name": "loop",
    "domains": {
        "law": {"seeds": [{"corpus": "indian-constitution"}], "tasks": ["explain", "question-answer"], "per_day": 80}
    },
    "generator": {"backend": "echo", "model": "echo"},
    "generate": {"shard_rows": 40, "samples": 3},
    "screen": {"filters": [{"name": "length"}, {"name": "repetition"}, {"name": "refusal"}, {"name": "prompt_echo"}]},
    "adapt": {"enabled": False},
    "evolve": {
        "probes": 60,
        "held_out": 30,
        "core": 40,
        "draws": 4,
        "min_rows": 8,
        "candidates": ["sft"],
        "hidden": [{"name": "support", "min_share": 0.3}],
    },
}


@pytest.fixture(scope="module")
def date_run(tmp_path_factory):
    """A data set with one finished date, and its configuration."""
    folder = tmp_path_factory.mktemp("loop")
    path = folder / "loop.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"out": str(folder / "out")}))
    ended = call("run", "--config", path, "--date", DATE, "--json", measured=True)
    assert ended.code == 0, ended.err
    return path, folder / "out"


@pytest.fixture(scope="module")
def evolved(date_run):
    """The same after `gristmill evolve`, with what that printed."""
    path, out = date_run
    ended = call("evolve", "--config", path, "--date", DATE, "--json", measured=True)
    assert ended.code == 0, ended.err
    return path, out, ended.line


def test_a_date_gets_a_verdict_with_figures(evolved):
    _, out, line = evolved
    (verdict,) = line["verdicts"]
    assert verdict["status"] in ("promoted", "refused")
    assert verdict["kind"] == "sft"
    assert set(verdict["arms"]) == {"base", "challenger"}
    assert all(arm["answers"] > 0 and arm["bits_per_byte"] for arm in verdict["arms"].values())
    assert {"utility at equal cost", "coverage", "rightness"} <= {check["name"] for check in verdict["checks"]}
    assert (out / verdict["challenger"]["adapter"]["path"]).is_dir()
    assert verdict["challenger"]["measured_share"] == 0.2
    assert "left_out_as_measured" in verdict["training"]
    assert (out / "evolve" / "report.html").exists()
    assert Registry(out).read("law").attempts == 1


def test_without_a_verifier_nothing_is_promoted(evolved):
    (verdict,) = evolved[2]["verdicts"]
    rightness = next(check for check in verdict["checks"] if check["name"] == "rightness")
    assert not rightness["passed"]
    assert verdict["status"] == "refused"


def test_a_date_is_judged_once(evolved):
    path, _, line = evolved
    again = call("evolve", "--config", path, "--date", DATE, "--json").line
    assert (again["status"], again["digest"], again["verdicts"]) == ("nothing", line["digest"], line["verdicts"])


def test_the_next_date_is_written_by_the_champion(evolved):
    path, out, line = evolved
    registry = Registry(out)
    judged = registry.history("law")[-1]
    promotion = judged.model_copy(update={"number": judged.number + 1, "status": "promoted", "reason": "for the test"})
    registry.commit(promotion)
    ended = call("run", "--config", path, "--date", NEXT_DATE, "--json")
    assert ended.code == 0, ended.err
    manifest = json.loads((out / "manifests" / f"{NEXT_DATE}.json").read_text())
    assert manifest["champions"]["law"]["adapter"]["sha256"] == line["verdicts"][0]["challenger"]["adapter"]["sha256"]
    registry.rollback("law", NEXT_DATE, "the test is over")
    again = call("run", "--config", path, "--date", NEXT_DATE, "--json")
    assert again.line["status"] == "nothing"  # the date keeps its champion
    waiting = call("evolve", "--config", path, "--date", NEXT_DATE, "--json").line
    assert waiting["status"] == "waiting"  # it generated for too short a time to pay for another evolution
    assert waiting["verdicts"] == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--date", "2026-02-01"], "is not finished"),
        (["--date", DATE, "--set", "evolve=null"], "evolve: missing"),
    ],
)
def test_what_cannot_be_evolved_is_said(date_run, flags, words):
    path, _ = date_run
    ended = call("evolve", "--config", path, *flags)
    assert ended.code != 0
    assert words in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(("whom", "records"), [("supervisor", 2), ("driver", 5), ("supervisor", 9)])
def test_kill_9_changes_no_verdict(evolved, tmp_path, whom, records):
    """Killed at any stage, the same command goes on, and decides what an undisturbed one decides."""
    path, _, undisturbed = evolved
    out = tmp_path / "out"
    assert call("run", "--config", path, "--out", out, "--date", DATE).code == 0
    line = command("evolve", "--config", path, "--out", out, "--date", DATE, "--json")
    process = subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(out.glob(f"evolve/{DATE}/stages/*/part-*.parquet.json"))) < records:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid if whom == "supervisor" else _child(process.pid), signal.SIGKILL)
    process.wait(TIMEOUT_S)
    ended = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["digest"] == undisturbed["digest"]
    assert len(Registry(out).history("law")) == 1
    assert not list(out.rglob(".tmp-*"))


def _child(pid: int) -> int:
    (child,) = (
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and int(open(f"/proc/{entry}/stat").read().rsplit(") ", 1)[1].split()[1]) == pid  # noqa: SIM115
    )
    return child

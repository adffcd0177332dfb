"""Wrong usage, failures as JSON, closed pipes and completion: what holds for every command."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from pipeline import cli, exit_codes
from tests.factories.command_line import ROOT, environment


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stroe"], "no command 'stroe'; did you mean 'store'? (see gristmill --help)"),
        (["store", "verfy"], "no command 'verfy'; did you mean 'verify'? (see gristmill store --help)"),
        (["run"], "Missing option '--config' (see gristmill run --help)"),
        (["run", "--confg", "echo"], "--confg (Possible options: --config, --json) (see gristmill run --help)"),
        (["run", "--config", "echo", "--workers", "two"], "'--workers'"),
        (["run", "--config", "echo", "--catch-up", "soon"], "'--catch-up': 'soon' is no number of days"),
        (["run", "--config", "echo", "2026-01-02"], "2026-01-02: unexpected word; name a date with --date"),
        (["run", "--config", "echo", "--", "--runner=X"], "--runner=X: give the runner before `--`"),
        (["filter", "train", "--config", "echo", "--folds", "1"], "'--folds': 1: one group would leave nothing"),
        (["filter", "judge", "--config", "echo", "--data", "d", "--labels", "l", "--rows", "0"], "'--rows': 0 is no"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_flag(words, message, capsys):
    assert cli.main(words) == exit_codes.USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (["run", "--config", "none.yaml"], {"accepted": 0, "rejected": {}, "bytes": 0, "manifest": None, "shards": []}),
        (["backfill", "--config", "none.yaml", "--from", "today", "--to", "today"], {"dates": [], "notes": []}),
        (["plan", "--config", "none.yaml"], {}),
        (["store", "verify", "--out", "none"], {}),
    ],
)
def test_a_failure_is_json_of_the_commands_own_shape(words, shape, capsys):
    assert cli.main([*words, "--json"]) == exit_codes.USAGE
    line = json.loads(capsys.readouterr().out)
    assert line.pop("error")
    assert line == shape | {"status": "failed", "code": exit_codes.USAGE}


def test_wrong_usage_is_json_too(capsys):
    assert cli.main(["store", "gc", "--json", "--keep"]) == exit_codes.USAGE
    assert json.loads(capsys.readouterr().out)["code"] == exit_codes.USAGE


def test_the_version_is_one_line(capsys, monkeypatch):
    assert cli.main(["--version"]) == exit_codes.DONE
    assert capsys.readouterr().out == f"gristmill {metadata.version('gristmill')}\n"

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert cli.main(["--version"]) == exit_codes.DONE
    assert capsys.readouterr().out.startswith("gristmill, not installed")


LEAVING = """
import os, sys
from pipeline.store import maintenance
faults = [maintenance.Fault(f"file-{number}", "missing", "fix it") for number in range(int(sys.argv[2]))]
maintenance.verify = lambda data: (len(faults), 0, faults)
from pipeline import cli
os.makedirs(os.path.join(sys.argv[1], "manifests"))
sys.exit(cli.main(["store", "verify", "--out", sys.argv[1]]))
"""


@pytest.mark.parametrize("faults", [1, 5000], ids=["at exit", "while printing"])
def test_a_reader_that_leaves_does_not_hide_a_failure(tmp_path, faults):
    """A pipe holds 64 KiB and Python's buffer 8: one fault is written at the exit, many before it."""
    end, closed = os.pipe()
    os.close(end)
    line = [sys.executable, "-c", LEAVING, str(tmp_path / "out"), str(faults)]
    result = subprocess.run(line, env=environment(), stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    os.close(closed)
    assert (result.returncode, result.stderr) == (exit_codes.FAILED, "")


def test_options_with_several_values_and_with_none():
    words = ["evaluate", "--model", "a", "b=c", "--out", "o", "--data", "x", "--data", "y", "z", "--json"]
    flags = cli.parse(words)
    assert (flags["model"], flags["data"]) == (["a", "b=c"], ["x", "y", "z"])
    assert (flags["out"], flags["as_json"]) == ("o", True)
    run = ["run", "--config", "echo"]
    assert cli.parse([*run, "--catch-up"])["catch_up"] == sys.maxsize
    assert cli.parse([*run, "--catch-up", "--json"])["catch_up"] == sys.maxsize
    assert cli.parse([*run, "--catch-up", "3"])["catch_up"] == 3
    assert cli.parse([*run, "--catch-up", "-1"])["catch_up"] == -1
    assert cli.parse(run)["catch_up"] is None
    assert list(cli.parse([*run, "--", "--a", "b"])["beam_args"]) == ["--a", "b"]


def completions(*words):
    line = " ".join(["gristmill", *words])
    known = {"_GRISTMILL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    command = [sys.executable, "-m", "pipeline"]
    result = subprocess.run(command, env=environment() | known, capture_output=True, text=True, check=False, cwd=ROOT)
    return result.stdout.split()


def test_the_shell_completes_commands_and_flags():
    assert {"run", "store", "filter", "doctor"} <= set(completions(""))
    assert completions("store", "ver") == ["verify"]
    assert "--deadline" in completions("run", "--de")

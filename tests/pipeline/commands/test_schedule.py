"""What an orchestrator is given: real parsers read it, and what they run is the command that was meant."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date, time
from pathlib import Path

import jinja2
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from pipeline.planning.orchestrators import EMITTERS, Schedule, replaced
from tests.factories.command_line import ROOT, call, environment

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" "), min_size=1)
NASTY = "a b%c 'd' \"e\" $HOME $$ ${X} \\n {{ x }} {% y #} ~ * ; & (z) # !"
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="Debian's package systemd is missing")


def schedule(word="mine.yaml", **changes):
    known = dict(
        name="mine", program=["/bin/true"], flags=["--config", word], folder="/", at=time(2), deadline=time(6), days=7,
        grace_s=120, began=date(2026, 1, 1), image="registry/gristmill:1", claim="data",
    )  # fmt: skip
    return Schedule(**known | changes)


def text_of(where, **changes):
    return "".join(EMITTERS[where](schedule(**changes)).values())


def verified(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    line = ["systemd-analyze", "verify", "--recursive-errors=no", *(str(folder / name) for name in files)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@needs_systemd
@pytest.mark.parametrize("deadline", [time(6), None])
@pytest.mark.parametrize("word", ["mine.yaml", NASTY])
def test_systemd_verifies_the_units(tmp_path, word, deadline):
    folder = tmp_path / "a b%c$d é"
    folder.mkdir()
    shutil.copy(shutil.which("true") or "", folder / "run it")
    files = EMITTERS["systemd"](schedule(word, program=[str(folder / "run it")], folder=str(folder), deadline=deadline))
    done = verified(tmp_path, files)
    assert (done.returncode, done.stderr) == (0, "")
    service, timer = files.values()
    assert "KillMode=mixed\nTimeoutStopSec=150" in service
    assert ("Restart=on-failure" in service) == (deadline is None)
    assert "Persistent=true" in timer
    assert "OnCalendar=*-*-* 02:00:00 UTC" in timer


@needs_systemd
def test_the_check_by_systemd_can_fail(tmp_path):
    files = EMITTERS["systemd"](schedule(program=["/nowhere/gristmill"]))
    assert "/nowhere/gristmill is not executable" in verified(tmp_path, files).stderr


def unquoted(line):
    """systemd's words: double quotes, backslash before backslash and quote, %% for a percent sign."""
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in re.findall(r'"((?:[^"\\]|\\.)*)"', line)]


@given(TEXT)
@example(NASTY)
def test_systemd_words_come_back(word):
    of = schedule(word)
    (line,) = re.findall("^ExecStart=:(.*)$", text_of("systemd", flags=of.flags), re.MULTILINE)
    assert unquoted(line) == of.command()
    assert "%" not in line.replace("%%", "")


ECHO = "import sys, json; print(json.dumps(sys.argv[1:]))"


def printed(line, **options):
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, **options)
    return json.loads(done.stdout)


@settings(max_examples=15, deadline=None)
@given(TEXT)
@example(NASTY)
def test_a_shell_reads_the_crontab_line_as_it_was_meant(word):
    """Cron takes \\% for a percent sign, and sh does the rest."""
    of = schedule(word, program=[sys.executable, "-c", ECHO])
    begin, line, end = text_of("cron", flags=of.flags, program=of.program).splitlines()
    assert (begin, end) == ("# gristmill mine: begin", "# gristmill mine: end")
    minutes, *rest, told = line.split(" ", 5)
    assert (minutes, rest) == ("0,15,30,45", ["*"] * 4)
    assert not re.search(r"(?<!\\)%", told)
    guard, run = told.replace(r"\%", "%").split(" && ", 1)
    assert guard == '[ "$(date -u +%H:%M)" = 02:00 ]'
    assert printed(run) == of.command()[3:]


@settings(max_examples=15, deadline=None)
@given(TEXT)
@example(NASTY)
@example("DAY")
def test_jinja_and_bash_read_the_dag_as_it_was_meant(word):
    of = schedule(word, program=[sys.executable, "-c", ECHO], folder="/{{ x }}")
    tree = ast.parse(text_of("airflow", flags=of.flags, program=of.program, folder=of.folder))
    found = {node.arg: node.value for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert jinja2.Template(ast.literal_eval(found["cwd"])).render() == of.folder
    sandbox = jinja2.Environment()
    sandbox.filters["ds"] = str
    macros = type("macros", (), {"ds_add": staticmethod(lambda day, n: f"{day}+{n}")})
    days = {"data_interval_start": "2026-01-02", "data_interval_end": "2026-01-03", "macros": macros}
    bash = sandbox.from_string(ast.literal_eval(found["bash_command"])).render(days)
    assert printed(bash) == of.command("2026-01-02", "2026-01-03+0T06:00")[3:]


@given(TEXT)
@example(NASTY)
def test_kubernetes_expands_nothing(word):
    of = schedule(word)
    cronjob = yaml.safe_load(text_of("kubernetes", flags=of.flags))
    job = cronjob["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert [part.replace("$$", "$") for part in container["command"]] == of.command()
    assert not any("$" in part.replace("$$", "") for part in container["command"])


@pytest.mark.parametrize("where", EMITTERS)
def test_a_line_break_in_a_path_is_refused(where):
    with pytest.raises(ConfigError, match="no schedule can"):
        EMITTERS[where](schedule("a\nb"))


@pytest.mark.parametrize(("at", "deadline", "seconds"), [("02:00", "06:00", 14_400), ("22:30", "06:00", 27_000)])
def test_a_job_ends_with_its_deadline(at, deadline, seconds):
    text = text_of("kubernetes", at=time.fromisoformat(at), deadline=time.fromisoformat(deadline))
    job = yaml.safe_load(text)["spec"]["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] == seconds + 150
    assert job["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"] == [2, 3, 4, 6, 7]
    dag = text_of("airflow", at=time.fromisoformat(at), deadline=time.fromisoformat(deadline))
    assert f"ds_add(data_interval_end | ds, {int(at > deadline)})" in dag


def test_a_crontab_keeps_the_lines_of_others():
    mine = schedule()
    other = "# my own\n5 5 * * * true\n"
    first = replaced(other, mine)
    assert first.startswith(other)
    second = replaced(first + "6 6 * * * false\n", schedule("new.yaml"))
    assert second.startswith(other + "6 6 * * * false\n# gristmill mine: begin\n")
    assert "new.yaml" in second
    assert "mine.yaml" not in second
    with pytest.raises(ConfigError, match="fix it with crontab -e"):
        replaced("# gristmill mine: begin\n", mine)


def test_emit_writes_what_it_would_print(tmp_path):
    line = ["schedule", "emit", "systemd", "--config", "echo"]
    done = call(*line, "--to", tmp_path)
    assert done.code == 0
    assert done.out.split() == [str(tmp_path / f"gristmill-echo.{kind}") for kind in ("service", "timer")]
    for path in done.out.split():
        assert Path(path).read_text() in call(*line).out
    assert call(*line, "--json").line["files"].keys() == {"gristmill-echo.service", "gristmill-echo.timer"}


CRONTAB = """#!/bin/sh
if [ "$1" = -l ]; then cat "$KEPT" 2>/dev/null || { echo "no crontab for me" >&2; exit 1; }; else cat >"$KEPT"; fi
"""


def test_install_puts_lines_into_the_crontab_once(tmp_path):
    """The program `crontab` is a stand-in that keeps a file: the real one needs cron's daemon and its spool."""
    (tmp_path / "crontab").write_text(CRONTAB)
    (tmp_path / "crontab").chmod(0o755)
    line = [sys.executable, "-m", "pipeline", "schedule", "install", "cron", "--config", "echo", "--at"]
    known = environment() | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KEPT": str(tmp_path / "kept")}
    for at in ("02:00", "03:07"):
        done = subprocess.run([*line, at], env=known, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    (installed,) = [line for line in (tmp_path / "kept").read_text().splitlines() if not line.startswith("#")]
    assert installed.startswith("7,22,37,52 * * * * ")
    assert "03:07 ]" in installed


def test_install_writes_units_and_enables_the_timer(tmp_path):
    """The program `systemctl` is a stand-in that keeps its arguments: no user manager runs where tests do."""
    (tmp_path / "systemctl").write_text('#!/bin/sh\necho "$@" >>"$KEPT"\nif [ "$2" = "$FAILS" ]; then exit 1; fi\n')
    (tmp_path / "systemctl").chmod(0o755)
    line = [sys.executable, "-m", "pipeline", "schedule", "install", "systemd", "--config", "echo"]
    changed = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "KEPT": str(tmp_path / "kept"),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    for fails in ("show-environment", "enable", ""):
        known = environment() | changed | {"FAILS": fails}
        done = subprocess.run(line, env=known, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == (1 if fails else 0), done.stderr
        units = sorted(path.name for path in (tmp_path / "systemd" / "user").glob("*"))
        assert units == ([] if fails == "show-environment" else ["gristmill-echo.service", "gristmill-echo.timer"])
        assert ("gristmill schedule emit prints what to put where by hand" in done.stderr) == bool(fails)
    assert (tmp_path / "kept").read_text().splitlines()[-1] == "--user enable --now gristmill-echo.timer"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["install", "airflow"], 2, "airflow is not installed from here; emit it and: save it"),
        (["install", "kubernetes"], 2, "emit it and: kubectl apply -f -"),
        (["emit", "kubernetes"], 2, "--image: kubernetes needs it"),
        (["emit", "kubernetes", "--image", "i", "--claim", "c", "--out", "/data"], 2, "out: /data is not on the claim"),
        (["emit", "cron", "--at", "25:00"], 2, "--at: '25:00' is not a time"),
        (["emit", "cron", "--catch-up", "0"], 2, "--catch-up: 0 days hold no date"),
        (["install", "cron"], 1, "crontab is not installed"),
        (["install", "systemd"], 1, "systemd has no user manager for you here"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(flags, code, message, tmp_path, monkeypatch, capsys):
    from pipeline import cli

    if code == 1:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["schedule", *flags, "--config", "echo"]) == code
    assert message in capsys.readouterr().err


def test_no_key_of_this_machine_is_written(monkeypatch, capsys):
    from pipeline import cli

    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    for where in EMITTERS:
        assert cli.main(["schedule", "emit", where, "--config", "echo", "--image", "i", "--claim", "c"]) == 0
    assert "sk-planted" not in capsys.readouterr().out


CHECK = """
import json, sys, yaml
import kubernetes_validate
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.execution_time import macros
from airflow.timetables.base import TimeRestriction

job = yaml.safe_load(open(sys.argv[2]))
kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
try:
    kubernetes_validate.validate(job | {"spec": job["spec"] | {"timezone": "UTC"}}, strict=True, desired_version=
                                 kubernetes_validate.latest_version())
except kubernetes_validate.ValidationError:
    strict = True
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
(task,) = dag.tasks
days, last = [], None
for _ in range(3):
    info = dag.timetable.next_dagrun_info(
        last_automated_data_interval=last,
        restriction=TimeRestriction(earliest=dag.start_date, latest=None, catchup=dag.catchup))
    last = info.data_interval
    days.append([str(last.start), str(last.end), str(info.run_after)])
told = dag.get_template_env().from_string(task.bash_command).render(
    data_interval_start=last.start, data_interval_end=last.end, macros=macros)
print(json.dumps({"dag": dag.dag_id, "runs": dag.max_active_runs, "catchup": dag.catchup, "retries": task.retries,
                  "type": type(task).__name__, "days": days, "strict": strict, "told": told}))
"""


@pytest.mark.slow
def test_a_real_airflow_and_kubernetes_schema_read_what_is_emitted(tmp_path):
    """In an environment of its own: neither is a dependency."""
    bin_ = tmp_path / "venv" / "bin"
    uv = [sys.executable, "-m", "uv"]
    packages = ["apache-airflow-core>=3.3,<4", "apache-airflow-providers-standard", "kubernetes-validate>=1.37"]
    for line in (
        [*uv, "venv", "--quiet", str(tmp_path / "venv")],
        [*uv, "pip", "install", "--quiet", "--python", str(bin_ / "python"), *packages],
    ):
        made = subprocess.run(line, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"Airflow cannot be installed: {made.stderr.strip()[-300:]}")
    (dag,) = EMITTERS["airflow"](schedule()).items()
    (job,) = EMITTERS["kubernetes"](schedule()).items()
    for name, text in (dag, job):
        (tmp_path / name).write_text(text, "utf-8")
    line = [str(bin_ / "python"), "-c", CHECK, str(tmp_path / dag[0]), str(tmp_path / job[0])]
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, env=os.environ | {"AIRFLOW_HOME": str(tmp_path / "home")}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    told = found.pop("told").split("; ")[0]
    assert told.endswith("--date 2026-01-03 --catch-up 7 --deadline 2026-01-04T06:00")
    assert found.pop("days") == [
        [f"2026-01-0{day} 02:00:00+00:00", f"2026-01-0{day + 1} 02:00:00+00:00", f"2026-01-0{day + 1} 02:00:00+00:00"]
        for day in (1, 2, 3)
    ]
    assert found == {
        "dag": "gristmill-mine", "runs": 1, "catchup": True, "retries": 3, "type": "BashOperator", "strict": True,
    }  # fmt: skip

"""A real Prometheus reads a real run: its endpoint, its textfile by node_exporter, every query that we ship."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.backends.vllm.gpus import Nvml
from tests.factories.command_line import DATE, ROOT, TIMEOUT_S, command, environment, free_port, gristmill
from tests.factories.documents import passage, write_config
from tests.factories.evolve.registries import verdicts, write_registry
from tests.factories.serving.prometheus import DEPLOY, ask, program, promtool, rules, until

ALERT_TESTS = (DEPLOY / "alerts_test.yml", DEPLOY / "alerts_over_weeks_test.yml")
LATER = "2026-01-03"
NEED_A_GPU = {"gristmill_gpu_utilization_ratio", "gristmill_gpu_memory_used_bytes", "gristmill_gpu_memory_size_bytes"}

LOOP_LABELS = {"champion", "parent", "generator", "status"}
NEED_AN_AUDIT = {
    "gristmill_audit_date_timestamp_seconds",
    "gristmill_audit_right_ratio",
    "gristmill_audit_right_lower_ratio",
    "gristmill_audit_labelled_rows",
}


def test_the_rules_are_valid_and_fire_as_their_tests_say():
    assert "21 rules found" in promtool("check", "rules", DEPLOY / "alerts.yml")
    for tests in ALERT_TESTS:
        assert "SUCCESS" in promtool("test", "rules", tests)
    # the file with the key for serving is not on this machine
    assert "is valid" in promtool("check", "config", "--syntax-only", DEPLOY / "prometheus.yml")


def test_each_alert_is_tested_and_told_of():
    alerts = {rule["alert"] for group in ("gristmill", "gristmill-serving") for rule in rules(group)}
    tests = [test for path in ALERT_TESTS for test in yaml.safe_load(path.read_text("utf-8"))["tests"]]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == alerts
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(Gristmill\w+)` \|", page, re.MULTILINE)) == alerts


def panels() -> list[dict[str, Any]]:
    return json.loads((ROOT / "deploy" / "grafana" / "gristmill.json").read_text("utf-8"))["panels"]


def queries() -> list[tuple[str, str]]:
    """Name and query of each panel and alert. Of an alert what it compares, whether or not it fires."""
    found = []
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$config", ".*").replace("$job", ".*")
            found.append((f"{panel['title']} {target['refId']}", query))
    found += [(rule["alert"], re.sub(r" (>|==) (?=\d)", r" \1 bool ", rule["expr"])) for rule in rules()]
    return found


@dataclass(frozen=True)
class Watched:
    """A Prometheus that has seen two dates made, the second one while it worked."""

    port: int
    endpoint: int
    textfile: Path
    manifests: list[dict[str, Any]]

    def query(self, query: str) -> list[dict[str, Any]]:
        text = ask(f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        return json.loads(text)["data"]["result"]

    def value(self, query: str) -> float:
        (found,) = self.query(query)
        return float(found["value"][1])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The shipped prometheus.yml with this machine's ports, a scrape a second; echo runs in real engine processes."""
    server, exporter = program("prometheus"), program("prometheus-node-exporter")
    folder = tmp_path_factory.mktemp("prometheus")
    port, endpoint, files = free_port(), free_port(), free_port()
    text = (DEPLOY / "prometheus.yml").read_text("utf-8")
    for name, address in (("run:9464", endpoint), ("node-exporter:9100", files)):
        assert name in text
        text = text.replace(name, f"127.0.0.1:{address}")
    (folder / "prometheus.yml").write_text(re.sub(r"\b(5|15)s", "1s", text), "utf-8")
    shutil.copy(DEPLOY / "alerts.yml", folder)
    textfile = folder / "textfile"
    textfile.mkdir()
    documents = folder / "documents.jsonl"
    documents.write_text("".join(json.dumps({"text": f"SLOW {passage(n)}"}) + "\n" for n in range(40)), "utf-8")
    config = write_config(folder, documents)
    flags = ["--set", "domains.law.per_day=20", "--set", "generate.shard_rows=2", "--json"]
    flags += ["--set", f"metrics.textfile={textfile}"]
    faults = {"ECHO_FLEET": "1", "GRISTMILL_CACHE": str(folder / "cache")}
    first = gristmill("run", "--config", config, "--date", DATE, *flags)
    assert first.code == 0, first.err
    listens = "--web.listen-address=127.0.0.1:"
    collects = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={textfile}"]
    keeps = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    started = [[exporter, *collects, f"{listens}{files}"], [server, *keeps, f"{listens}{port}", "--log.level=error"]]
    write_registry(folder / "out", verdicts(["refused", "promoted"]))
    processes = [subprocess.Popen(line, stderr=subprocess.DEVNULL) for line in started]
    try:
        made = Watched(port, endpoint, textfile, [first.line])
        until(lambda: _answers(made), "Prometheus has not read the finished run")
        line = command("run", "--config", config, "--date", LATER, *flags, "--metrics-port", endpoint)
        run = subprocess.Popen(line, env=environment(faults=faults), stdout=-1, stderr=-1, text=True)
        out, err = run.communicate(timeout=TIMEOUT_S)
        assert run.returncode == 0, err
        made.manifests.append(json.loads(out.splitlines()[-1]))
        wanted = sum(of["accepted"] for of in made.manifests)
        accepted = 'gristmill_rows_accepted_total{job="textfile"}'
        # the running state may be scraped with all rows counted already
        done = 'gristmill_run_state{job="textfile", state="done"}'
        until(
            lambda: made.value(accepted) == wanted and made.value(done) == 1,
            "Prometheus has not read the second run's end",
        )
        yield made
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _answers(made: Watched) -> bool:
    try:
        return bool(made.query('gristmill_rows_accepted_total{job="textfile"}'))
    except OSError:  # not up yet
        return False


@pytest.mark.slow
def test_a_finished_run_and_a_run_at_work_are_read_and_counted(watched):
    first, second = watched.manifests
    assert watched.value('max_over_time(up{job="gristmill"}[10m])') == 1
    assert watched.value('max_over_time(gristmill_run_state{job="gristmill", state="running"}[10m])') == 1
    assert watched.value('gristmill_run_state{job="textfile", state="done"}') == 1
    assert watched.value('max_over_time(node_textfile_scrape_error{job="textfile"}[10m])') == 0
    series = 'gristmill_rows_{}_total{{job="textfile"}}'
    assert watched.value(series.format("accepted")) == first["accepted"] + second["accepted"]
    rejected = sum(sum(made["rejected"].values()) for made in watched.manifests)
    assert watched.value(f"sum({series.format('rejected')})") == rejected
    seen = series.format("accepted") + "[10m]"
    assert watched.value(f"max_over_time({seen}) - min_over_time({seen})") == second["accepted"]
    assert watched.value(f"resets({seen})") == 0


@pytest.mark.slow
def test_each_query_of_the_dashboard_and_the_alerts_has_data(watched):
    found = {name: watched.query(query) for name, query in queries()}
    bare = {name for name, result in found.items() if not result}
    blind = {name for name, query in queries() if any(metric in query for metric in NEED_A_GPU)}
    assert bare == (set() if Nvml().gpus() else blind)
    assert len(found) == sum(len(panel["targets"]) for panel in panels()) + len(rules())


@pytest.mark.slow
def test_names_and_labels_are_as_prometheus_wants_them_and_documented(watched):
    (path,) = watched.textfile.iterdir()
    text = path.read_text("utf-8")
    assert promtool("check", "metrics", text=text) == ""
    told = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) | NEED_A_GPU | NEED_AN_AUDIT
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(gristmill_(?!serve_)\w+)` \|", page, re.MULTILINE)) == told
    labels = set(re.findall(r'[{,](\w+)="', text)) - {"gpu"}
    assert labels == {"config", "domain", "reason", "kind", "engine", "state", "stage", "version"} | LOOP_LABELS
    assert len([line for line in text.splitlines() if not line.startswith("#")]) < 150

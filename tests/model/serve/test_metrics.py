"""A server's metrics: what they count, that they are documented, and that every query that we ship finds them."""

import json
import re
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from model.serve.metrics import ServeMetrics
from model.serve.port import EngineInfo, EngineStats
from tests.factories.command_line import ROOT, free_port
from tests.factories.serving.prometheus import DEPLOY, ask, program, promtool, rules, until

STATS = EngineStats(
    is_alive=True,
    running=3,
    waiting=2,
    kv_cache_usage=0.25,
    prompt_tokens=700,
    generated_tokens=90,
    sparse_steps=40,
    dense_steps=5,
    restarts=1,
    seconds_since_step=0.5,
)


def served(stats: EngineStats = STATS, queue: Any = None) -> ServeMetrics:
    engine: Any = SimpleNamespace(info=EngineInfo("embedded", 1024, 100, 8), stats=lambda: stats)
    metrics = ServeMetrics(engine, queue)
    metrics.started("/v1/completions", "ana")
    metrics.first_token(0.03)
    metrics.token(0.004, 3)
    metrics.finished("/v1/completions", "ana", 200, 1.5, 700, 4)
    metrics.started("/v1/completions", "ana")
    metrics.finished("/v1/completions", "ana", 429, 0.001, 0, 0)
    metrics.started("/v1/chat/completions", "ben")
    metrics.aborted("disconnected")
    metrics.blocked("email")
    return metrics


def samples(metrics: ServeMetrics) -> dict[tuple, float]:
    families = text_string_to_metric_families(metrics.render()[0].decode())
    return {
        (sample.name.removeprefix("gristmill_serve_"), *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_and_tokens_are_counted():
    values = samples(served())
    assert values["requests_total", "/v1/completions", "200", "ana"] == 1
    assert values["requests_total", "/v1/completions", "429", "ana"] == 1
    assert values["requests_in_progress",] == 1
    assert values["request_duration_seconds_sum", "/v1/completions"] == pytest.approx(1.501)
    assert values["time_to_first_token_seconds_bucket", "0.02"] == 0
    assert values["time_to_first_token_seconds_bucket", "0.04"] == 1
    assert values["inter_token_latency_seconds_count",] == 3
    assert values["inter_token_latency_seconds_bucket", "0.005"] == 3
    assert values["client_tokens_total", "ana", "prompt"] == 700
    assert values["client_tokens_total", "ana", "output"] == 4
    assert values["requests_aborted_total", "disconnected"] == 1
    assert values["requests_blocked_total", "email"] == 1
    assert values["requests_blocked_total", "error"] == 0  # the alert needs the increase from 0


def test_the_engine_is_asked_at_each_scrape():
    values = samples(served(queue=SimpleNamespace(waiting=7)))
    assert values["engine_up",] == 1
    assert (values["requests_running",], values["requests_waiting",], values["engine_slots",]) == (3, 9, 8)
    assert values["kv_cache_usage_ratio",] == 0.25
    assert (values["tokens_total", "prompt"], values["tokens_total", "output"]) == (700, 90)
    assert (values["steps_total", "sparse"], values["steps_total", "dense"]) == (40, 5)
    assert (values["engine_restarts_total",], values["seconds_since_step",]) == (1, 0.5)
    idle = samples(served(replace(STATS, is_alive=False, seconds_since_step=None)))
    assert (idle["engine_up",], idle["seconds_since_step",]) == (0, 0)


def test_two_servers_in_a_process_count_apart():
    first, second = served(), served()
    first.blocked("email")
    assert samples(first)["requests_blocked_total", "email"] == 2
    assert samples(second)["requests_blocked_total", "email"] == 1


def test_names_and_labels_are_as_prometheus_wants_them_and_documented():
    text, content_type = served().render()
    assert content_type.startswith("text/plain")
    assert b"_created" not in text
    families = dict(re.findall(r"^# TYPE (\w+) (\w+)", text.decode(), re.MULTILINE))
    labels = {name: set() for name in families}
    for name, pairs in re.findall(r"^(gristmill_\w+)\{(.*)\}", text.decode(), re.MULTILINE):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        labels[family] |= set(re.findall(r'(\w+)="', pairs)) - {"le"}
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(gristmill_serve_\w+)` \|([^|]*)\| (\w+) \| .+ \|$", page, re.MULTILINE)
    assert {name: kind for name, _, kind in rows} == families
    assert {name: set(re.findall(r"`(\w+)`", told)) for name, told, _ in rows} == labels
    assert promtool("check", "metrics", text=text.decode()) == ""


# --- a real Prometheus -----------------------------------------------------------------------------------------------
class Endpoint(BaseHTTPRequestHandler):
    """/metrics behind a key; each scrape is of a server that has done more."""

    metrics: ServeMetrics

    def do_GET(self) -> None:
        if self.headers["Authorization"] != "Bearer prometheus-own-key":
            self.send_error(401)
            return
        for _ in range(5):
            self.metrics.started("/v1/completions", "ana")
            self.metrics.first_token(0.2)
            self.metrics.token(0.01, 10)
            self.metrics.finished("/v1/completions", "ana", 200, 0.4, 10, 11)
        self.metrics.aborted("disconnected")
        self.metrics.blocked("email")
        text, content_type = self.metrics.render()
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[int]:
    """The port of a Prometheus with the shipped configuration that has scraped a server a few times."""
    server = program("prometheus")
    endpoint = type("Server", (Endpoint,), {"metrics": served()})
    port, listener = free_port(), ThreadingHTTPServer(("127.0.0.1", 0), endpoint)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    text = (DEPLOY / "prometheus.yml").read_text("utf-8")
    for former, new in (
        ("serve:8000", f"127.0.0.1:{listener.server_port}"),
        ("/run/secrets/serve-metrics-key", str(tmp_path / "key")),
    ):
        assert former in text
        text = text.replace(former, new)
    (tmp_path / "key").write_text("prometheus-own-key\n")
    (tmp_path / "prometheus.yml").write_text(re.sub(r"\b(5|15)s", "1s", text), "utf-8")
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    flags = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    process = subprocess.Popen([server, *flags, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"])

    def has_scraped() -> bool:
        try:
            (result,) = query(port, "count_over_time(gristmill_serve_engine_up[1m]) > 3")
        except (OSError, ValueError):  # it has not started, or has scraped less
            return False
        return bool(result)

    try:
        until(has_scraped, "Prometheus has not scraped the server")
        yield port
    finally:
        process.kill()
        process.wait()
        listener.shutdown()
        listener.server_close()


def query(port: int, text: str) -> list[dict[str, Any]]:
    answer = ask(f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': text})}")
    return json.loads(answer)["data"]["result"]


@pytest.mark.slow
def test_each_query_of_the_dashboard_and_the_alerts_has_data(prometheus):
    board = json.loads((ROOT / "deploy" / "grafana" / "gristmill-serving.json").read_text("utf-8"))
    shown = {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$__rate_interval", "1m")
        .replace("$instance", ".*")
        for panel in board["panels"]
        for target in panel["targets"]
    }
    # what an alert compares, whether or not it fires; no request has failed or was refused here
    compared = {
        rule["alert"]: re.sub(r" (>|==) (?=\d)", r" \1 bool ", rule["expr"]) for rule in rules("gristmill-serving")
    }
    compared = {name: re.sub(r'code(=~"5\.\."|="429")', 'code="200"', text) for name, text in compared.items()}
    empty = [name for name, text in (shown | compared).items() if not query(prometheus, text)]
    assert (empty, len(compared)) == ([], 8)
    assert len(shown) > 20

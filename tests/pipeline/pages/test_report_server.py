"""The served pages: rows are found as asked for, nothing is written, and no request reaches beyond the data set."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import replace
from email.message import Message
from urllib.parse import quote, urlencode, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from configs.errors import ConfigError, StoreError
from model.serve.listening import address, listen
from pipeline.pages import browse, report_server
from pipeline.pages.app import create_app
from pipeline.pages.browse import ROWS_PER_PAGE, Query, find
from pipeline.pages.report_server import create_server
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import PublishedShard
from stages.record import ROW, content_id
from tests.factories.command_line import DATE, command, environment
from tests.factories.manifests import manifest_of
from tests.factories.pages import LATER, MARKUP, Page, add_second_date, plant_markup, running_server


@pytest.fixture(scope="module")
def data(finished, tmp_path_factory) -> DataSet:
    """Two dates. Tests only read them."""
    made = DataSet.open(str(shutil.copytree(finished.out, tmp_path_factory.mktemp("served") / "out")))
    add_second_date(made)
    return made


@pytest.fixture(scope="module")
def served(data):
    """The port of a running server."""
    with running_server(data) as url:
        yield port_of(url)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def client(data: DataSet) -> TestClient:
    """Calls the application without a socket."""
    return TestClient(create_app(data, loopback=True), "http://localhost", raise_server_exceptions=False)


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, Message, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return found


def all_rows(data: DataSet, query: Query) -> list[str]:
    """Ids over all pages."""
    found = []
    while True:
        page = find(data, query)
        assert len(page.rows) <= ROWS_PER_PAGE
        found += [row["id"] for row in page.rows]
        if page.next_page is None:
            return found
        query = Query.from_fields(page.next_page.fields())  # as a link carries it


def test_all_pages_answer_and_lead_to_each_other(data, served):
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        status, headers, text = ask(served, path)
        assert status == 200, path
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        page = Page(text)
        assert "script" not in page.tags
        links = {value or "" for tag, name, value in page.attributes if (tag, name) == ("a", "href")}
        kind = path.split("/")[1].split("?")[0]
        seen.add(kind)
        waiting += sorted(
            link for link in links if link.startswith("/") and link.split("/")[1].split("?")[0] not in (*seen, "")
        )[:1]
    assert seen >= {"", "report", "rows", "row", "compare"}
    assert ask(served, "/", "HEAD")[::2] == (200, "")


def test_rows_are_those_that_pyarrow_finds(data):
    manifest = data.manifest(DATE)
    assert manifest is not None
    table = pa.concat_tables([pq.read_table(data.root / shard.file) for shard in manifest.shards])
    rows = table.to_pylist()
    on = Query(date=DATE)
    assert all_rows(data, on) == [row["id"] for row in rows]
    assert all_rows(data, Query()) == 2 * [row["id"] for row in rows]
    for name in ("task", "source", "language"):
        for value in {row[name] for row in rows}:
            assert all_rows(data, replace(on, **{name: value})) == [row["id"] for row in rows if row[name] == value]
    wanted = [row["id"] for row in rows if "tenant" in row["text"].lower()]
    assert all_rows(data, replace(on, text="TENANT")) == wanted != []
    assert all_rows(data, replace(on, text="a.*b[")) == []
    assert all_rows(data, replace(on, domain="medicine")) == []


def test_a_search_without_hits_goes_on_where_it_stopped(data, monkeypatch):
    monkeypatch.setattr(browse, "MAX_ROWS_SEARCHED", 10)
    first = find(data, Query(text="nowhere to be found"))
    assert first.rows == []
    assert first.searched >= 10
    assert first.next_page is not None
    assert all_rows(data, Query(text="nowhere to be found")) == []
    assert len(all_rows(data, Query(date=DATE))) == data.manifest(DATE).accepted


scored = st.lists(st.tuples(st.sampled_from(["quality", "support"]), st.floats(0, 1, width=32)), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(scored, max_size=12), st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_scores_are_within_their_limits(rows, low, high):
    scores = [[{"filter": name, "score": value} for name, value in row] for row in rows]
    texts = pa.array(["x"] * len(rows), pa.string())
    table = pa.table({"text": texts, "scores": pa.array(scores, ROW.field("scores").type)})
    query = Query(score="quality", low=low, high=high)
    mask = browse._mask(table, query)
    assert mask is not None
    assert mask.to_pylist() == [any(n == "quality" and low <= v <= high for n, v in row) for row in rows]
    part = browse._mask(table.slice(1), query)
    assert part is not None
    assert part.to_pylist() == mask.to_pylist()[1:]


def test_pages_begin_in_the_middle_of_a_row_group(tmp_path):
    ids = [content_id(str(n)) for n in range(100)]
    empty = {name: [None] * 100 for name in ROW.names}
    table = pa.Table.from_pydict(empty | {"id": ids, "text": ["a", "b"] * 50, "domain": ["law"] * 100}, ROW)
    data = DataSet(tmp_path)
    file = "data/domain=law/date=2026-01-02/part.parquet"
    for path in (data.root / file, data.manifest_path(DATE)):
        path.parent.mkdir(parents=True)
    pq.write_table(table, data.root / file, row_group_size=30)
    shard = PublishedShard(file=file, domain="law", rows=100, bytes=1, sha256="")
    data.manifest_path(DATE).write_text(manifest_of(date=DATE, shards=[shard]).to_json(), "utf-8")
    assert all_rows(data, Query()) == ids
    assert all_rows(data, Query(text="b")) == ids[1::2]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/report/2020-01-01",
        "/report/..%2f..%2fmanifests",
        "/report/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        f"/report/{DATE}/..",
        f"/report/{DATE}%00",
        "/row/ffffffffffff",
        "/row/..",
        "/rows?at=x",
        "/rows?at=-1.0",
        "/rows?low=a",
        "/rows?date=..",
        "/compare?now=../x",
        f"/row/0123456789?{urlencode({'date': '../../x'})}",
    ],
)
def test_what_is_not_there_is_said_and_nothing_else(served, path):
    status, headers, text = ask(served, path)
    assert status == 404
    assert "Content-Security-Policy" in headers
    assert "root:" not in text
    Page(text)


def test_other_names_other_methods_and_rubbish_are_refused(served):
    assert ask(served, "/", Host="rebound.example")[0] == 403
    assert ask(served, "/", Host="[::")[0] == 400
    assert ask(served, "/", Host=f"localhost:{served}")[0] == 200
    status, headers, _ = ask(served, "/", "POST")
    assert status == 405
    assert "GET" in headers["Allow"]
    assert "Content-Security-Policy" in headers
    assert ask(served, "/rows?" + "&".join(f"a{n}=1" for n in range(99)))[0] == 400
    with socket.create_connection(("127.0.0.1", served), timeout=30) as line:
        line.sendall(b"\x16\x03\x01 rubbish\r\n\r\n")
        assert line.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", served), timeout=30) as line:
        answer = b""
        with suppress(ConnectionError):  # the server closes without reading the rest
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (1 << 17) + b"\r\n\r\n")
            answer = line.makefile("rb").read()
        assert b"HTTP/1.1 200" not in answer


def test_a_request_that_does_not_arrive_is_given_up(data, monkeypatch):
    monkeypatch.setattr(report_server, "REQUEST_TIMEOUT_S", 0.2)
    with running_server(data) as url:
        for part in (b"", b"GET / HTTP/1.1\r\nHost: local"):
            with socket.create_connection(("127.0.0.1", port_of(url)), timeout=30) as line:
                line.sendall(part)
                assert line.makefile("rb").read() == b""
        assert ask(port_of(url), "/")[0] == 200


def test_a_connection_carries_one_request(served):
    """So that the time limit for the first request is the limit of all."""
    with socket.create_connection(("127.0.0.1", served), timeout=30) as line:
        line.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        assert line.makefile("rb").read().count(b"HTTP/1.1 404 ") == 1


def test_pages_write_nothing(data, served):
    def state() -> dict[str, float]:
        return {str(path): path.stat().st_mtime_ns for path in data.root.rglob("*")}

    before = state()
    (row, *_) = find(data, Query()).rows
    for path in ("/", f"/report/{DATE}", "/rows", "/compare", f"/row/{row['id']}?date={DATE}"):
        assert ask(served, path)[0] == 200
    assert state() == before


def test_what_data_says_is_text_on_every_page(finished, tmp_path):
    data = DataSet.open(str(shutil.copytree(finished.out, tmp_path / "<b>out</b>")))
    plant_markup(data)
    add_second_date(data)
    (row, *_) = find(data, Query()).rows
    browser = client(data)
    search = urlencode({"text": MARKUP, "task": MARKUP})
    for path in ("/", f"/rows?{search}", f"/row/{row['id']}", "/compare", f"/report/{DATE}"):
        answer = browser.get(path)
        assert answer.status_code == 200
        page = Page(answer.text)
        assert not {"script", "img", "b"} & set(page.tags), path
        assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    answer = browser.get(f"/report/{quote(MARKUP, safe='')}")
    assert (answer.status_code, "<script>" in answer.text, "&lt;script&gt;" in answer.text) == (404, False, True)


def test_damage_is_named_and_the_server_goes_on(finished, tmp_path):
    data = DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out")))
    shard = data.root / finished.manifest["shards"][0]["file"]
    shard.write_bytes(b"no Parquet")
    data.manifest_path(LATER).write_text("{", "utf-8")
    data.manifest_path("2026-01-09").write_text('{"date": "2026-01-09"}', "utf-8")
    with running_server(data) as url:
        port = port_of(url)
        assert "damaged manifest" in ask(port, "/")[2]
        data.manifest_path(LATER).unlink()
        status, _, text = ask(port, "/")
        assert (status, "run_id: Field required" in text) == (500, True)
        data.manifest_path("2026-01-09").unlink()
        status, _, text = ask(port, f"/rows?date={DATE}")
        assert (status, shard.name in text) == (500, True)
        assert ask(port, "/")[0] == 200
    manifest = finished.manifest | {"shards": [finished.manifest["shards"][0] | {"file": "/etc/passwd"}]}
    data.manifest_path(DATE).write_text(json.dumps(manifest), "utf-8")
    (data.root / "current.json").unlink()  # without the pointer the manifests say where rows are
    with pytest.raises(StoreError, match="is outside of"):
        find(data, Query())
    assert "is outside of" in client(data).get("/row/0123456789").text


def test_an_empty_data_set_says_what_makes_a_day(tmp_path):
    browser = client(DataSet(tmp_path))
    assert "No date is finished yet" in browser.get("/").text
    assert "No date is finished yet" in browser.get("/compare").text
    assert "There are no further rows" in browser.get("/rows").text


def test_a_port_that_is_taken_is_named_and_addresses_are_written_as_links():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(ConfigError, match=f"port {port}"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="--host"):
        listen("no.such.host.invalid", 0)
    with pytest.raises(ConfigError, match="--port"):
        listen("127.0.0.1", 99999)
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        with listen("::1", 0) as listener:
            assert address(listener).startswith("http://[::1]:")


def test_other_host_names_are_answered_only_where_others_may_ask(data):
    for loopback, status in ((True, 403), (False, 200)):
        browser = TestClient(create_app(data, loopback=loopback), "http://reports.example")
        assert browser.get("/").status_code == status
    for host in ("127.0.0.1", "0.0.0.0"):
        with listen(host, 0) as listener:
            app = create_server(data, listener).config.app
            assert isinstance(app, Starlette)
            assert TestClient(app, "http://reports.example").get("/").status_code == (403 if host != "0.0.0.0" else 200)


def test_the_command_serves_until_it_is_interrupted(data):
    line = command("report", "serve", "--out", data.root, "--port", 0)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment()) as child:
        assert child.stderr is not None
        said = child.stderr.readline()
        assert str(data.root) in said
        port = int(said.split("127.0.0.1:")[1].split("/")[0])
        assert ask(port, "/")[0] == 200
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0

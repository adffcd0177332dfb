"""What is published: whole or not at all for whoever reads by the pointer, back again, re-hashed, and swept."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError, StoreError
from model.data.shards import published_shards
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import lineage
from pipeline.store.maintenance import garbage, listing, remove, verify
from stages.storage import snapshot
from stages.storage.atomic import write_text
from tests.factories.command_line import DATE, ROOT, call
from tests.factories.data_sets import NEXT_DATE, Killed, kill_at, publish_texts


def seen(root):
    """What a reader of the pointer finds, each file checked."""
    found = {}
    for date, of in (snapshot.read(root) or {}).items():
        texts = [(root / shard["file"]).read_text() for shard in of["shards"]]
        assert [sha256(text.encode()).hexdigest() for text in texts] == [shard["sha256"] for shard in of["shards"]]
        found[date] = tuple(texts)
    return found


def globbed(root):
    return {path.read_text() for path in root.glob("data/*/*/*.parquet")}


@pytest.fixture
def killed(monkeypatch):
    """Ends at the nth call that changes the disk."""
    disk = [(os, "replace"), (os, "link"), (os, "fsync"), (Path, "unlink"), (Path, "mkdir"), (Path, "rmdir")]
    return kill_at(monkeypatch, disk)


@pytest.mark.parametrize("what", ["publish", "publish again", "rollback", "withdraw"])
def test_a_death_at_any_call_leaves_the_pointer_whole_and_the_same_command_ends_it(tmp_path, killed, what):
    number = 0
    while True:
        number += 1
        data = DataSet(tmp_path / str(number))
        publish_texts(data, NEXT_DATE, ["other"])
        if what != "publish":
            publish_texts(data, DATE, ["one", "two"])
        if what == "rollback":
            publish_texts(data, DATE, ["two", "three"])

        def act(data=data):
            if what in ("rollback", "withdraw"):
                data.rollback(DATE)
            else:
                publish_texts(data, DATE, ["one", "four"])

        before = seen(data.root)
        killed[0] = number
        try:
            act()
            ended = True
        except Killed:
            ended = False
        killed[0] = 10**9
        between = seen(data.root)
        after = {
            "publish": ("one", "four"), "publish again": ("one", "four"), "rollback": ("one", "two"), "withdraw": None,
        }[what]  # fmt: skip
        assert between[NEXT_DATE] == ("other",)
        assert between.get(DATE) in (before.get(DATE), after)
        made = data.manifest(DATE)
        if not ended and tuple(Path(shard.file).stem for shard in (made.shards if made else ())) != (after or ()):
            act()  # else only the sweep was cut, and rolling back again would go further back
        assert seen(data.root) == {NEXT_DATE: ("other",)} | ({DATE: after} if after else {})
        data.sweep(DATE)
        remove(data, garbage(data, None))
        assert globbed(data.root) == {"other", *(after or ())}
        assert not verify(data)[2]
        if ended:
            break
    assert number > 5


def test_a_reader_sees_one_publication_or_the_other_while_it_changes(tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, NEXT_DATE, ["other"])
    publish_texts(data, DATE, ["a0", "b0"])
    found, failed, end = set(), [], threading.Event()

    def poll():
        while not end.is_set():
            try:
                found.add(seen(tmp_path)[DATE])
            except Exception as error:
                failed.append(error)

    reader = threading.Thread(target=poll)
    reader.start()
    for number in range(1, 30):
        publish_texts(data, DATE, [f"a{number}", f"b{number}"])
        if number % 5 == 0:
            data.rollback(DATE)
    end.set()
    reader.join()
    assert not failed
    assert all(a[1:] == b[1:] for a, b in found)
    assert len(data.publications(DATE)) == 30


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "back", "gc"]), max_size=8))
def test_any_history_ends_where_it_says(tmp_path_factory, steps):
    """Publish a, b or c, roll back, remove garbage, in any order: readers, listings and the engine agree."""
    data = DataSet(tmp_path_factory.mktemp("store"))
    publish_texts(data, NEXT_DATE, ["other"])
    known: list[str] = []  # by publication
    now = -1
    for step in steps:
        if step == "gc":
            remove(data, garbage(data, None))
        elif step != "back":
            if not known or known[-1] != step:
                known.append(step)
            publish_texts(data, DATE, [step])
            now = len(known) - 1
        elif now >= 0:
            data.rollback(DATE)
            now -= 1
        else:
            with pytest.raises(StoreError, match="not published"):
                data.rollback(DATE)
        expected = {known[now]} if now >= 0 else set()
        assert seen(data.root).get(DATE, ()) == tuple(expected)
        assert globbed(data.root) == {"other"} | expected
        assert (DATE in data.dates()) == bool(expected)
        assert not verify(data)[2]
        assert len(data.publications(DATE)) == len(known)
        assert data.withdrawn_path(DATE).exists() == (bool(known) and not expected)


def test_verify_names_each_damaged_and_missing_file_with_its_fix(tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one", "two", "three"])
    publish_texts(data, DATE, ["two", "four"])
    files, size, faults = verify(data)
    assert (files, size, faults) == (7, len("one two three keystwo four keys") - 5, [])
    first, second = data.publications(DATE)
    shard = f"data/domain=law/date={DATE}"
    (tmp_path / first / shard / "one.parquet").write_text("onE")
    (tmp_path / shard / "four.parquet").unlink()
    (tmp_path / second / shard / "two.parquet").unlink()
    os.mkdir(tmp_path / second / shard / "two.parquet")
    found = {fault.file: (fault.what, fault.fix) for fault in verify(data)[2]}
    again = f"gristmill run --date {DATE} --force publishes it again"
    assert found == {
        f"{first}/{shard}/one.parquet": ("damaged", f"remove {first}/: this publication cannot be restored"),
        f"{shard}/four.parquet": ("missing", again),
        f"{second}/{shard}/two.parquet": ("unreadable", again),
    }


def test_gc_removes_what_nothing_names_and_keeps_as_many_publications_as_asked(tmp_path):
    data = DataSet(tmp_path)
    for text in ("one", "two", "three"):
        publish_texts(data, DATE, [text])
    data.rollback(DATE)
    loose = [
        f"data/domain=law/date={NEXT_DATE}/x.parquet", f"history/{DATE}/0009/data/y.parquet", "index/.tmp-z", ".tmp-w",
        "adapters/0123/adapter_model.safetensors",
    ]  # fmt: skip
    for name in loose:
        write_text(tmp_path / name, "x")
    write_text(tmp_path / "notes.txt", "mine")
    places = [str(path.relative_to(tmp_path)) for path in garbage(data, None)]
    assert places == sorted([*loose[:4], "adapters/0123"])
    places = [str(path.relative_to(tmp_path)) for path in garbage(data, 1)]
    assert f"history/{DATE}/0001" in places
    remove(data, garbage(data, 1))
    assert [row["publications"] for row in listing(data)] == [[f"history/{DATE}/0002", f"history/{DATE}/0003"]]
    assert seen(tmp_path) == {DATE: ("two",)}
    assert not [tmp_path / name for name in loose if (tmp_path / name).exists()]
    assert (tmp_path / "notes.txt").exists()
    assert not garbage(data, 1)
    publish_texts(data, DATE, ["four"])
    assert data.manifest(DATE).publication == f"history/{DATE}/0004"


def test_a_data_set_of_an_older_version_gets_a_pointer_and_can_be_rolled_back(tmp_path):
    data = DataSet(tmp_path)
    for date in (DATE, NEXT_DATE):
        publish_texts(data, date, [f"text of {date}"])
        manifest = data.manifest(date).to_dict() | {"version": 1}
        del manifest["publication"], manifest["stages"]
        data.manifest_path(date).write_text(json.dumps(manifest))
    shutil.rmtree(tmp_path / "history")
    (tmp_path / "current.json").unlink()
    assert seen(tmp_path) == {}
    assert len(published_shards(tmp_path)) == 2
    publish_texts(data, "2026-01-04", ["new"])
    assert seen(tmp_path) == {DATE: (f"text of {DATE}",), NEXT_DATE: (f"text of {NEXT_DATE}",), "2026-01-04": ("new",)}
    assert not garbage(data, None)
    assert data.rollback(NEXT_DATE) is None
    assert seen(tmp_path).keys() == {DATE, "2026-01-04"}
    assert (
        tmp_path / f"history/{NEXT_DATE}/0001/data/domain=law/date={NEXT_DATE}/text of {NEXT_DATE}.parquet"
    ).exists()


def test_damaged_pointers_and_publications_are_named(tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one"])
    (tmp_path / "current.json").write_text('{"dates": {"2026-01-02": {}}}')
    with pytest.raises(StoreError, match=r"current\.json: damaged; remove it and run any date"):
        published_shards(tmp_path)
    publish_texts(data, DATE, ["two"])
    assert seen(tmp_path) == {DATE: ("two",)}
    (tmp_path / f"history/{DATE}/0001/manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"0001/manifest\.json: damaged"):
        data.rollback(DATE)
    (tmp_path / f"runs/{DATE}/stages/two.parquet").write_text("owt")
    shutil.rmtree(tmp_path / "history")
    with pytest.raises(InputError, match="missing, although it was committed"):
        data.point(DATE, data.manifest(DATE))


def test_store_commands_on_a_real_date(finished, tmp_path):
    """Roll it back, pass it over, publish it again without making it anew; a copy, so that names are files."""
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    row = next(iter(pq.read_table(published_shards(out)[0], columns=["id"])["id"].to_pylist()))
    assert lineage(DataSet(out), row)["row"]["id"] == row
    assert call("store", "verify", "--out", out).out.endswith("all as published\n")
    assert "published" in call("store", "list", "--out", out).out
    done = call("store", "rollback", DATE, "--out", out)
    assert (done.code, "withdrawn" in done.out) == (0, True)
    assert not list(out.glob("data/*/*/*.parquet"))
    line = ["run", "--config", finished.config, "--date", DATE, "--out", out, "--json"]
    passed = call(*line, "--catch-up")
    assert [day["status"] for day in passed.line["dates"]] == ["withdrawn"]
    assert call("store", "list", "--out", out, "--json").line[0]["state"] == "withdrawn"
    again = call(*line)
    assert (again.code, again.line["digest"]) == (0, finished.result.line["digest"])
    assert call("store", "list", "--out", out, "--json").line[0]["publications"] == [f"history/{DATE}/0001"]
    (out / "data" / "left.parquet").touch()
    assert "add --delete" in call("store", "gc", "--out", out).out
    assert (out / "data" / "left.parquet").exists()
    assert call("store", "gc", "--out", out, "--delete", "--json").line["paths"] == ["data/left.parquet"]
    assert not (out / "data" / "left.parquet").exists()


def test_the_documented_reader_reads(finished):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "getting-started.md").read_text("utf-8"), re.DOTALL)
    space: dict = {}
    exec(block.replace("data/echo", str(finished.out)), space)
    assert [Path(path) for path in space["files"]] == published_shards(finished.out)


def test_a_run_of_a_finished_date_loads_nothing_heavy(finished):
    line = ["run", "--config", str(finished.config), "--date", DATE, "--json"]
    code = (
        "import sys\nfrom pipeline import cli\n"
        f"code = cli.main({line!r})\n"
        "print(code, sorted({'torch', 'transformers', 'apache_beam', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[0])["status"] == "nothing"


def test_store_commands_say_what_is_wrong(finished, tmp_path, capsys):
    from pipeline import cli

    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    shard = next(out.glob("history/*/*/data/*/*/*.parquet"))
    shard.write_bytes(b"x")
    assert cli.main(["store", "verify", "--out", str(out)]) == 1
    assert f"{shard}: damaged; gristmill run --date {DATE} --force publishes it again" in capsys.readouterr().out
    assert cli.main(["store", "verify", "--json", "--out", str(out)]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 1
    assert cli.main(["store", "rollback", "2026-05-05", "--out", str(out)]) == 1
    assert cli.main(["store", "gc", "--keep", "-1", "--out", str(out)]) == 2
    assert cli.main(["store", "list", "--out", str(tmp_path)]) == 2
    assert "is no data set" in capsys.readouterr().err
    lock = DataSet(out).lock(DATE)
    assert cli.main(["store", "rollback", DATE, "--out", str(out)]) == 5
    os.close(lock)

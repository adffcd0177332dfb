"""The chaos program: its reader reports what is wrong, and a few of its faults lose nothing."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256

import pytest

from pipeline.store.registry_files import Registry
from tests.factories.command_line import DATE, ROOT, TIMEOUT_S, environment
from tests.factories.evolve.registries import verdicts
from tests.system.chaos.reader import look, look_at_registry
from tests.system.chaos.reference import differences, registry_content


def line(*flags: object) -> list[str]:
    return [sys.executable, str(ROOT / "tests" / "system" / "chaos" / "chaos.py"), *map(str, flags)]


def test_the_reader_sees_what_a_reader_must_not_see(finished, tmp_path):
    out = tmp_path / "out"
    expected, seen = {DATE: finished.manifest["digest"]}, set()
    assert look(out, expected, seen) == []  # nothing published yet
    shutil.copytree(finished.out, out)
    assert look(out, expected, seen) == []
    assert seen == {DATE}
    assert look(out, {}, seen) == [f"{DATE}: its files are not those of the undisturbed run"]
    pointer = json.loads((out / "current.json").read_text())
    shard = out / pointer["dates"][DATE]["shards"][0]["file"]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    assert look(out, expected, seen) == [f"{DATE}: its files are not those of the undisturbed run"]
    shard.unlink()
    assert f"{DATE}: {shard.relative_to(out)} is missing" in look(out, expected, seen)
    shard.write_bytes(whole)
    pointer["dates"][DATE]["rows"] += 1
    (out / "current.json").write_text(json.dumps(pointer))
    assert len(look(out, expected, seen)) == 1
    (out / "current.json").write_text('{"dates": {}}')
    assert look(out, expected, seen) == [f"{DATE} is gone"]
    (out / "current.json").write_text('{"dates": ')
    assert "torn" in look(out, expected, seen)[0]
    (out / "current.json").unlink()
    assert look(out, expected, seen) == ["current.json is gone"]


def test_the_reader_sees_what_is_wrong_with_a_registry(tmp_path):
    registry = Registry(tmp_path)
    contents = []
    for each in verdicts(["refused", "promoted", "kept"]):
        registry.commit(each)
        contents.append(registry.pointer_path("law").read_bytes())
    pointers, seen = {"law": [sha256(content).hexdigest() for content in contents[1:]]}, {}
    assert look_at_registry(tmp_path, pointers, seen) == []
    path, history = registry.pointer_path("law"), registry.verdict_path("law", 3)
    path.write_bytes(contents[1])
    assert look_at_registry(tmp_path, pointers, seen) == ["the pointer of law went back"]
    path.write_bytes(contents[0])
    assert look_at_registry(tmp_path, pointers, seen) == ["the pointer of law is none of the undisturbed loop"]
    path.write_bytes(contents[2][:-9])
    assert "torn" in look_at_registry(tmp_path, pointers, seen)[0]
    path.write_bytes(contents[2])
    whole = history.read_text()
    for damaged in (whole[:-9], whole.replace('"number": 3', '"number": 4')):
        history.write_text(damaged)
        assert "the pointer names verdict 3" in look_at_registry(tmp_path, pointers, seen)[0]
    history.unlink()
    assert "cannot be read" in look_at_registry(tmp_path, pointers, seen)[0]
    path.unlink()
    assert look_at_registry(tmp_path, pointers, seen) == ["the pointer of law is gone"]


def test_the_end_is_compared_with_the_undisturbed_loop(tmp_path):
    """Byte for byte, but for the times of verdicts."""
    for name, status in (("one", "refused"), ("two", "refused"), ("three", "kept")):
        for each in verdicts([status], decided=f"time of {name}"):
            Registry(tmp_path / name).commit(each)
    one, two, three = (registry_content(tmp_path / name) for name in ("one", "two", "three"))
    assert sorted(one) == ["registry/history/law/0001.json", "registry/law.json"]
    assert differences(two, one) == []
    assert differences(three, one) == sorted(one)
    assert differences({}, one) == sorted(one)
    (tmp_path / "two" / "registry" / "law.json").write_text("{}")
    assert differences(registry_content(tmp_path / "two"), one) == ["registry/law.json"]


@pytest.mark.slow
def test_five_faults_lose_nothing(tmp_path):
    result = subprocess.run(
        line("--faults", 5, "--seed", 3, "--lanes", 1, "--keep", tmp_path / "kept"),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "losses: 0" in result.stdout


@pytest.mark.slow
def test_more_faults_than_time_is_no_success(tmp_path):
    """A run of chaos that injected too little must not look like one that found nothing."""
    flags = ["--faults", 1, "--minutes", 0, "--keep", tmp_path / "kept"]
    result = subprocess.run(
        line(*flags), capture_output=True, text=True, env=environment(), timeout=TIMEOUT_S, check=False
    )
    assert result.returncode == 1
    assert "0 faults in 0 runs" in result.stdout

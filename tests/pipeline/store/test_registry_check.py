"""Registries that are damaged, and what they rest on that is gone: each problem named with its fix, nothing lost."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import StoreError
from model.weights.adapter import CONFIG, WEIGHTS
from pipeline.store.dataset import DataSet
from pipeline.store.maintenance import garbage
from pipeline.store.registry import DomainRegistry, Variant
from pipeline.store.registry_check import verify
from pipeline.store.registry_files import Registry
from stages.storage.shard import ShardName
from tests.factories.command_line import DATE
from tests.factories.data_sets import NEXT_DATE, publish_texts
from tests.factories.evolve.verdicts import adapter_on_disk, variant_of, verdict_after

DAMAGES = {
    "half a file": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a list": lambda content: b"[]",
    "not UTF-8": lambda content: b"\xff\xfe" + content,
    "null bytes": lambda content: b"\0" * len(content),
    "a field is gone": lambda content: json.dumps(
        {k: v for k, v in json.loads(content).items() if k != "domain"}
    ).encode(),
    "a field of another type": lambda content: json.dumps(json.loads(content) | {"champion": 3}).encode(),
    "of another domain": lambda content: json.dumps(json.loads(content) | {"domain": "medicine"}).encode(),
    "deeply nested": lambda content: b"[" * 100_000,
}


@pytest.fixture
def data(tmp_path):
    """A data set whose domain law was promoted twice and refused once; its adapters are there."""
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one"])
    manifest = data.manifest(DATE)
    assert manifest
    registry = Registry(tmp_path)
    pointer = DomainRegistry(domain="law")
    for name in ("first", "second"):
        challenger = Variant(adapter=adapter_on_disk(tmp_path, name), round=1, trained_on={DATE: manifest.digest})
        pointer = registry.commit(verdict_after(pointer, "promoted", challenger=challenger))
    registry.commit(verdict_after(pointer, "refused", challenger=variant_of("gone since")))
    assert verify(data) == []
    return data


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_pointer_is_named_and_made_again_from_the_history(data, damage):
    registry = Registry(data.root)
    path, known = registry.pointer_path("law"), registry.read("law")
    path.write_bytes(damage(path.read_bytes()))
    for call in (registry.read, registry.catch_up):
        with pytest.raises(StoreError, match=rf"{path}: .*; remove it: it is rebuilt from .*/history/law"):
            call("law")
    assert len(verify(data)) == 1
    path.unlink()
    assert registry.catch_up("law") == known
    assert verify(data) == []


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_verdict_is_named_and_the_champion_stays(data, damage, number):
    registry = Registry(data.root)
    path, known = registry.verdict_path("law", number), registry.read("law")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=rf"{path}: .*; restore it from a copy"):
        registry.history("law")
    (problem,) = verify(data)
    assert problem.startswith(f"{path}: ")
    assert registry.read("law") == known  # the pointer has it already
    registry.pointer_path("law").unlink()
    with pytest.raises(StoreError, match=f"{path}: "):  # a champion that the history does not prove is never made up
        registry.read("law")
    assert len(verify(data)) == 1


@pytest.mark.parametrize("place", ["pointer", "verdict"])
def test_files_of_a_newer_version_are_not_read_wrong(data, place):
    registry = Registry(data.root)
    path = registry.pointer_path("law") if place == "pointer" else registry.verdict_path("law", 2)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    (problem,) = verify(data)
    assert problem == f"{path}: version 2 is newer than this gristmill, which knows 1; update it"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_gap_in_the_history_is_named(data, number):
    registry = Registry(data.root)
    known = registry.read("law")
    path = registry.verdict_path("law", number)
    path.unlink()
    assert [problem.partition(":")[0] for problem in verify(data)] == [str(path)]
    assert registry.read("law") == known
    registry.pointer_path("law").unlink()
    if number < 3:  # without its newest verdict the history is that of the day before
        with pytest.raises(StoreError, match=rf"{path}: missing, although {number + 1} is there"):
            registry.read("law")
        with pytest.raises(StoreError, match="missing"):
            registry.commit(verdict_after(known, "refused"))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"champion": Variant().model_dump()}, "champion base, in the history "),
        ({"attempts": 7}, "attempts"),
        ({"vault_openings": 1}, "vault_openings"),
        ({"previous": []}, "previous"),
        ({"frozen": "by nobody"}, "frozen"),
    ],
)
def test_a_pointer_that_somebody_edited_is_named(data, changes, difference):
    path = Registry(data.root).pointer_path("law")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (problem,) = verify(data)
    assert problem.startswith(f"{path}: not what the history leads to ({difference}")


def test_keys_of_later_versions_are_kept_and_no_problem(data):
    registry = Registry(data.root)
    path = registry.pointer_path("law")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "blue"}))
    assert verify(data) == []
    registry.freeze("law", NEXT_DATE, "a test")
    assert json.loads(path.read_text())["colour"] == "blue"


def champion_folder(data):
    adapter = Registry(data.root).read("law").champion.adapter
    return data.root / adapter.path


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "is missing"),
        (lambda folder: (folder / WEIGHTS).write_text("other"), "is damaged"),
        (lambda folder: (folder / CONFIG).write_text("{}"), "is damaged"),
        (lambda folder: (folder / WEIGHTS).unlink(), "is incomplete"),
    ],
)
def test_an_adapter_that_is_gone_or_changed_is_named(data, harm, words):
    harm(champion_folder(data))
    (problem,) = verify(data)
    assert words in problem
    assert "the adapter of the champion" in problem
    assert f"gristmill registry rollback law --out {data.root}" in problem
    Registry(data.root).rollback("law", NEXT_DATE, "its adapter is gone")
    assert verify(data) == []  # the champion before it is whole


def test_an_earlier_champion_s_adapter_is_needed_for_a_rollback(data):
    first = Registry(data.root).read("law").previous[-1].adapter
    assert first
    shutil.rmtree(data.root / first.path)
    (problem,) = verify(data)
    assert f"{first.path}, the adapter of an earlier champion" in problem
    assert "rollback" not in problem


def test_an_adapter_outside_of_the_data_set_is_not_read(data):
    outside = variant_of("x")
    assert outside.adapter
    adapter = outside.adapter.model_copy(update={"path": "../elsewhere"})
    registry = Registry(data.root)
    registry.commit(verdict_after(registry.read("law"), "promoted", challenger=Variant(adapter=adapter)))
    (problem,) = verify(data)
    assert "is outside of the data set" in problem


def withdraw(data):
    data.rollback(DATE)


def publish_other_rows(data):
    publish_texts(data, DATE, ["two"])


def remove_manifest(data):
    data.manifest_path(DATE).unlink()


def damage_manifest(data):
    data.manifest_path(DATE).write_text("{")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (withdraw, "was withdrawn"),
        (publish_other_rows, "has been published again since, with other rows"),
        (remove_manifest, "is not published any more"),
        (damage_manifest, "damaged manifest"),
    ],
)
def test_a_champion_that_learnt_from_rows_that_are_gone_is_named(data, change, words):
    change(data)
    (problem,) = verify(data)
    assert words in problem
    assert DATE in problem


def test_rows_that_come_back_are_no_problem_any_more(data):
    publish_other_rows(data)
    data.rollback(DATE)
    assert verify(data) == []


def test_adapters_that_ever_were_champion_are_no_garbage(data):
    """An unfinished run goes on with the champion that it started with."""
    unused = adapter_on_disk(data.root, "refused")
    registry = Registry(data.root)
    for expected in ("second", "first"):
        registry.rollback("law", NEXT_DATE, f"not {expected}")
        assert garbage(data, None) == [data.root / unused.path]
    registry.verdict_path("law", 1).write_text("{")
    with pytest.raises(StoreError, match=r"0001\.json: damaged"):
        garbage(data, None)


def test_the_adapter_of_a_candidate_that_waits_for_its_verdict_is_no_garbage(data):
    candidate = adapter_on_disk(data.root, "a candidate")
    folder = data.root / f"evolve/{DATE}/stages/fit"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"path": [candidate.path, None]}), folder / ShardName(0, 1, "0123456789abcdef").kept)
    assert garbage(data, None) == []

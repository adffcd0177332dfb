"""Garbage collection of the loop's folders: those that are decided, and never one that work may be in progress in."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.exit_codes import DONE, HELD
from pipeline.store.dataset import DataSet
from pipeline.store.evolve_record import NAME, EvolveRecord
from pipeline.store.maintenance import garbage, remove
from pipeline.store.registry import DomainRegistry
from pipeline.store.registry_files import Registry
from stages.ports import ModelCard
from tests.factories.evolve.verdicts import adapter_on_disk, check_of, variant_of, verdict_after
from tests.factories.manifests import manifest_of

DATES = ("2026-01-02", "2026-01-03", "2026-01-04")


def evolved(data, date, status="refused", domains=("law",), **changes):
    """The folder of a date's evolution, with an adapter, and a verdict on its first domain."""
    adapter = adapter_on_disk(data.root, date)
    folder = data.root / "evolve" / date
    (folder / "stages" / "fit").mkdir(parents=True)
    pq.write_table(
        pa.table({"path": [adapter.path]}), folder / "stages" / "fit" / "part-00000-of-00001-0123456789abcdef.parquet"
    )
    pointers = {domain: DomainRegistry(domain=domain) for domain in domains}
    card = ModelCard("echo", "ba5e", "echo", "", 0)
    EvolveRecord(
        date=date, fingerprint="f", started="", generator=card, encoder=None, filters={}, threads=1,
        pointers=pointers, turns={}, task_weights={}, answers=[],
    ).write(folder)  # fmt: skip
    registry = Registry(data.root)
    challenger = variant_of(date, adapter=adapter)
    verdict = verdict_after(registry.read("law"), status, date=date, **{"challenger": challenger} | changes)
    registry.commit(verdict)
    return folder, data.root / adapter.path


@pytest.fixture
def data(tmp_path):
    return DataSet.open(str(tmp_path))


def test_decided_folders_but_for_the_newest_are_garbage_with_their_adapters(data):
    made = [evolved(data, date) for date in DATES]
    assert garbage(data, None) == []
    assert garbage(data, 3) == []
    assert set(garbage(data, 1)) == {*made[0], *made[1]}
    remove(data, garbage(data, 0))
    assert not (data.root / "evolve").exists()
    assert not (data.root / "adapters").exists()
    assert len(Registry(data.root).history("law")) == 3


def test_the_adapter_of_a_champion_stays(data):
    folder, adapter = evolved(data, DATES[0], "promoted")
    assert garbage(data, 0) == [folder]
    assert adapter.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"domains": ("law", "medicine")},  # killed between two domains
        {"status": "kept", "kind": "rejudge", "checks": (check_of(),), "challenger": None},  # between two verdicts
        {"date_of_verdict": "2026-01-01"},
        {"status": "kept", "kind": "freeze", "challenger": None},  # by hand
    ],
)
def test_a_folder_without_all_verdicts_is_kept(data, changes):
    other_date = {"date": changes.pop("date_of_verdict")} if "date_of_verdict" in changes else {}
    folder, _ = evolved(data, DATES[0], **changes)
    if other_date:
        path = Registry(data.root).verdict_path("law", 1)
        path.write_text(json.dumps(json.loads(path.read_text()) | other_date))
    assert garbage(data, 0) == []
    assert folder.exists()


@pytest.mark.parametrize("content", ["", "{}", '{"date": "2026-01-02"}'])
def test_a_folder_whose_record_is_damaged_is_kept(data, content):
    folder, _ = evolved(data, DATES[0])
    (folder / NAME).write_text(content)
    assert garbage(data, 0) == []


def test_what_a_killed_removal_leaves_is_listed_again(data, monkeypatch):
    folder, adapter = evolved(data, DATES[0])
    listed = garbage(data, 0)
    monkeypatch.setattr("pipeline.store.maintenance.shutil.rmtree", _killed_after(folder / "stages"))
    with pytest.raises(KeyboardInterrupt):
        remove(data, [folder])
    monkeypatch.undo()
    assert not (folder / "stages").exists()
    assert garbage(data, 0) == sorted(listed)
    remove(data, listed)
    assert not folder.exists()
    assert not adapter.exists()


def _killed_after(path):
    from shutil import rmtree

    def killed(folder, **options):
        if folder != path:
            raise KeyboardInterrupt
        rmtree(folder, **options)

    return killed


def test_the_command_lists_first_and_waits_for_nobody(data, capsys):
    folder, _ = evolved(data, DATES[0])
    data.manifest_path(DATES[0]).parent.mkdir()
    data.manifest_path(DATES[0]).write_text(manifest_of(date=DATES[0]).to_json())
    line = ["store", "gc", "--out", str(data.root), "--keep", "0", "--json"]
    assert main(line) == DONE
    printed = json.loads(capsys.readouterr().out)
    assert printed["removed"] is False
    assert f"evolve/{DATES[0]}" in printed["paths"]
    assert folder.exists()
    lock = data.lock(f"the evolution of {DATES[0]}")
    assert main([*line, "--delete"]) == HELD
    assert folder.exists()
    os.close(lock)
    assert main([*line, "--delete"]) == DONE
    assert not folder.exists()

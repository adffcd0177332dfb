"""The manifest: one model reads and writes it, old versions are upgraded, others are refused."""

import json
import tarfile
from pathlib import Path

import pytest

from configs.errors import StoreError
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import VERSION, Manifest
from stages.storage.stage import Counts
from tests.factories.command_line import ROOT
from tests.factories.manifests import domain_figures, manifest_of


@pytest.fixture(scope="module")
def old_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A manifest of version 1."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ROOT / "tests" / "fixtures" / "dataset-of-manifest-1.tar.xz") as archive:
        archive.extract("out/manifests/2026-01-01.json", folder, filter="data")
    return (folder / "out" / "manifests" / "2026-01-01.json").read_text("utf-8")


def test_version_1_is_upgraded_without_loss(old_text: str) -> None:
    old, manifest = json.loads(old_text), Manifest.from_json(old_text)
    assert (old["version"], manifest.version) == (1, VERSION)
    assert [stage for stage in old["seconds"] if stage != "loading"] == list(manifest.stages)
    assert manifest.stages["dedup-sign"].counts is Counts.LOSSES
    assert manifest.stages["adapt-generate"].creates_candidates
    written = json.loads(manifest.to_json())
    assert Manifest.from_json(manifest.to_json()) == manifest
    changed = {"version", "stages", "engines"}
    assert {key: written[key] for key in old.keys() - changed} == {key: old[key] for key in old.keys() - changed}


def test_keys_that_this_version_does_not_know_are_kept() -> None:
    text = json.dumps(manifest_of(domains={"law": domain_figures()}).to_dict() | {"later": [1]})
    assert json.loads(Manifest.from_json(text).to_json())["later"] == [1]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[]", "not a manifest"),
        ("{", "Expecting property name"),
        ('{"date": "2026-01-02"}', "run_id: Field required"),
        (f'{{"version": {VERSION + 1}}}', "newer than this gristmill: update it"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path: Path, text: str, cause: str) -> None:
    data = DataSet(tmp_path)
    data.manifest_path("2026-01-02").parent.mkdir()
    data.manifest_path("2026-01-02").write_text(text, "utf-8")
    with pytest.raises(StoreError, match=cause):
        data.manifest("2026-01-02")

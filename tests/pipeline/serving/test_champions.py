"""Which adapters of a data set the names of a server mean."""

from pathlib import Path

import pytest

from configs.errors import StoreError
from pipeline.serving.champions import champion_folders
from pipeline.store.registry_files import Registry
from tests.factories.evolve.verdicts import variant_of, verdict_after


def test_the_adapters_of_champions(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    champion = variant_of("one")
    registry.commit(verdict_after(registry.read("law"), "promoted", challenger=champion))
    registry.commit(verdict_after(registry.read("law"), "refused"))
    registry.commit(verdict_after(registry.read("medicine"), "refused"))
    assert champion.adapter is not None
    assert champion_folders(tmp_path) == [tmp_path / champion.adapter.path]


def test_a_folder_that_is_no_data_set_has_none(tmp_path: Path) -> None:
    assert champion_folders(tmp_path) == []
    assert champion_folders(tmp_path / "none") == []


def test_a_damaged_registry_is_named(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "law.json").write_text("{")
    with pytest.raises(StoreError, match=r"law\.json"):
        champion_folders(tmp_path)

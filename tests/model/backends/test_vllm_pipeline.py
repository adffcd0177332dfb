"""The real vLLM engine through every stage of the pipeline, an adapter by LoRA request included.

Its model is tiny: vLLM's CPU build makes a few tokens a second of a real one.
"""

import json

import pyarrow.parquet as pq
import pytest

from tests.factories.command_line import DATE, ONE_ROUND, gristmill
from tests.factories.serving.byte_llama import save_byte_chat, save_byte_dsa

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    model, config = folder / "bytes", folder / "v.yaml"
    save_byte_chat(model, max_length=2048)
    config.write_text(
        f"""
name: v
out: {folder / "out"}
domains:
  law: {{seeds: [{{corpus: eu-acts}}], tasks: [explain], per_day: 20, passages: {{max_chars: 600}}}}
generator: {{backend: auto, model: {model}, dtype: float32, max_model_len: 2048, vllm: {{max_num_seqs: 16}}}}
generate: {{shard_rows: 10, max_attempts: 1}}
screen: {{filters: [{{name: length, min_chars: 20}}, {{name: refusal}}]}}
adapt: {{min_rows: 8, lora: {{max_tokens: 20000, epochs: 2, learning_rate: 1.0e-2, max_length: 2048}}}}
tasks:
  explain: {json.dumps(_short())}
"""
    )
    done = gristmill("run", "--config", config, "--date", DATE, "--json")
    assert done.code == 0, done.err + next((folder / "out").rglob("log.txt")).read_text()[-3000:]
    return folder / "out", done.line


def _short():
    from configs.load import load

    return load("echo").tasks["explain"].model_dump(mode="json") | {"sampling": {"max_tokens": 48}}


def test_auto_takes_vllm_and_every_stage_runs(run):
    out, line = run
    manifest = json.loads((out / "manifests" / f"{DATE}.json").read_text())
    assert manifest["generator"]["backend"] == "vllm"
    assert line["accepted"] > 8
    (engine,) = manifest["engines"]["each"].values()
    assert engine["output_tokens"] == sum(domain["output_tokens"] for domain in manifest["domains"].values())
    assert set(manifest["seconds"]) >= {"generate", "screen", "dedup", "adapt", "adapt-generate", "shards"}


def test_the_second_round_is_written_by_the_adapter(run):
    out, line = run
    manifest = json.loads((out / "manifests" / f"{DATE}.json").read_text())
    (adapter,) = manifest["adapters"]
    assert adapter["loss_after"] < adapter["loss_before"]
    rows = [row for shard in line["shards"] for row in pq.read_table(shard).to_pylist()]
    assert {row["adapter"] for row in rows if row["depth"] == 2} == {adapter["name"]}
    assert all(len(row["messages"][-1]["content"]) > 20 for row in rows)


def test_the_projects_own_model_generates_rows(tmp_path):
    """As `gristmill train` leaves it: vLLM takes it by the plugin, its chat template is the plain one."""
    model, config, out = tmp_path / "model", tmp_path / "own.yaml", tmp_path / "out"
    save_byte_dsa(model, max_length=2048)
    config.write_text(
        f"""
name: own
out: {out}
domains:
  law: {{seeds: [{{corpus: eu-acts}}], tasks: [explain], per_day: 6, passages: {{max_chars: 600}}}}
generator: {{backend: vllm, model: {model}, dtype: float32, max_model_len: 2048, vllm: {{max_num_seqs: 8}}}}
generate: {{shard_rows: 10, max_attempts: 1}}
screen: {{filters: [{{name: length, min_chars: 5}}]}}
tasks:
  explain: {json.dumps(_short())}
"""
    )
    done = gristmill("run", "--config", config, "--date", DATE, "--json", *ONE_ROUND)
    assert done.code == 0, done.err + next(out.rglob("log.txt")).read_text()[-3000:]
    manifest = json.loads((out / "manifests" / f"{DATE}.json").read_text())
    assert (manifest["generator"]["backend"], manifest["generator"]["name"]) == ("vllm", "model")
    rows = [row for shard in done.line["shards"] for row in pq.read_table(shard).to_pylist()]
    assert len(rows) == done.line["accepted"] > 0
    assert all(row["output_tokens"] > 0 for row in rows)

"""What of the section `generator` goes into fingerprints. The forms are in data sets that exist: they must stay."""

import pytest

from configs import schema

SHARED = {"dtype": "auto", "max_model_len": 2048, "batch_size": 32}
IN_EVERY_RUN = {"openai": {"base_url": "https://one.example/v1"}, "echo": {"defect_rate": 0.1}}


def section(backend: str, **changes) -> schema.Generator:
    options = {"openai": {"base_url": "https://one.example/v1"}, "echo": {"defect_rate": 0.1}}
    return schema.Generator.model_validate({"backend": backend, "model": "m"} | options | changes)


@pytest.mark.parametrize("backend", ["auto", "echo", "transformers", "vllm", "openai"])
def test_a_run_depends_on_what_changes_rows(backend):
    assert section(backend).identity() == {"backend": backend, "sha256": None, **SHARED, **IN_EVERY_RUN}


@pytest.mark.parametrize("backend", ["echo", "transformers", "vllm", "openai"])
def test_a_shard_depends_on_the_service_that_is_used(backend):
    assert section(backend).shard_identity() == {
        "generator": SHARED | {"echo": {"defect_rate": 0.1}},
        "service": "https://one.example/v1" if backend == "openai" else None,
    }


@pytest.mark.parametrize("backend", ["auto", "echo", "transformers", "vllm", "openai"])
def test_how_fast_and_with_which_secret_is_no_matter(backend):
    openai = {"base_url": "https://one.example/v1", "retries": 1, "timeout_s": 5, "api_key_env": "MINE"}
    other = section(backend, threads=3, model="elsewhere", openai=openai, vllm={"max_num_seqs": 3, "mps": True})
    assert other.identity() == section(backend).identity()
    assert other.shard_identity() == section(backend).shard_identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"openai": {"base_url": "https://one.example/v1", "body": {"seed": None}}},
        {"openai": {"base_url": "https://one.example/v1", "complete_reasons": ["fin"]}},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_how_a_model_is_asked_changes_rows(changes):
    plain, changed = section("openai"), section("openai", **changes)
    assert changed.identity() != plain.identity()
    assert changed.shard_identity() != plain.shard_identity()


def test_processes_share_the_requests_of_a_minute():
    openai = {"base_url": "https://one.example/v1", "requests_per_minute": 90}
    assert section("openai", openai=openai).for_process(3, adapters=True).openai.requests_per_minute == 30


@pytest.mark.parametrize(("adapters", "rank"), [(True, 64), (False, 0)])
def test_an_engine_serves_adapters_only_where_a_run_trains_them(adapters, rank):
    assert section("vllm").for_process(1, adapters=adapters).vllm.max_lora_rank == rank

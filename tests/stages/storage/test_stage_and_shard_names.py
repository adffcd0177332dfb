"""Names of stages and shards, and figures of shards: what is written is what is read, in old data sets too."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.storage.shard import ShardName, is_kept_file
from stages.storage.stage import StageKind, StageName, kind_of_version_1
from stages.storage.stats import EngineStats, GeneratorStats, GpuStats, KvCacheStats, MemoryStats, ShardStats

kinds = st.from_regex(r"[a-z]+(-[a-z]+)?", fullmatch=True).filter(lambda text: not text.startswith(("adapt-", "wave")))


@given(kinds, st.sampled_from([1, 2]), st.integers(1, 99))
def test_a_stage_name_is_parsed_as_it_was_written(kind: str, round_number: int, wave: int) -> None:
    name = StageName(kind, round_number, wave)
    assert StageName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("seeds", StageName("seeds")),
        ("adapt", StageName("adapt")),
        ("adapt-generate", StageName("generate", 2)),
        ("wave2-dedup-sign", StageName("dedup-sign", 1, 2)),
        ("adapt-wave13-screen", StageName("screen", 2, 13)),
    ],
)
def test_stored_stage_names_are_read(text: str, name: StageName) -> None:
    assert StageName.parse(text) == name
    assert kind_of_version_1(text).name == name.kind


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.from_regex(r"[0-9a-f]{16}", fullmatch=True))
def test_a_shard_name_is_parsed_from_each_of_its_files(number: int, total: int, fingerprint: str) -> None:
    name = ShardName(number, total, fingerprint)
    files = [name.kept, name.side("rejects"), name.record, f"{name.kept}.attempt-1", f"{name.kept}.error"]
    assert {ShardName.parse(file) for file in files} == {name}
    assert [is_kept_file(file) for file in files] == [True, False, False, False, False]
    assert ShardName.parse("plan.json") is None


def test_a_stage_kind_is_read_as_it_was_written() -> None:
    kind = kind_of_version_1("dedup-sign")
    assert StageKind.from_json(kind.to_json()) == kind
    with pytest.raises(ValueError, match="nonsense"):
        StageKind.from_json(kind.to_json() | {"counts": "nonsense"})


STATS = ShardStats(
    seconds=2.5,
    loading=1.0,
    ended=100.0,
    prompt_tokens=7,
    output_tokens=9,
    text_bytes=11,
    findings=Counter({"unsure quality": 2}),
    canary={"quality 0": 0.0, "quality 1": 0.5},
    histograms={"length": Counter({"14": 3}), "my filter": Counter({"9": 1})},
    generator=GeneratorStats(
        engines={"0": EngineStats(waiting=1.5, restarts=1.0)},
        gpu=GpuStats(samples=2.0, percent=90.0, sm_samples=1.0, sm_percent=80.0),
        kv_cache=KvCacheStats(samples=4.0, usage=1.0),
        memory={"0": MemoryStats(3.0, 4.0)},
    ),
)


def test_figures_are_read_as_they_were_written() -> None:
    assert ShardStats.from_json(STATS.to_json()) == STATS
    assert ShardStats().to_json() == {}


def test_flat_figures_of_older_records_are_read() -> None:
    flat = {
        "seconds": 2.5, "loading": 1.0, "ended": 100.0, "prompt_tokens": 7.0, "output_tokens": 9.0, "text_bytes": 11.0,
        "tokens": 9.0, "found unsure quality": 2.0, "canary quality 0": 0.0, "canary quality 1": 0.5,
        "profile length 14": 3.0, "profile my filter 9": 1.0, "engine 0 waiting": 1.5, "engine 0 restarts": 1.0,
        "gpu samples": 2.0, "gpu percent": 90.0, "gpu sm samples": 1.0, "gpu sm percent": 80.0, "kv samples": 4.0,
        "kv usage": 1.0, "memory 0 allocated": 3.0, "memory 0 reserved": 4.0,
    }  # fmt: skip
    assert ShardStats.from_json(flat) == STATS


def test_generator_figures_add_up_and_are_taken_apart() -> None:
    generator = STATS.generator
    twice = generator.plus(generator)
    assert twice.engines["0"].waiting == 3.0
    assert twice.memory == generator.memory
    assert twice.since(generator) == generator
    assert generator.plus(GeneratorStats()) == generator

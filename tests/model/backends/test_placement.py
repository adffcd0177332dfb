"""Which engines on which GPUs, with how much memory; what is remembered of their rates; GPUs as NVML tells of them."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configs import schema
from configs.errors import ConfigError
from model.backends.vllm.gpus import Gpu, Meter, Nvml
from model.backends.vllm.placement import (
    GIB,
    MAX_ENGINES_PER_GPU,
    choose_count,
    choose_refill,
    engines_per_gpu,
    kv_cache_bytes,
    place_engines,
)
from model.backends.vllm.rates import MeasuredRates
from stages.ports import ModelCard

SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}
H100 = Gpu("0", "NVIDIA H100", 80 * GIB)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def card(folder: Path, parameters: float, **changes: int) -> ModelCard:
    (folder / "config.json").write_text(json.dumps({"text_config": SHAPE | changes}))
    return ModelCard("m", "0" * 64, "vllm", str(folder), int(parameters))


def config(**options: object) -> schema.Generator:
    return schema.Generator(backend="vllm", model="m", vllm=schema.VllmOptions.model_validate(options))


@pytest.mark.parametrize(
    ("parameters", "memory", "count"), [(135e6, 80, 4), (135e6, 24, 1), (1.7e9, 80, 2), (7e9, 80, 1), (0.5e9, 40, 4)]
)
def test_auto_begins_by_size(tmp_path: Path, parameters: float, memory: int, count: int) -> None:
    gpu = Gpu("0", "x", memory * GIB)
    assert engines_per_gpu(config(), card(tmp_path, parameters), gpu) == count


def test_a_model_that_is_too_big_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tensor_parallel_size"):
        place_engines(config(), card(tmp_path, 70e9), [H100], 8)
    assert len(place_engines(config(tensor_parallel_size=2), card(tmp_path, 70e9), [H100] * 4, 8)) == 2
    with pytest.raises(ConfigError, match=r"tensor_parallel_size: 8, but 4 GPUs"):
        place_engines(config(tensor_parallel_size=8), card(tmp_path, 70e9), [H100] * 4, 8)
    with pytest.raises(ConfigError, match=r"engines_per_gpu: 4 engines .* do not fit"):
        place_engines(config(engines_per_gpu=4), card(tmp_path, 10e9), [H100], 8)


def test_seats_go_round_the_gpus(tmp_path: Path) -> None:
    gpus = [Gpu(str(number), "NVIDIA H100", 80 * GIB) for number in (2, 5)]
    placements = place_engines(config(engines_per_gpu=2), card(tmp_path, 135e6), gpus, 8)
    assert [seat.environment["CUDA_VISIBLE_DEVICES"] for seat in placements] == ["2", "5", "2", "5"]
    assert {seat.environment["OMP_NUM_THREADS"] for seat in placements} == {"2"}
    assert {seat.memory_share for seat in placements} == {0.45}
    assert all(seat.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0" for seat in placements)
    (alone,) = place_engines(config(engines_per_gpu=1), card(tmp_path, 135e6), gpus[:1], 8)
    assert alone.kv_cache_bytes is None  # vLLM measures what is free
    fixed = place_engines(config(engines_per_gpu=2, kv_cache_gib=3), card(tmp_path, 135e6), gpus[:1], 8)
    assert [seat.kv_cache_bytes for seat in fixed] == [3 * GIB, 3 * GIB]
    (pair,) = place_engines(config(tensor_parallel_size=2), card(tmp_path, 135e6), gpus, 8)
    assert pair.environment["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in pair.environment


def test_without_gpus_there_is_one_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.backends.vllm.placement.is_cpu_build", lambda: False)
    assert len(place_engines(config(), card(tmp_path, 135e6), [], 4)) == 1
    with pytest.raises(ConfigError, match=r"engines_per_gpu: .*nvidia-smi"):
        place_engines(config(engines_per_gpu=2), card(tmp_path, 135e6), [], 4)
    monkeypatch.setattr("model.backends.vllm.placement.is_cpu_build", lambda: True)
    placements = place_engines(config(engines_per_gpu=2, kv_cache_gib=3), card(tmp_path, 135e6), [], 4)
    assert [seat.environment["VLLM_CPU_KVCACHE_SPACE"] for seat in placements] == ["3", "3"]


def test_tensor_parallel_engines_have_their_gpus_to_themselves() -> None:
    with pytest.raises(ValueError, match="engines_per_gpu: 2 with tensor_parallel_size 2"):
        schema.VllmOptions(engines_per_gpu=2, tensor_parallel_size=2)


@given(
    st.integers(8, 200),
    st.integers(1, 8),
    st.floats(0.1, 1),
    st.integers(1, 2048),
    st.integers(64, 32_768),
    st.sampled_from(["auto", "fp8"]),
)
def test_engines_never_plan_more_than_their_share(
    tmp_path_factory: pytest.TempPathFactory,
    memory: int,
    count: int,
    share: float,
    sequences: int,
    length: int,
    kv: str,
) -> None:
    of = card(tmp_path_factory.mktemp("m"), 135e6)
    asked = config(gpu_memory_utilization=share, max_num_seqs=sequences, kv_cache_dtype=kv)
    asked = asked.model_copy(update={"max_model_len": length})
    try:
        cache = kv_cache_bytes(asked, of, Gpu("0", "x", memory * GIB), count)
    except ConfigError:
        assume(False)
        raise
    token = 2 * 30 * 3 * 64 * (1 if kv == "fp8" else 2)
    assert token * length <= cache <= token * length * sequences
    assert count * (cache + 2 * 135e6 + 1.5 * GIB) <= share * memory * GIB


def test_auto_takes_the_best_and_tries_its_neighbours_once(tmp_path: Path) -> None:
    model, asked = card(tmp_path, 135e6), config()
    rates, seen = MeasuredRates(model, H100, False), []
    speed = {1: 46_000, 2: 80_000, 4: 119_000, 8: 110_000}
    for _ in range(6):
        count = engines_per_gpu(asked, model, H100)
        seen.append(count)
        rates.put(count, speed[count])
    assert seen == [4, 8, 2, 4, 4, 4]
    assert rates.read() == {4: 119_000, 8: 110_000, 2: 80_000}
    rates.put(8, 0)  # they did not all start
    assert engines_per_gpu(asked, model, H100) == 4
    rates.path.write_text("{")
    assert engines_per_gpu(asked, model, H100) == 4
    assert MeasuredRates(model, Gpu("0", "NVIDIA A100", 80 * GIB), False).read() == {}


def test_engines_under_mps_are_chosen_and_remembered_apart(tmp_path: Path) -> None:
    model = card(tmp_path, 135e6)
    MeasuredRates(model, H100, False).put(8, 110_000)
    assert engines_per_gpu(config(mps=True), model, H100) == 6
    MeasuredRates(model, H100, True).put(6, 142_000)
    assert engines_per_gpu(config(mps=True), model, H100) == 3
    MeasuredRates(model, H100, True).put(3, 90_000)
    assert engines_per_gpu(config(mps=True), model, H100) == 6
    assert engines_per_gpu(config(), model, H100) == 4


@given(st.dictionaries(st.integers(1, MAX_ENGINES_PER_GPU), st.floats(0, 1e6), max_size=8), st.sampled_from([1, 2, 4]))
def test_a_choice_always_fits(rates: dict[int, float], rule: int) -> None:
    count = choose_count(rule, rates, lambda count: count <= 4)
    assert count == rule or count in rates or count <= 4


NVML = """
class NVMLError(Exception): pass
class Memory: total = 1000
class Rates: gpu = 50
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 3
def nvmlDeviceGetHandleByIndex(number):
    if number > 2: raise NVMLError("no such device")
    return number
def nvmlDeviceGetHandleByUUID(uuid): return uuid
def nvmlDeviceGetName(handle): return b"card" if handle == 1 else "card"
def nvmlDeviceGetMemoryInfo(handle): return Memory
def nvmlDeviceGetUtilizationRates(handle):
    if handle == 2: raise NVMLError("not supported")
    return Rates
def nvmlDeviceGetPowerUsage(handle): return 300_000
"""
# counters of multiprocessors: each reading of GPU 0 is 40 % of an interval further; GPU 1 has none, GPU 2 breaks
GPM = """
NVML_GPM_METRICS_GET_VERSION, NVML_GPM_METRIC_SM_UTIL = 1, 2
class Support:
    def __init__(self, able): self.isSupportedDevice = able
class Metric: metricId = nvmlReturn = value = 0
class c_nvmlGpmMetricsGet_t:
    def __init__(self): self.metrics = [Metric()]
def nvmlGpmQueryDeviceSupport(handle): return Support(handle != 1)
def nvmlGpmSampleAlloc(): return {}
clock = 0
def nvmlGpmSampleGet(handle, sample):
    global clock
    if handle == 2: raise NVMLError("in use by another")
    clock += 1
    sample["busy"], sample["at"] = 40 * clock, clock
def nvmlGpmMetricsGet(asked):
    assert (asked.version, asked.numMetrics, asked.metrics[0].metricId) == (1, 1, 2)
    assert asked.sample2["at"] == asked.sample1["at"] + 1
    asked.metrics[0].value = asked.sample2["busy"] - asked.sample1["busy"]
"""


def test_gpus_are_those_that_cuda_would_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pynvml.py").write_text(NVML)
    monkeypatch.syspath_prepend(str(tmp_path))
    nvml = Nvml()
    gpus = nvml.gpus()
    assert gpus == [Gpu(str(number), "card", 1000) for number in range(3)]
    assert nvml.sample(gpus) == [(50.0, 300.0)] * 2
    for named, devices in (("2,0", ["2", "0"]), ("", []), ("-1", []), ("GPU-1a", ["GPU-1a"]), ("7,1", ["1"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert [gpu.device for gpu in nvml.gpus()] == devices
    sampled = threading.Event()
    sample = nvml.sample
    monkeypatch.setattr(nvml, "sample", lambda gpus: (sampled.set(), sample(gpus))[1])
    meter = Meter(nvml, gpus)
    assert sampled.wait(30)
    meter.close()
    assert meter.totals.percent / meter.totals.samples == 50


def test_multiprocessors_are_counted_where_the_gpu_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pynvml.py").write_text(NVML)
    monkeypatch.syspath_prepend(str(tmp_path))
    older = Nvml()
    assert older.sm_activity(older.gpus()) == []
    (tmp_path / "pynvml.py").write_text(NVML + GPM)
    nvml = Nvml()
    gpus = nvml.gpus()
    assert [nvml.sm_activity(gpus) for _ in range(4)] == [[], [40.0], [40.0], [40.0]]


def test_without_a_driver_there_are_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pynvml.py").write_text(NVML.replace("def nvmlInit(): pass", "def nvmlInit(): raise NVMLError"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Nvml().gpus() == []


def test_engines_that_share_a_gpu_replace_sequences_together():
    asked = config(refill=0.25).vllm
    assert choose_refill(asked, shared=True) == choose_refill(asked, shared=False) == 0.25
    assert choose_refill(config(refill=0).vllm, shared=True) == 0
    assert choose_refill(config().vllm, shared=True) > choose_refill(config().vllm, shared=False) == 0

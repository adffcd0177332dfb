"""Which engines on which GPUs, with how much memory; and what earlier runs measured of how many are best."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from configs.schema import Generator as GeneratorConfig
from configs.schema import VllmOptions
from model.backends.vllm.gpus import Gpu
from model.weights.resolve import weight_files
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.packages import cache_folder

MOST = 8  # engines a GPU that `auto` tries
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one engine runs. `kv_cache_bytes` None: the engine measures what is free."""

    environment: dict[str, str]
    memory_share: float
    kv_cache_bytes: int | None


def place(config: GeneratorConfig, card: ModelCard, gpus: Sequence[Gpu], threads: int) -> list[Seat]:
    """A seat for each engine. Without GPUs (the CPU build, or other makers' cards): one, or as many as are asked for.

    Raises ConfigError when the engines do not fit.
    """
    options = config.vllm
    cores = threads if threads > 0 else os.cpu_count() or 1
    if not gpus:
        count = 1 if options.engines_per_gpu == "auto" else options.engines_per_gpu
        environment = _environment(cores // count, options.tensor_parallel_size)
        if cpu_build():
            space = str(max(1, round(options.kv_cache_gib)))
            environment["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", space)
        elif count > 1:
            raise ConfigError(
                "generator.vllm.engines_per_gpu: NVIDIA's management library sees no GPU here, so engines cannot "
                "share one; set 1, or mend the driver (`nvidia-smi`)"
            )
        return [Seat(environment, options.gpu_memory_utilization, None)] * count
    size = options.tensor_parallel_size
    if len(gpus) < size:
        raise ConfigError(
            f"generator.vllm.tensor_parallel_size: {size}, but {len(gpus)} GPUs are visible; lower it, or "
            "widen CUDA_VISIBLE_DEVICES"
        )
    groups = [gpus[at : at + size] for at in range(0, len(gpus) - size + 1, size)]
    count = engines_per_gpu(config, card, gpus[0]) if size == 1 else 1
    share = options.gpu_memory_utilization / count
    seats = []
    for group in groups:
        cache = kv_cache_bytes(config, card, group[0], count) if count > 1 else None
        environment = _environment(cores // (count * len(groups)), size)
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.device for gpu in group)
        if "CUDA_VISIBLE_DEVICES" not in os.environ:
            environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's order
        seats.append([Seat(environment, share, cache)] * count)
    return [seat for places in zip(*seats, strict=True) for seat in places]  # the first engine of each GPU first


def engines_per_gpu(config: GeneratorConfig, card: ModelCard, gpu: Gpu) -> int:
    """The count asked for; `auto`: by size, then by what runs have measured on such a GPU."""
    asked = config.vllm.engines_per_gpu
    if asked != "auto":
        return asked
    weights = weight_bytes(config, card)
    if weights + _overhead(config, card) > config.vllm.gpu_memory_utilization * gpu.memory:
        raise ConfigError(
            f"generator.model: {card.name!r} ({weights / GIB:.1f} GiB) does not fit into one {gpu.name} of "
            f"{gpu.memory / GIB:.0f} GiB; raise generator.vllm.tensor_parallel_size, or take a smaller model"
        )
    rule = 1
    if gpu.memory >= 39 * GIB:  # what "40 GB" cards have
        small = 6 if config.vllm.mps else 4
        rule = small if card.parameters < 0.6e9 else 2 if card.parameters < 2.5e9 else 1

    def fits(count: int) -> bool:
        try:
            return count == 1 or kv_cache_bytes(config, card, gpu, count) > 0
        except ConfigError:
            return False

    while not fits(rule):
        rule //= 2
    return choose(rule, Rates(card, gpu, config.vllm.mps).read(), fits)


def choose(rule: int, rates: dict[int, float], fits: Callable[[int], bool]) -> int:
    """`rule` until something is measured; then the best count, once its half and its double are measured too."""
    if not rates:
        return rule
    best = max(rates, key=rates.__getitem__)
    for near in (best * 2, best // 2):
        if 1 <= near <= MOST and near not in rates and fits(near):
            return near
    return best


def refill(options: VllmOptions, *, shared: bool) -> float:
    """The share asked for; by itself an eighth where engines share a GPU: their model is small, so that it counts."""
    return options.refill if options.refill is not None else 1 / 8 if shared else 0.0


class Rates:
    """Tokens a second of a GPU by engines on it: one small file a model, GPU, version of vLLM and MPS or not."""

    def __init__(self, card: ModelCard, gpu: Gpu, mps: bool):
        key = json.dumps([card.sha256, gpu.name, _version(), mps])
        self.path = cache_folder() / "engines" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        self.about = {"model": card.name, "gpu": gpu.name, "vllm": _version(), "mps": mps}

    def read(self) -> dict[int, float]:
        """Empty where nothing stands, or nothing that can be read."""
        with suppress(OSError, ValueError, KeyError, AttributeError):
            rates = json.loads(self.path.read_text("utf-8"))["tokens_per_second"]
            return {int(count): float(rate) for count, rate in rates.items()}
        return {}

    def put(self, count: int, rate: float) -> None:
        """Notes the newest rate of so many engines; 0: they did not all start. A cache that is full costs nothing."""
        rates = {str(key): value for key, value in self.read().items()} | {str(count): round(rate, 1)}
        with suppress(OSError):
            write_text(self.path, json.dumps(self.about | {"tokens_per_second": rates}))


def kv_cache_bytes(config: GeneratorConfig, card: ModelCard, gpu: Gpu, count: int) -> int:
    """Of each of `count` engines on the GPU: what is left of its share, at most what its sequences can use.

    Raises ConfigError where that does not hold one sequence of full length.
    """
    weights, overhead = weight_bytes(config, card), _overhead(config, card)
    left = int(config.vllm.gpu_memory_utilization * gpu.memory / count - weights - overhead)
    token = _token_bytes(config, card)
    if left < max(token * config.max_model_len, 1):
        raise ConfigError(
            f"generator.vllm.engines_per_gpu: {count} engines of {card.name!r} do not fit into one {gpu.name}: each "
            f"has {config.vllm.gpu_memory_utilization * gpu.memory / count / GIB:.1f} GiB, its weights take "
            f"{weights / GIB:.1f}, graphs and activations about {overhead / GIB:.1f}, one sequence of "
            f"{config.max_model_len} tokens {token * config.max_model_len / GIB:.2f}; lower it, "
            "generator.vllm.max_num_seqs or generator.max_model_len"
        )
    return min(left, token * config.max_model_len * config.vllm.max_num_seqs) if token else left


def weight_bytes(config: GeneratorConfig, card: ModelCard) -> int:
    """The weights in memory: as on disk, unless the dtype makes them shorter or longer."""
    if config.dtype == "float32":
        return card.parameters * 4
    on_disk = sum(path.stat().st_size for path in weight_files(Path(card.path)))
    return min(on_disk or card.parameters * 2, card.parameters * 2)  # float32 files are read as bfloat16


def _overhead(config: GeneratorConfig, card: ModelCard) -> int:
    """An estimate: CUDA's context, graphs and workspaces; sampling over the vocabulary; a full batch's activations."""
    shape = _shape(card)
    sampling = config.vllm.max_num_seqs * shape.get("vocab_size", 0) * 4 * 4  # float32 logits and their copies
    wide = 8 * shape.get("hidden_size", 0) + 4 * shape.get("intermediate_size", 0)
    return int(1.5 * GIB) + sampling + (config.vllm.max_num_batched_tokens or 16_384) * wide * 2


def _token_bytes(config: GeneratorConfig, card: ModelCard) -> int:
    """Of one token in the KV cache; 0 where the model's config does not tell."""
    shape = _shape(card)
    heads = shape.get("num_attention_heads", 0)
    width = shape.get("head_dim") or shape.get("hidden_size", 0) // max(heads, 1)
    number = 1 if config.vllm.kv_cache_dtype == "fp8" else 4 if config.dtype == "float32" else 2
    return 2 * shape.get("num_hidden_layers", 0) * (shape.get("num_key_value_heads") or heads) * width * number


def _shape(card: ModelCard) -> dict[str, Any]:
    shape = json.loads(Path(card.path, "config.json").read_text("utf-8"))
    return shape.get("text_config", shape)


def _environment(threads: int, parallel: int) -> dict[str, str]:
    """Of a worker; what is set already stays."""
    wanted = {
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(max(threads, 1)),
    }
    if parallel == 1:  # the engine's own process would add a hop to each step
        wanted["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def _version() -> str:
    return next(_versions(), "")


def _versions() -> Iterator[str]:
    for package in ("vllm-cpu", "vllm"):
        with suppress(importlib.metadata.PackageNotFoundError):
            yield f"{package} {importlib.metadata.version(package)}"


def cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU: its own package, or a `+cpu` version."""
    return "cpu" in _version()

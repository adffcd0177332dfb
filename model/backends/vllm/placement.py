"""Decides how many engines run, on which GPUs and with how much memory."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from configs.schema import Generator as GeneratorConfig
from configs.schema import VllmOptions
from model.backends.vllm.gpus import Gpu
from model.backends.vllm.rates import MeasuredRates, is_cpu_build
from model.weights.resolve import weight_files
from stages.cores import usable_cores
from stages.ports import ModelCard

MAX_ENGINES_PER_GPU = 8  # that `auto` tries
GIB = 2**30
MIN_SHARED_GPU_BYTES = 39 * GIB  # `auto` puts several engines on larger GPUs only; cards sold as 40 GB have this
SMALL_MODEL_PARAMETERS = 0.6e9
MEDIUM_MODEL_PARAMETERS = 2.5e9
CPU_KV_CACHE_GIB = 2.0  # of vLLM's CPU build, where the config names none
CUDA_CONTEXT_BYTES = int(1.5 * GIB)  # with graphs and workspaces, estimated
DEFAULT_TOKENS_PER_STEP = 16_384  # for the estimate, where the config leaves it to vLLM


@dataclass(frozen=True, slots=True)
class EnginePlacement:
    """Where one engine runs."""

    environment: dict[str, str]  # variables of its process
    memory_share: float  # of the GPU, 0 to 1
    kv_cache_bytes: int | None  # None: the engine measures what is free


def place_engines(config: GeneratorConfig, card: ModelCard, gpus: Sequence[Gpu], threads: int) -> list[EnginePlacement]:
    """A placement for each engine, the first engine of each GPU first.

    Without GPUs (vLLM's CPU build, or cards that NVML does not see) there is one engine, or as many as configured.
    `threads`: CPU threads that the engines share; 0 or less: all cores that this process may use.
    Raises ConfigError if they do not fit.
    """
    options = config.vllm
    cores = threads if threads > 0 else usable_cores()
    if not gpus:
        count = 1 if options.engines_per_gpu == "auto" else options.engines_per_gpu
        environment = _environment(cores // count, options.tensor_parallel_size)
        if is_cpu_build():
            space = str(max(1, round(options.kv_cache_gib or CPU_KV_CACHE_GIB)))
            environment["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", space)
        elif count > 1:
            raise ConfigError(
                "generator.vllm.engines_per_gpu: NVIDIA's management library sees no GPU here, so engines cannot "
                "share one; set 1, or repair the driver (`nvidia-smi` shows its state)"
            )
        return [EnginePlacement(environment, options.gpu_memory_utilization, None)] * count
    size = options.tensor_parallel_size
    if len(gpus) < size:
        raise ConfigError(
            f"generator.vllm.tensor_parallel_size: {size}, but {len(gpus)} GPUs are visible; lower it, or "
            "widen CUDA_VISIBLE_DEVICES"
        )
    groups = [gpus[at : at + size] for at in range(0, len(gpus) - size + 1, size)]
    count = engines_per_gpu(config, card, gpus[0]) if size == 1 else 1
    share = options.gpu_memory_utilization / count
    by_gpu = []
    for group in groups:
        cache = int(options.kv_cache_gib * GIB) if options.kv_cache_gib else None
        if cache is None and count > 1:
            cache = kv_cache_bytes(config, card, group[0], count)
        environment = _environment(cores // (count * len(groups)), size)
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.device for gpu in group)
        if "CUDA_VISIBLE_DEVICES" not in os.environ:
            environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # NVML's order
        by_gpu.append([EnginePlacement(environment, share, cache)] * count)
    return [placement for placements in zip(*by_gpu, strict=True) for placement in placements]


def engines_per_gpu(config: GeneratorConfig, card: ModelCard, gpu: Gpu) -> int:
    """The configured number; with `auto` a number by model size, or by the rates that runs measured on such a GPU.

    Raises ConfigError if the model does not fit on the GPU.
    """
    configured = config.vllm.engines_per_gpu
    if configured != "auto":
        return configured
    weights = weight_bytes(config, card)
    if weights + _overhead_bytes(config, card) > config.vllm.gpu_memory_utilization * gpu.memory:
        raise ConfigError(
            f"generator.model: {card.name!r} ({weights / GIB:.1f} GiB) does not fit into one {gpu.name} of "
            f"{gpu.memory / GIB:.0f} GiB; raise generator.vllm.tensor_parallel_size, or take a smaller model"
        )
    by_size = 1
    if gpu.memory >= MIN_SHARED_GPU_BYTES and card.parameters < SMALL_MODEL_PARAMETERS:
        by_size = 6 if config.vllm.mps else 4
    elif gpu.memory >= MIN_SHARED_GPU_BYTES and card.parameters < MEDIUM_MODEL_PARAMETERS:
        by_size = 2

    def fits(count: int) -> bool:
        try:
            return count == 1 or kv_cache_bytes(config, card, gpu, count) > 0
        except ConfigError:
            return False

    while not fits(by_size):
        by_size //= 2
    return choose_count(by_size, MeasuredRates(card, gpu, config.vllm.mps).read(), fits)


def choose_count(by_size: int, rates: dict[int, float], fits: Callable[[int], bool]) -> int:
    """The number of engines on a GPU. `rates`: measured tokens a second, by number of engines.

    Without rates it is `by_size`. Else twice or half of the best number, if that fits and is not measured yet; else the
    best number.
    """
    if not rates:
        return by_size
    best = max(rates, key=rates.__getitem__)
    for neighbour in (best * 2, best // 2):
        if 1 <= neighbour <= MAX_ENGINES_PER_GPU and neighbour not in rates and fits(neighbour):
            return neighbour
    return best


def choose_refill(options: VllmOptions, *, shared: bool) -> float:
    """The configured share. By default 1/8 if engines share a GPU: their models are small, so that refilling together
    makes a difference."""
    return options.refill if options.refill is not None else 1 / 8 if shared else 0.0


def kv_cache_bytes(config: GeneratorConfig, card: ModelCard, gpu: Gpu, count: int) -> int:
    """Bytes for the KV cache of each of `count` engines on the GPU: the rest of its memory share, at most what its
    sequences can use.

    Raises ConfigError if one sequence of full length does not fit into it.
    """
    weights, overhead = weight_bytes(config, card), _overhead_bytes(config, card)
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
    """Bytes of the weights in memory."""
    if config.dtype == "float32":
        return card.parameters * 4
    on_disk = sum(path.stat().st_size for path in weight_files(Path(card.path)))
    return min(on_disk or card.parameters * 2, card.parameters * 2)  # float32 files are loaded as bfloat16


def _overhead_bytes(config: GeneratorConfig, card: ModelCard) -> int:
    """Estimated bytes beside weights and KV cache: CUDA, sampling over the vocabulary, activations of a full step."""
    shape = _shape(card)
    sampling = config.vllm.max_num_seqs * shape.get("vocab_size", 0) * 4 * 4  # float32 logits and their copies
    per_token = 8 * shape.get("hidden_size", 0) + 4 * shape.get("intermediate_size", 0)
    tokens = config.vllm.max_num_batched_tokens or DEFAULT_TOKENS_PER_STEP
    return CUDA_CONTEXT_BYTES + sampling + tokens * per_token * 2


def _token_bytes(config: GeneratorConfig, card: ModelCard) -> int:
    """Bytes of one token in the KV cache; 0 if the model's config does not have the sizes."""
    shape = _shape(card)
    heads = shape.get("num_attention_heads", 0)
    width = shape.get("head_dim") or shape.get("hidden_size", 0) // max(heads, 1)
    bytes_per_number = 1 if config.vllm.kv_cache_dtype == "fp8" else 4 if config.dtype == "float32" else 2
    return (
        2 * shape.get("num_hidden_layers", 0) * (shape.get("num_key_value_heads") or heads) * width * bytes_per_number
    )


def _shape(card: ModelCard) -> dict[str, Any]:
    shape = json.loads(Path(card.path, "config.json").read_text("utf-8"))
    return shape.get("text_config", shape)


def _environment(threads: int, parallel: int) -> dict[str, str]:
    """Environment variables of a worker. Those that are set already keep their values."""
    variables = {
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(max(threads, 1)),
    }
    if parallel == 1:  # vLLM's engine in one more process would slow down each step
        variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return {name: os.environ.get(name, value) for name, value in variables.items()}

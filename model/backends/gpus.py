"""The GPUs that this process may use, seen through NVML: CUDA is left untouched, so that engines can start after it."""

import importlib.util
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """`device`: its name in CUDA_VISIBLE_DEVICES (a number, or a UUID). `memory`: bytes in all."""

    device: str
    name: str
    memory: int


class Nvml:
    """NVIDIA's management library where it is there, else no GPUs.

    Python's side of it is `nvidia-ml-py`; vLLM carries a copy, loaded by its path since importing vLLM takes seconds.
    """

    def __init__(self) -> None:
        self._library: Any = None
        self._handles: dict[str, Any] = {}
        for module in ("pynvml", "vllm"):
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                continue
            file = Path(spec.origin) if module == "pynvml" else Path(spec.origin).parent / "third_party" / "pynvml.py"
            found = importlib.util.spec_from_file_location("gristmill_nvml", file)
            if found is None or found.loader is None or not file.exists():
                continue
            library: Any = importlib.util.module_from_spec(found)
            sys.modules[found.name] = library  # where it looks itself up
            found.loader.exec_module(library)
            with suppress(library.NVMLError):  # no driver
                library.nvmlInit()
                self._library = library
                return

    def gpus(self) -> list[Gpu]:
        """Those of CUDA_VISIBLE_DEVICES in its order where that is set, else all."""
        if self._library is None:
            return []
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is None:
            devices = [str(number) for number in range(self._library.nvmlDeviceGetCount())]
        else:
            devices = [name.strip() for name in named.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
        found = []
        for device in devices:
            with suppress(self._library.NVMLError):
                handle = self._handle(device)
                name = self._library.nvmlDeviceGetName(handle)
                total = self._library.nvmlDeviceGetMemoryInfo(handle).total
                found.append(Gpu(device, name.decode() if isinstance(name, bytes) else str(name), int(total)))
        return found

    def sample(self, gpus: list[Gpu]) -> list[tuple[float, float]]:
        """Utilisation (0 to 100) and power (watts) of each GPU that tells them; its last sampling interval."""
        samples = []
        for gpu in gpus:
            with suppress(self._library.NVMLError):
                handle = self._handle(gpu.device)
                used = self._library.nvmlDeviceGetUtilizationRates(handle).gpu
                samples.append((float(used), self._library.nvmlDeviceGetPowerUsage(handle) / 1000))
        return samples

    def load(self, gpus: list[Gpu]) -> dict[str, tuple[float, int]]:
        """Utilisation (0 to 1) and used bytes of each GPU that tells them, by device: of all processes together."""
        found = {}
        for gpu in gpus:
            with suppress(self._library.NVMLError):
                handle = self._handle(gpu.device)
                used = int(self._library.nvmlDeviceGetMemoryInfo(handle).used)
                found[gpu.device] = self._library.nvmlDeviceGetUtilizationRates(handle).gpu / 100, used
        return found

    def _handle(self, device: str) -> Any:
        if device not in self._handles:
            library = self._library
            self._handles[device] = (
                library.nvmlDeviceGetHandleByIndex(int(device))
                if device.isdigit()
                else library.nvmlDeviceGetHandleByUUID(device)
            )
        return self._handles[device]


class Meter:
    """Samples GPUs each second in a thread of its own, until it is closed."""

    def __init__(self, nvml: Nvml, gpus: list[Gpu]):
        self.totals = {"gpu samples": 0.0, "gpu percent": 0.0, "gpu watts": 0.0}  # sums over GPUs and seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(nvml, gpus), name="gpu-meter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self, nvml: Nvml, gpus: list[Gpu]) -> None:
        while not self._ended.wait(1.0):
            for percent, watts in nvml.sample(gpus):
                self.totals["gpu samples"] += 1
                self.totals["gpu percent"] += percent
                self.totals["gpu watts"] += watts

"""The GPUs that this process may use, read through NVML. CUDA is not started: this process takes no memory of them."""

import importlib.util
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.storage.stats import GpuStats


@dataclass(frozen=True, slots=True)
class Gpu:
    """`device`: its name in CUDA_VISIBLE_DEVICES (a number or a UUID). `memory`: its total bytes."""

    device: str
    name: str
    memory: int


class Nvml:
    """NVIDIA's management library. Without it, or without a driver, there are no GPUs.

    The Python bindings are those of `nvidia-ml-py` or the copy inside vLLM, which is loaded by its path: importing vLLM
    takes seconds.
    """

    def __init__(self) -> None:
        self._library: Any = None
        self._handles: dict[str, Any] = {}
        self._counts: dict[str, list[Any]] = {}  # a GPU's last two counter samples
        for module in ("pynvml", "vllm"):
            spec = importlib.util.find_spec(module)
            if spec is None or spec.origin is None:
                continue
            file = Path(spec.origin) if module == "pynvml" else Path(spec.origin).parent / "third_party" / "pynvml.py"
            library_spec = importlib.util.spec_from_file_location("gristmill_nvml", file)
            if library_spec is None or library_spec.loader is None or not file.exists():
                continue
            library: Any = importlib.util.module_from_spec(library_spec)
            sys.modules[library_spec.name] = library  # the bindings look themselves up there
            library_spec.loader.exec_module(library)
            with suppress(library.NVMLError):  # no driver
                library.nvmlInit()
                self._library = library
                return

    def gpus(self) -> list[Gpu]:
        """The GPUs of CUDA_VISIBLE_DEVICES, in its order; all if it is not set."""
        if self._library is None:
            return []
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is None:
            devices = [str(number) for number in range(self._library.nvmlDeviceGetCount())]
        else:
            devices = [name.strip() for name in named.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
        gpus = []
        for device in devices:
            with suppress(self._library.NVMLError):
                handle = self._handle(device)
                name = self._library.nvmlDeviceGetName(handle)
                total = self._library.nvmlDeviceGetMemoryInfo(handle).total
                gpus.append(Gpu(device, name.decode() if isinstance(name, bytes) else str(name), int(total)))
        return gpus

    def sample(self, gpus: list[Gpu]) -> list[tuple[float, float]]:
        """Utilisation (0 to 100) and power (watts) over the last sampling interval, of each GPU that reports them."""
        samples = []
        for gpu in gpus:
            with suppress(self._library.NVMLError):
                handle = self._handle(gpu.device)
                used = self._library.nvmlDeviceGetUtilizationRates(handle).gpu
                samples.append((float(used), self._library.nvmlDeviceGetPowerUsage(handle) / 1000))
        return samples

    def sm_activity(self, gpus: list[Gpu]) -> list[float]:
        """Share of the multiprocessors that were busy (0 to 100) since the last call, of each GPU that counts it:
        Hopper and later, by NVML's GPM. The first call only starts the count."""
        shares = []
        for gpu in gpus:
            with suppress(self._library.NVMLError, AttributeError):  # older bindings have no GPM
                share = self._sm_share(gpu.device)
                if share is not None:
                    shares.append(share)
        return shares

    def _sm_share(self, device: str) -> float | None:
        library, handle = self._library, self._handle(device)
        if device not in self._counts:
            self._counts[device] = []  # unless it counts
            if library.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
                before, now = library.nvmlGpmSampleAlloc(), library.nvmlGpmSampleAlloc()
                library.nvmlGpmSampleGet(handle, before)
                self._counts[device] = [before, now]
            return None
        if not self._counts[device]:
            return None
        before, now = self._counts[device]
        library.nvmlGpmSampleGet(handle, now)
        self._counts[device] = [now, before]
        query = library.c_nvmlGpmMetricsGet_t()
        query.version, query.numMetrics = library.NVML_GPM_METRICS_GET_VERSION, 1
        query.sample1, query.sample2 = before, now
        query.metrics[0].metricId = library.NVML_GPM_METRIC_SM_UTIL
        library.nvmlGpmMetricsGet(query)
        return float(query.metrics[0].value) if query.metrics[0].nvmlReturn == 0 else None

    def load(self, gpus: list[Gpu]) -> dict[str, tuple[float, int]]:
        """Utilisation (0 to 1) and used bytes of each GPU that reports them, by device, for all processes together."""
        loads = {}
        for gpu in gpus:
            with suppress(self._library.NVMLError):
                handle = self._handle(gpu.device)
                used = int(self._library.nvmlDeviceGetMemoryInfo(handle).used)
                loads[gpu.device] = self._library.nvmlDeviceGetUtilizationRates(handle).gpu / 100, used
        return loads

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
    """Adds up samples of the GPUs, one each second, in a thread of its own until it is closed."""

    def __init__(self, nvml: Nvml, gpus: list[Gpu]):
        self.totals = GpuStats()  # sums over GPUs and seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(nvml, gpus), name="gpu-meter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self, nvml: Nvml, gpus: list[Gpu]) -> None:
        while not self._ended.wait(1.0):
            for percent, watts in nvml.sample(gpus):
                self.totals.samples += 1
                self.totals.percent += percent
                self.totals.watts += watts
            for share in nvml.sm_activity(gpus):
                self.totals.sm_samples += 1
                self.totals.sm_percent += share

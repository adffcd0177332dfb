"""The device that models run on: which one, its number format, CPU threads, GPU memory."""

import os

import torch

from stages.cores import usable_cores


def choose_device(dtype: str) -> tuple[torch.device, torch.dtype]:
    """The GPU if there is one, else the CPU; and the number format of tensors there.

    dtype: `bfloat16`, `float32`, or `auto`: bfloat16 where the hardware computes in it, else float32.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if dtype != "auto":
        return device, {"bfloat16": torch.bfloat16, "float32": torch.float32}[dtype]
    has_bfloat16 = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bfloat16()
    return device, torch.bfloat16 if has_bfloat16 else torch.float32


def _cpu_has_bfloat16() -> bool:
    # Other CPUs emulate it, several times slower than float32.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def use_threads(threads: int, processes: int = 1) -> int:
    """Sets how many CPU threads torch uses for calls of this thread, and returns the number.

    0 or less: as many as OMP_NUM_THREADS says, else the cores that this process may use, shared with the others of
    `processes`.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list has a number for each level
    cores = int(wanted) if wanted.isdecimal() else usable_cores() // processes
    count = threads if threads > 0 else max(cores, 1)
    torch.set_num_threads(count)
    return count


def peak_gpu_memory() -> dict[str, float]:
    """Most bytes that this process used on its GPU since the last call: `allocated` to tensors, and `reserved` by
    PyTorch's allocator. {} if the process uses no GPU."""
    if not torch.cuda.is_initialized():  # the calls below would start CUDA
        return {}
    peaks = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    torch.cuda.reset_peak_memory_stats()
    return {name: float(size) for name, size in peaks.items()}

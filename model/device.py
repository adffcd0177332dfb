"""Where tensors live and in which precision."""

import os

import torch


def place(dtype: str) -> tuple[torch.device, torch.dtype]:
    """The device and number format: the GPU if there is one; `auto` is bfloat16 where the hardware computes in it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if dtype != "auto":
        return device, {"bfloat16": torch.bfloat16, "float32": torch.float32}[dtype]
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bfloat16()
    return device, torch.bfloat16 if fast else torch.float32


def _cpu_has_bfloat16() -> bool:
    # Elsewhere bfloat16 is emulated, several times slower than float32.
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16") or able.get("sve_bf16"))


def use_threads(threads: int) -> int:
    """Sets how many CPU threads torch uses for calls of this thread; 0 or less: all cores. Returns the number."""
    count = threads if threads > 0 else os.cpu_count() or 1
    torch.set_num_threads(count)
    return count


def memory() -> dict[str, float]:
    """Bytes of this process on its GPU, at their peak since the last call: `allocated` to tensors, and `reserved` by
    PyTorch's allocator. {} where the process uses no GPU."""
    if not torch.cuda.is_initialized():  # asking would start CUDA
        return {}
    found = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    torch.cuda.reset_peak_memory_stats()
    return {name: float(size) for name, size in found.items()}

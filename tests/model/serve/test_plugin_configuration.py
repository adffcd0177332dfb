"""Which options of vLLM the plugin refuses on a GPU; on a CPU: test_vllm_plugin.py."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model.serve.vllm_plugin.configuration import check


def options(device: str = "cuda", dtype: torch.dtype = torch.bfloat16, lora: object = None, **model: Any) -> Any:
    """vLLM's configuration, as far as the plugin reads it."""
    sizes = {"num_key_value_heads": 2, "attention": "sparse", "head_dim": 32, "gate_dim": 16, "block": 16}
    return SimpleNamespace(
        model_config=SimpleNamespace(hf_config=SimpleNamespace(**sizes | model), quantization=None, dtype=dtype),
        parallel_config=SimpleNamespace(pipeline_parallel_size=1, tensor_parallel_size=1),
        cache_config=SimpleNamespace(cache_dtype="auto"),
        device_config=SimpleNamespace(device_type=device),
        speculative_config=None,
        kv_transfer_config=None,
        lora_config=lora,
    )


def test_adapters_need_half_precision_on_a_gpu():
    with pytest.raises(ValueError, match=r"^dtype: float32, .*bfloat16"):
        check(options(dtype=torch.float32, lora=object()))
    check(options(dtype=torch.float32, lora=object(), device="cpu"))
    check(options(dtype=torch.float32))
    check(options(lora=object()))


@pytest.mark.parametrize(("name", "size"), [("head_dim", 24), ("gate_dim", 8), ("block", 8)])
def test_sizes_that_the_kernels_do_not_take_are_refused_on_a_gpu(name, size):
    with pytest.raises(ValueError, match=f"{size}; on a GPU"):
        check(options(**{name: size}))
    check(options(device="cpu", **{name: size}))
    check(options(**{name: size}, attention="dense"))

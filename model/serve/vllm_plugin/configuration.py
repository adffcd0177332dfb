"""What the plugin sets in vLLM's configuration, and which options it refuses."""

from typing import Any

import torch

UNQUANTIZED_CACHES = ("auto", "float32", "bfloat16", "float16")


def configure(vllm_config: Any) -> None:
    """Checks the options, and sets those that the model needs: a page is a block, only decoding is captured.

    Raises:
        ValueError: an option cannot be combined with the model; the message names it.
    """
    check(vllm_config)
    from vllm.config import CompilationMode, CUDAGraphMode  # pyright: ignore

    config, cache = vllm_config.model_config.hf_config, vllm_config.cache_config
    if config.attention == "sparse":
        if cache.user_specified_block_size and cache.block_size != config.block:
            raise ValueError(
                f"block_size: {cache.block_size}, but this model attends blocks of {config.block} tokens, and a page "
                "of the cache is one block; leave block_size out"
            )
        cache.block_size, cache.user_specified_block_size = config.block, True
    compilation = vllm_config.compilation_config
    compilation.mode = CompilationMode.NONE  # the layers branch on what a step contains
    if compilation.cudagraph_mode != CUDAGraphMode.NONE:
        compilation.cudagraph_mode = CUDAGraphMode.FULL_DECODE_ONLY


def check(vllm_config: Any) -> None:
    """Raises ValueError for options that cannot be combined with the model."""
    config, parallel = vllm_config.model_config.hf_config, vllm_config.parallel_config
    dtype = vllm_config.cache_config.cache_dtype
    refusals = {
        "speculative_config: rejected drafts would stay in the summaries of the blocks": vllm_config.speculative_config,
        "pipeline_parallel_size: the model is not divided by layers; use tensor_parallel_size": (
            parallel.pipeline_parallel_size > 1
        ),
        "decode_context_parallel_size: a text's pages stay together": (
            getattr(parallel, "decode_context_parallel_size", 1) > 1
        ),
        "prefill_context_parallel_size: a text's pages stay together": (
            getattr(parallel, "prefill_context_parallel_size", 1) > 1
        ),
        "quantization: the weights are read as they were trained": vllm_config.model_config.quantization,
        f"kv_cache_dtype: {dtype}, but pages hold the model's own type; leave it out": dtype not in UNQUANTIZED_CACHES,
        "kv_transfer_config: the summaries of the blocks are not known to be transferred": (
            vllm_config.kv_transfer_config
        ),
    }
    for reason, is_refused in refusals.items():
        if is_refused:
            raise ValueError(f"{reason} (not supported for a DSA model)")
    shards, heads = parallel.tensor_parallel_size, config.num_key_value_heads
    if heads % shards:
        raise ValueError(
            f"tensor_parallel_size: {shards}, but this model has {heads} key heads, which are divided over the GPUs; "
            f"give a divisor of {heads}"
        )
    if vllm_config.device_config.device_type == "cpu":
        return
    if vllm_config.lora_config and vllm_config.model_config.dtype == torch.float32:
        raise ValueError("dtype: float32, but on a GPU vLLM's kernels for adapters take bfloat16 and float16; set one")
    if config.attention == "sparse":
        for name, size, least in (("head size", config.head_dim, 16), ("gate_dim", config.gate_dim, 16)):
            if size < least or size & (size - 1):
                raise ValueError(f"{name}: {size}; on a GPU the kernels take powers of two from {least} on")
        if config.block < 16:
            raise ValueError(f"block: {config.block}; on a GPU the kernels take blocks of 16 tokens or more")

"""The DSA language model in vLLM itself: a plugin that vLLM loads by the entry point `vllm.general_plugins`.

With it, `LLM(folder)` and `vllm serve folder` take a DSA checkpoint as any other model. Read `model` (the layers in
vLLM's terms), `attention` (what a token attends to), `paged_cache` (keys, values and block summaries in vLLM's pages),
`paged_attention` (the operations on them in plain PyTorch; on a GPU `triton_choose` and `triton_decode` are used
instead for decoding), then `configuration` (what is set and what is refused), `checkpoint` (reading weights) and
`vllm_versions` (all that differs between vLLM 0.26 and 0.30).
"""

from typing import Any

ARCHITECTURE = "DsaForCausalLM"


def register() -> None:
    """Makes vLLM know the model. vLLM calls it in each of its processes, some of them more than once."""
    from transformers import AutoConfig
    from vllm.model_executor.models import ModelRegistry  # pyright: ignore
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP  # pyright: ignore

    from model.lm.config import DsaConfig
    from model.serve.vllm_plugin.configuration import configure

    class Configuration:
        """What vLLM calls with its configuration, before it fills in its defaults."""

        @staticmethod
        def verify_and_update_config(vllm_config: Any) -> None:
            configure(vllm_config)

        @staticmethod
        def verify_and_update_model_config(model_config: Any) -> None:
            """Nothing: the model's own configuration is complete."""

    AutoConfig.register(DsaConfig.model_type, DsaConfig, exist_ok=True)
    ModelRegistry.register_model(ARCHITECTURE, "model.serve.vllm_plugin.model:VllmDsaForCausalLM")
    MODELS_CONFIG_MAP[ARCHITECTURE] = Configuration

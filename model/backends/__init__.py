"""Who turns prompts into text: one backend a file, loaded when it is used."""

import hashlib
import importlib
import importlib.util

from configs import schema
from configs.errors import ConfigError
from model.weights import resolve as weights
from stages.ports import Generator, ModelCard

_BACKENDS = {
    "echo": ("model.backends.echo", "EchoGenerator"),
    "transformers": ("model.backends.transformers", "TransformersGenerator"),
    "vllm": ("model.backends.vllm.backend", "VllmGenerator"),
    "openai": ("model.backends.openai", "OpenAIGenerator"),
}


def identify(config: schema.Generator) -> ModelCard:
    """The card of the configured generator; fetches and converts the weights of a local one on first use.

    `auto` is vLLM where it is installed, else transformers. Raises ConfigError and InputError as `weights.identify`.
    """
    backend = config.backend
    if backend == "auto":
        backend = "vllm" if importlib.util.find_spec("vllm") else "transformers"
    if backend in ("echo", "openai"):
        if config.sha256 is not None:
            raise ConfigError(f"generator.sha256: the {backend} backend has no weights to pin; remove the key")
        return ModelCard(config.model, hashlib.sha256(f"{backend}:{config.model}".encode()).hexdigest(), backend, "", 0)
    return weights.identify(config.model, backend, config.sha256)


def open_generator(config: schema.Generator, card: ModelCard, threads: int) -> Generator:
    """The card's backend, loaded and ready. `threads`: CPU threads it may use; 0 or less: all cores.

    Raises ConfigError or BackendError when it cannot start; the message says what to change.
    """
    module, name = _BACKENDS[card.backend]
    return getattr(importlib.import_module(module), name)(config, card, threads)

"""Generators: who turns prompts into text. A backend is a module or a package of this folder.

The module of that name declares a `Backend` as `BACKEND`: `echo` (no model; its answers are in `echo_text`),
`transformers`, `openai` (a service over HTTP) and `vllm` (engine processes on GPUs). Read one of them first. They share
`prompt` with `chat_template` (`template_check` finds what a template cannot do), `decode`, `sampler` and `likelihood`
(how `transformers` generates and scores), and `lora` (the adapter trainer of local models).

To add a backend: write its file, its options in configs/schema/generator.py, and a row in the contract test of
generators, tests/model/backends/test_contract.py.
"""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from configs import schema
from configs.errors import ConfigError
from configs.schema.generator import BACKENDS
from stages.ports import AdapterTrainer, Generator, ModelCard

AUTO = ("vllm", "transformers")  # backend `auto` is the first of these that is installed


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a backend can be used on this machine. `fix`: what to do where it cannot."""

    ready: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    """What the pipeline knows of a backend. The functions import what they need when they are called: importing the
    module that declares a backend loads neither torch nor an engine."""

    identify: Callable[[schema.Generator], ModelCard]  # `config.backend` is this backend's name
    open: Callable[[schema.Generator, ModelCard, int], Generator]  # the int: CPU threads; 0 or less means all cores
    readiness: Callable[[], Readiness]
    open_trainer: Callable[..., AdapterTrainer] | None = (
        None  # called as `open_trainer` below; None: trains no adapters
    )
    # what users should know of the prompts before a run; raises ConfigError where none can be written
    inspect_prompts: Callable[[schema.Generator, ModelCard], list[str]] = lambda config, card: []
    packages: tuple[str, ...] = ()  # distributions whose versions a run records
    continues: bool = False  # whether it goes on from the beginning of an answer (`Request.begin`)
    scores: bool = False  # whether it gives the log-probability of an answer (`Request.scored`)
    scores_with_adapters: bool = True  # also where it serves adapters
    repeats: bool = True  # whether the hash of its weights says what it answers: False of a service
    owns_gpus: bool = False  # one process takes all GPUs of its host: a second one would have none left


def get(name: str) -> Backend:
    """The backend of this name, one of `BACKENDS`."""
    return importlib.import_module(f"model.backends.{name}").BACKEND


def identify(config: schema.Generator) -> ModelCard:
    """The card of the configured generator. Fetches and converts the weights of a local model on first use.

    Raises ConfigError and InputError as `model.weights.resolve.resolve_model`.
    """
    name = config.backend
    if name == "auto":
        name = next(name for name in AUTO if get(name).readiness().ready)
    return get(name).identify(config.model_copy(update={"backend": name}))


def open_generator(config: schema.Generator, card: ModelCard, threads: int) -> Generator:
    """The card's backend, loaded and ready. `threads`: CPU threads it may use; 0 or less means all cores.

    Raises ConfigError or BackendError when it cannot start; the message says what to change.
    """
    return get(card.backend).open(config, card, threads)


def open_trainer(
    config: schema.Lora, card: ModelCard, threads: int, seed: int, template_options: Mapping[str, Any] | None = None
) -> AdapterTrainer | None:
    """The adapter trainer for the card's model; None where its backend trains no adapters.

    `template_options`: `generator.chat_template_kwargs`.
    """
    open_it = get(card.backend).open_trainer
    return open_it(config, card, threads, seed, template_options) if open_it else None


def identify_weights(config: schema.Generator) -> ModelCard:
    """`Backend.identify` of a backend that loads local weights."""
    from model.weights import resolve

    return resolve.resolve_model(config.model, config.backend, config.sha256)


def identify_by_name(config: schema.Generator) -> ModelCard:
    """`Backend.identify` of a backend without local weights: the hash is over the names of backend and model.

    Raises ConfigError where the config pins weights.
    """
    if config.sha256 is not None:
        raise ConfigError(f"generator.sha256: the {config.backend} backend has no weights to pin; remove the key")
    digest = hashlib.sha256(f"{config.backend}:{config.model}".encode()).hexdigest()
    return ModelCard(config.model, digest, config.backend, "", 0)


__all__ = ["AUTO", "BACKENDS", "Backend", "Readiness", "get", "identify", "open_generator", "open_trainer"]

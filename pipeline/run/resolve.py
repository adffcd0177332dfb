"""Resolves the models of a configuration, and hashes everything that the rows of a date depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from configs import load
from configs.errors import ConfigError
from configs.schema import Config
from pipeline.store.registry import Variant
from stages.cores import usable_cores
from stages.ports import ModelCard


@dataclass(frozen=True, slots=True)
class ResolvedModels:
    """The models of a configuration. They are on disk and hashed, but not loaded."""

    config: Config  # with backend `auto` resolved
    generator: ModelCard
    encoder: ModelCard | None
    filters: dict[str, str]  # by name of a filter, the hash of the files that it reads
    notices: tuple[str, ...] = ()  # what to know of the generator before a run
    champions: Mapping[str, Variant] = field(default_factory=dict)  # by domain; `config` asks as they do

    @property
    def threads(self) -> int:
        """Threads of a worker's models: as configured, or this machine's cores shared between the workers."""
        cores = usable_cores()
        return self.config.generator.threads or max(cores // self.config.run.workers, 1)


def resolve_models(config: Config) -> ResolvedModels:
    """Resolves and hashes the models; downloads and converts those that are not cached.

    Raises ConfigError or InputError, which name the model.
    """
    from filters.build import data_hashes
    from model.backends import get
    from model.backends import identify as identify_generator
    from model.encoder.weights import identify_encoder

    card = identify_generator(config.generator)
    check_backend(config, card)
    generator = config.generator.model_copy(update={"backend": card.backend})
    encoder = config.screen.encoder
    encoder_card = identify_encoder(encoder) if encoder else None
    hashes = data_hashes(config.screen.filters, encoder_card.name if encoder_card else "")
    notices = get(card.backend).inspect_prompts(generator, card)
    resolved = config.model_copy(update={"generator": generator})
    return ResolvedModels(resolved, card, encoder_card, hashes, tuple(notices))


def check_backend(config: Config, card: ModelCard) -> None:
    """Raises ConfigError if the tasks or `generate.likelihood` ask for what the generator's backend cannot do."""
    from model.backends import get

    backend = get(card.backend)
    instead = "set generator.backend: transformers or vllm"
    if config.generate.likelihood and not backend.scores:
        raise ConfigError(f"generate.likelihood: the backend {card.backend} gives none; remove the key, or {instead}")
    if config.adapt.enabled or (config.evolve and {"sft", "dpo"} & set(config.evolve.candidates)):
        check_adapters_are_scored(config, card)
    for name in config.domains:
        for task in config.fitting_tasks(name, card.parameters):
            if config.tasks[task].target == "edit" and not backend.continues:
                raise ConfigError(
                    f"domains.{name}.tasks: {task} gives the model the beginning of a sentence, which the backend "
                    f"{card.backend} cannot do; remove the task, or {instead}"
                )


def check_adapters_are_scored(config: Config, card: ModelCard) -> None:
    """Raises ConfigError if `generate.likelihood` is asked for, which the backend does not give with adapters."""
    from model.backends import get

    if config.generate.likelihood and not get(card.backend).scores_with_adapters:
        without = "adapt.enabled: false" if config.adapt.enabled else "evolve.candidates: [tasks]"
        raise ConfigError(
            f"generate.likelihood: the backend {card.backend} gives none while it serves adapters; remove the key, or "
            f"set {without}, or generator.backend: transformers"
        )


def run_fingerprint(models: ResolvedModels) -> str:
    """Hashes the configuration, the weights, the tokenizers, the files of the filters, and champions if there are."""
    cards = (models.generator, models.encoder)
    hashes = [(card.sha256, card.tokenizer_sha256) if card else ("", "") for card in cards]
    champions = {name: variant.id for name, variant in models.champions.items() if not variant.is_base}
    return load.fingerprint(models.config, *hashes, models.filters, *([champions] if champions else []))

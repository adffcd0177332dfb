"""The models of a configuration, found and hashed, and the fingerprint of all that a date's rows depend on."""

from dataclasses import dataclass

from configs import load
from configs.schema import Config
from stages.ports import ModelCard


@dataclass(frozen=True, slots=True)
class ResolvedModels:
    """The models of a configuration: on disk and hashed, not loaded."""

    config: Config  # with backend `auto` resolved
    generator: ModelCard
    encoder: ModelCard | None
    filters: dict[str, str]  # by filter, the hash of what it reads besides its options


def resolve_models(config: Config) -> ResolvedModels:
    """Downloads and converts what is not cached yet. Raises ConfigError or InputError, which name the model."""
    from filters.build import data_hashes
    from model.backends import identify as identify_generator
    from model.encoder.weights import identify_encoder

    card = identify_generator(config.generator)
    generator = config.generator.model_copy(update={"backend": card.backend})
    encoder = config.screen.encoder
    encoder_card = identify_encoder(encoder) if encoder else None
    hashes = data_hashes(config.screen.filters, encoder_card.name if encoder_card else "")
    return ResolvedModels(config.model_copy(update={"generator": generator}), card, encoder_card, hashes)


def run_fingerprint(models: ResolvedModels) -> str:
    """A hash of the configuration, the weights, the tokenizers and the filters' files."""
    cards = (models.generator, models.encoder)
    hashes = [(card.sha256, card.tokenizer_sha256) if card else ("", "") for card in cards]
    return load.fingerprint(models.config, *hashes, models.filters)

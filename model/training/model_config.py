"""`build_model_config`: from a size preset and the configuration's changes to the model's own configuration."""

import inspect
from typing import Any

from configs.errors import ConfigError
from configs.load import size_of
from configs.schema.training import ModelSize
from model.lm import DsaConfig

# Fields of DsaConfig that a configuration may set although no preset names them.
_OPTIONAL_FIELDS = {"attention", "fanout", "roots", "beam", "rope_theta", "rms_norm_eps", "initializer_range"}


def build_model_config(size: ModelSize, vocab_size: int) -> DsaConfig:
    """Returns the preset's sizes with the configuration's changes.

    Raises:
        ConfigError: a key is unknown, or the sizes do not fit together; the message names the key.
    """
    preset = size_of(size.preset)
    known = {*preset, *_OPTIONAL_FIELDS}
    for name in size.changes:
        if name not in known:
            raise ConfigError(f"model.{name}: unknown key; the keys are preset, {', '.join(sorted(known))}")
    try:
        return DsaConfig(vocab_size=vocab_size, **preset | size.changes)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model: {error}") from None


def size_fields(config: DsaConfig) -> dict[str, Any]:
    """Returns the fields that make two models different, without the vocabulary and what transformers adds."""
    names = [name for name, field in inspect.signature(DsaConfig).parameters.items() if field.kind != field.VAR_KEYWORD]
    return {name: getattr(config, name) for name in names if name not in ("self", "vocab_size", "use_cache")}

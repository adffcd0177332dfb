"""A BERT encoder's weights: which they are, and loaded, with their adapter merged in.

An adapter is a LoRA folder (peft's form) that fine-tunes the encoder for the heads that read it. Those of packaged
encoders ship in `encoders/`; `gristmill filter train --tune` makes others.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.errors import BackendError, ConfigError
from configs.schema import Encoder as EncoderConfig
from model.silence import silence
from model.weights import resolve as weights
from model.weights.adapter import CONFIG, WEIGHTS
from stages.ports import ModelCard

ENCODERS = Path(__file__).parent / "shipped"


def identify(config: EncoderConfig) -> ModelCard:
    """The encoder's card; its hash is that of the weights and, where there is one, of the adapter too.

    Raises ConfigError for a model or an adapter that is none, InputError when a package cannot be fetched.
    """
    card = weights.identify(config.model, "transformers", config.sha256, "screen.encoder")
    folder = adapter_folder(config, card)
    return replace(card, sha256=joined(card.sha256, folder)) if folder else card


def adapter_folder(config: EncoderConfig, card: ModelCard) -> Path | None:
    """Where the encoder's adapter lies; None for the encoder as it is. Raises ConfigError for a folder that is none."""
    if config.adapter == "none":
        return None
    folder = ENCODERS / card.name if config.adapter == "shipped" else Path(config.adapter).expanduser()
    if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file():
        return folder
    if config.adapter == "shipped":
        return None
    raise ConfigError(
        f"screen.encoder.adapter: {config.adapter!r} is no adapter's folder; name one that"
        " `gristmill filter train --tune` has made, shipped, or none"
    )


def joined(base_sha256: str, folder: Path) -> str:
    """Hex SHA-256 over the weights' hash and the adapter's files."""
    digest = hashlib.sha256(base_sha256.encode())
    for name in (WEIGHTS, CONFIG):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def load(config: EncoderConfig, card: ModelCard) -> tuple[Any, Any]:
    """Tokenizer and model in float32 on the CPU. Raises BackendError naming `screen.encoder.model`."""
    import torch  # here, so that a run that has nothing to do knows its encoder without it
    from transformers import AutoTokenizer, BertModel

    try:
        with silence():
            tokenizer = AutoTokenizer.from_pretrained(card.path, local_files_only=True)
            loaded: Any = BertModel.from_pretrained(
                card.path,
                dtype=torch.float32,
                add_pooling_layer=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        model, report = loaded
        if not tokenizer.is_fast:
            raise ValueError("it has no tokenizer.json")
        if report["missing_keys"]:  # of another architecture: transformers would fill them with random numbers
            raise ValueError(f"{len(report['missing_keys'])} tensors of BERT are missing")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            f"screen.encoder.model: {card.name!r} cannot be loaded as a BERT encoder ({error}); "
            "use multilingual-e5-small or all-minilm-l6-v2"
        ) from error
    folder = adapter_folder(config, card)
    return tokenizer, merged(model, folder) if folder else model


def merged(model: Any, folder: Path) -> Any:
    """The model with the adapter in its weights. Raises BackendError where they do not fit."""
    from peft import PeftModel

    try:
        with silence():
            wrapped: Any = PeftModel.from_pretrained(model, str(folder))
            return wrapped.merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            f"screen.encoder.adapter: {folder} does not fit the encoder ({error}); train one for it, or set none"
        ) from error

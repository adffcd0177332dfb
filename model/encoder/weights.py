"""The weights of a BERT encoder: their card, and loading them with an adapter merged in.

An adapter is a LoRA folder in peft's format; it fine-tunes the encoder for the filters' heads. The adapters of packaged
encoders are in `shipped`; `gristmill filter train --tune` trains others.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs.errors import BackendError, ConfigError
from configs.schema import Encoder as EncoderConfig
from model.silence import silence
from model.weights.adapter import CONFIG, WEIGHTS
from model.weights.resolve import resolve_model
from stages.ports import ModelCard

SHIPPED_ADAPTERS = Path(__file__).parent / "shipped"


def identify_encoder(config: EncoderConfig) -> ModelCard:
    """The card of the configured encoder. Its hash is over the weights and, if there is one, the adapter.

    Raises ConfigError when the model or the adapter does not exist, InputError when a package cannot be fetched.
    """
    card = resolve_model(config.model, "transformers", config.sha256, "screen.encoder")
    folder = adapter_folder(config, card)
    return replace(card, sha256=sha256_with_adapter(card.sha256, folder)) if folder else card


def adapter_folder(config: EncoderConfig, card: ModelCard) -> Path | None:
    """The folder of the encoder's adapter; None if it has none. Raises ConfigError if it is not an adapter's folder."""
    if config.adapter == "none":
        return None
    folder = SHIPPED_ADAPTERS / card.name if config.adapter == "shipped" else Path(config.adapter).expanduser()
    if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file():
        return folder
    if config.adapter == "shipped":
        return None
    raise ConfigError(
        f"screen.encoder.adapter: {config.adapter!r} is not an adapter's folder; set a folder that"
        " `gristmill filter train --tune` wrote, or shipped, or none"
    )


def sha256_with_adapter(base_sha256: str, folder: Path) -> str:
    """Hex SHA-256 over the hash of the base weights and the files of the adapter in `folder`."""
    digest = hashlib.sha256(base_sha256.encode())
    for name in (WEIGHTS, CONFIG):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def load_encoder(config: EncoderConfig, card: ModelCard) -> tuple[Any, Any]:
    """The tokenizer, and the model in float32 on the CPU. Raises BackendError naming the key of `screen.encoder`."""
    import torch  # not at the top: a run with nothing to do needs the encoder's card alone
    from transformers import AutoTokenizer, BertModel

    try:
        with silence():
            tokenizer = AutoTokenizer.from_pretrained(card.path, local_files_only=True)
            model_and_report: Any = BertModel.from_pretrained(
                card.path,
                dtype=torch.float32,
                add_pooling_layer=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        model, report = model_and_report
        if not tokenizer.is_fast:
            raise ValueError("it has no tokenizer.json")
        if report["missing_keys"]:  # another architecture: transformers fills them with random numbers
            raise ValueError(f"{len(report['missing_keys'])} tensors of BERT are missing")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            f"screen.encoder.model: {card.name!r} cannot be loaded as a BERT encoder ({error}); "
            "use multilingual-e5-small or all-minilm-l6-v2"
        ) from error
    folder = adapter_folder(config, card)
    return tokenizer, merge_adapter(model, folder) if folder else model


def merge_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapter of `folder` merged into its weights. Raises BackendError if it does not fit."""
    from peft import PeftModel

    try:
        with silence():
            adapted: Any = PeftModel.from_pretrained(model, str(folder))
            return adapted.merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            f"screen.encoder.adapter: {folder} does not fit the encoder ({error}); train one for it, or set none"
        ) from error

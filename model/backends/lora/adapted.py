"""The model that adapters are trained for: loading, adding an adapter, writing its files."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import BackendError, InputError
from configs.schema import Lora
from model.weights.adapter import CONFIG, WEIGHTS, check_adapter
from stages.ports import Adapter, ModelCard


def load_model(card: ModelCard) -> tuple[Any, Any]:
    """The model on its device and its tokenizer. Raises BackendError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from model.device import choose_device
    from model.silence import silence

    device, dtype = choose_device("auto")
    loading: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with silence():
            tokenizer = AutoTokenizer.from_pretrained(card.path, **loading)
            model: Any = AutoModelForCausalLM.from_pretrained(card.path, dtype=dtype, use_safetensors=True, **loading)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            f"generator.model: {card.name!r} cannot be loaded for training ({error}); set adapt.enabled: false"
        ) from error
    return model.to(device).eval(), tokenizer


@contextmanager
def adapted(model: Any, options: Lora, start: Adapter | None = None) -> Iterator[Any]:
    """The model with an adapter that can be trained: a new one, or that of `start`. Afterwards it is plain again.

    Raises InputError if the files of `start` are missing, are not those of its hash, or do not fit the model.
    """
    with_adapter = _with_new(model, options) if start is None else _with_start(model, start)
    try:
        yield with_adapter
    finally:
        with_adapter.unload()


def trainable(model: Any) -> list[Any]:
    """The weights of the adapter."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def writer(model: Any, base: str) -> Callable[[Path], None]:
    """A function that writes weights and config of the adapter into a folder. `base`: the name of its base model."""

    def write(folder: Path) -> None:
        model.save_pretrained(folder, save_embedding_layers=False)  # or it asks a hub for the base model's config
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        # the folder's name is a hash over this file, so it must not depend on this machine or on the order of sets
        config["base_model_name_or_path"] = base
        config["target_modules"] = sorted(config["target_modules"])
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
        for path in folder.iterdir():
            if path.name not in (CONFIG, WEIGHTS):
                path.unlink()

    return write


def _with_new(model: Any, options: Lora) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    head = model.get_output_embeddings()
    linears = {
        name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear) and layer is not head
    }
    total = sum(parameter.numel() for parameter in model.parameters())
    per_rank = sum(layer.in_features + layer.out_features for layer in linears.values())
    rank = min(options.max_rank, max(1, round(options.parameter_share * total / per_rank)))
    lora = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=sorted({name.rpartition(".")[2] for name in linears}),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def _with_start(model: Any, start: Adapter) -> Any:
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    folder = check_adapter(start)
    network = None
    try:
        config = LoraConfig.from_pretrained(str(folder))
        config.inference_mode = False
        network = get_peft_model(model, config)
        result = set_peft_model_state_dict(network, load_file(folder / WEIGHTS))
        unknown = [*result.unexpected_keys, *(name for name in result.missing_keys if "lora_" in name)]
        if unknown:
            raise ValueError(f"{len(unknown)} weights are not those of its layers, the first is {unknown[0]}")
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        if network is not None:
            network.unload()  # or the next adapter is put on top of this one
        raise InputError(
            f"{folder}: does not fit the model ({error}); the adapter was trained for another model"
        ) from error
    return network

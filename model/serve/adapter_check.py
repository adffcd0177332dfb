"""Checks of an adapter before it is served: where it is, that it fits the model, and that it changes the outputs.

An adapter whose tensors match no module would be loaded without a word and change nothing.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import InputError
from model.serve.port import AdapterRef, Engine, GenerationRequest, SamplingOptions
from model.weights.adapter import CONFIG, WEIGHTS
from model.weights.checkpoint import read_config, tensor_shapes
from model.weights.resolve import weight_files

PROBE_TOKENS = 32
MIN_CHANGE = 1e-4  # of a log-probability in nats: less is rounding
NOISE_FACTOR = 4  # times what two runs of the base model differ by
_PREFIX = "base_model.model."
_TENSOR = re.compile(r"(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
# Keys of adapter_config.json that the engines do not apply alike, with the values that mean nothing
_UNUSED = {
    "use_dora": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
}


def check_folder(path: str | Path, root: Path) -> Path:
    """Returns the folder of an adapter below `root`, without symbolic links. Raises InputError if it is not there."""
    try:
        top = root.resolve()
        folder = (top / path).resolve()
        if folder == top or not folder.is_relative_to(top):
            raise InputError(f"{path}: is not below {root}; adapters are loaded from there alone")
        for name in (WEIGHTS, CONFIG):
            if not (folder / name).resolve().is_relative_to(top):
                raise InputError(f"{folder / name}: is a link to outside of {root}; copy the file")
            if not (folder / name).is_file():
                raise InputError(f"{folder / name}: does not exist; give the folder of an adapter in PEFT's form")
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that no file can have
        raise InputError(f"{path!s:.200}: is no path ({error}); give the folder of an adapter") from error
    return folder


def check_tensors(folder: Path, model: Path) -> None:
    """Raises InputError unless every tensor of the adapter fits a module of the model, by name and by shape."""
    config, file = _read_adapter_config(folder / CONFIG), folder / WEIGHTS
    weights, is_quantised = tensor_shapes(*weight_files(model)), "quantization_config" in read_config(model)
    if not weights:
        raise InputError(f"{model}: has no safetensors files, so adapters cannot be checked; save it as safetensors")
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in tensor_shapes(file).items():
        match = _TENSOR.fullmatch(name.removeprefix(_PREFIX))
        if match is None:
            raise InputError(f"{file}: {name} is no matrix of LoRA; only those are served")
        modules.setdefault(match["module"], {})[match["part"]] = shape
    if not modules:
        raise InputError(f"{file}: has no tensors; train the adapter again")
    for module, parts in modules.items():
        if set(parts) != {"A", "B"} or any(len(shape) != 2 for shape in parts.values()):
            raise InputError(f"{file}: {module} lacks one of its two matrices; copy the adapter again")
        weight = _weight(module, weights)
        if weight is None and not (is_quantised and _has_module(module, weights)):
            raise InputError(
                f"{file}: {module} is no module of the model in {model}; "
                "serve the model that the adapter was trained on"
            )
        (rank, inputs), (outputs, rank_of_b) = parts["A"], parts["B"]
        if rank != rank_of_b or rank != config["r"]:
            raise InputError(f"{file}: {module} has rank {rank}, but {CONFIG} says {config['r']}; copy it again")
        expected = (inputs, outputs) if config.get("fan_in_fan_out") else (outputs, inputs)
        if weight is not None and not is_quantised and weight != expected:
            raise InputError(
                f"{file}: {module} is for a matrix of {outputs} x {inputs}, the model's is "
                f"{' x '.join(map(str, weight))}; serve the model that the adapter was trained on"
            )


async def check_outputs(engine: Engine, adapter: AdapterRef) -> None:
    """Raises InputError unless the model with the adapter gives other, finite log-probabilities than without it."""
    base, again, adapted = [await _probe(engine, chosen) for chosen in (None, None, adapter)]
    if not all(map(math.isfinite, adapted)):
        raise InputError(f"{adapter.path}: the model's outputs with the adapter are not finite; train it again")
    if _change(base, adapted) <= max(MIN_CHANGE, NOISE_FACTOR * _change(base, again)):
        raise InputError(
            f"{adapter.path}: the model's outputs are the same with and without the adapter; train it again, or serve "
            "the model that it was trained on"
        )


async def _probe(engine: Engine, adapter: AdapterRef | None) -> list[float]:
    """The log-probabilities of a fixed prompt's tokens."""
    length = min(PROBE_TOKENS, engine.info.max_length - 1)
    prompt = tuple((7919 * place + 13) % engine.info.vocab_size for place in range(length))
    sampling = SamplingOptions(max_tokens=1, temperature=0, prompt_logprobs=0)
    name = f"probe-{id(sampling)}-{adapter.name if adapter else 'base'}"
    request = GenerationRequest(name, prompt, sampling, adapter, tenant="probe")
    values: list[float] = []
    async for step in await engine.submit(request):
        values += [place.logprob for place in step.prompt_logprobs or () if place is not None]
    return values


def _change(first: list[float], second: list[float]) -> float:
    return max((abs(value - changed) for value, changed in zip(first, second, strict=True)), default=0.0)


def _read_adapter_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
        peft_type, rank = config.get("peft_type"), config.get("r")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy the adapter again") from error
    if peft_type != "LORA" or not isinstance(rank, int):
        raise InputError(f"{path}: is not of a LoRA adapter (peft_type: {peft_type!r}); only those are served")
    for key, unused in _UNUSED.items():
        if config.get(key) not in unused:
            raise InputError(f"{path}: {key} is set, which is not served; train the adapter without it")
    return config


def _weight(module: str, weights: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of a module's weight. Checkpoints name modules with or without the prefix `model.`, and leave out an
    output layer that is tied to the embeddings."""
    names = [f"{module}.weight", f"model.{module}.weight", f"{module.removeprefix('model.')}.weight"]
    if module == "lm_head":
        names += ["model.embed_tokens.weight", "embed_tokens.weight"]
    return next((weights[name] for name in names if name in weights), None)


def _has_module(module: str, weights: Mapping[str, tuple[int, ...]]) -> bool:
    plain = module.removeprefix("model.")
    return any(name.removeprefix("model.").startswith(f"{plain}.") for name in weights)

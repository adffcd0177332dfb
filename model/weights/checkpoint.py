"""What a model's folder says of itself, without loading the model: its configuration and the shapes of its tensors."""

import json
from pathlib import Path
from typing import Any

from configs.errors import InputError


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the model's config.json. Raises InputError if it has none that can be read."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give the folder of a model") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: is no JSON object; copy the model again")
    return config


def tensor_shapes(*files: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each tensor in safetensors files, from their headers.

    Raises InputError if a file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file}: cannot be read ({error}); copy it again") from error
    return shapes

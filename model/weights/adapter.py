"""An adapter on disk: weights and config named by their hash, and the training card beside them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from configs.errors import StoreError
from stages.ports import Adapter, Training
from stages.storage.atomic import new_folder, place_folder

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "training.json"


def publish(
    domain: str, folder: Path, write: Callable[[Path], None], describe: Callable[[Adapter], Training]
) -> Training:
    """Makes `<folder>/<sha256>/` in one step: `write` fills a folder aside with weights and config.

    The hash is over weights and config; equal training gives the folder that is already there.
    """
    with new_folder(folder) as aside:
        write(aside)
        digest = hashlib.sha256((aside / WEIGHTS).read_bytes() + (aside / CONFIG).read_bytes()).hexdigest()
        target = folder / digest
        training = describe(Adapter(f"{domain}@{digest}", str(target), digest))
        card = asdict(training) | {"adapter": {"name": training.adapter.name, "sha256": digest}}
        (aside / CARD).write_text(json.dumps(card, indent=2), "utf-8")
        try:
            place_folder(aside, target)
        except OSError as error:
            raise StoreError(f"{target}: the adapter cannot be written ({error})") from error
        return training

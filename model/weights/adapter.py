"""An adapter on disk: weights and config named by their hash, and the training card beside them."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from configs.errors import StoreError
from stages.ports import Adapter, Training

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "training.json"


def publish(
    domain: str, folder: Path, write: Callable[[Path], None], describe: Callable[[Adapter], Training]
) -> Training:
    """Makes `<folder>/<sha256>/` in one step: `write` fills a folder aside with weights and config.

    The hash is over weights and config; equal training gives the folder that is already there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder, prefix=".aside-"))
    try:
        write(aside)
        digest = hashlib.sha256((aside / WEIGHTS).read_bytes() + (aside / CONFIG).read_bytes()).hexdigest()
        target = folder / digest
        training = describe(Adapter(f"{domain}@{digest}", str(target), digest))
        card = asdict(training) | {"adapter": {"name": training.adapter.name, "sha256": digest}}
        (aside / CARD).write_text(json.dumps(card, indent=2), "utf-8")
        aside.chmod(0o755)
        try:
            aside.rename(target)
        except OSError as error:  # the same adapter is there already
            if not target.is_dir():
                raise StoreError(f"{target}: the adapter cannot be written ({error})") from error
        return training
    finally:
        shutil.rmtree(aside, ignore_errors=True)

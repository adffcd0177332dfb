"""Checkpoints of a training: folders that appear complete or not at all. The newest few are kept.

<out>/checkpoints/step-00000400/    config.json model.safetensors tokenizer.json …: a model folder that loads by itself
                 training.pt        the optimizers' state
                 training.json      written last: step, loader state, fingerprint, sha256 of the other files
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from configs.errors import InputError, StoreError
from model.silence import silence
from stages.storage.atomic import TEMPORARY_PREFIX, sync_folder, temporary_path, write_text
from stages.storage.checksum import sha256_file

RECORD_FILE, OPTIMIZER_FILE = "training.json", "training.pt"
MIN_FREE_BYTES = 1 << 20  # with less, an error of torch's is taken for a full disk


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint, saved after `step` optimizer steps."""

    folder: Path
    step: int
    loader: dict[str, Any]  # the loader's state: it goes on with the next batch
    fingerprint: str  # of the configuration and the data

    def load_optimizers(self) -> list[dict[str, Any]]:
        """Returns the optimizers' state dicts, on the CPU."""
        return torch.load(self.folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True)


def save(
    out: Path,
    step: int,
    model: Any,
    tokenizer: Path,
    optimizers: list[dict[str, Any]],
    loader: dict[str, Any],
    fingerprint: str,
    keep: int,
) -> Checkpoint:
    """Writes a checkpoint and removes all but the newest `keep`. Only one process may call this.

    Args:
        out: the training's folder.
        step: optimizer steps so far.
        model: a transformers model.
        tokenizer: the folder of the tokenizer's files, which are copied.
        optimizers: their state dicts.
        loader: the loader's state.
        fingerprint: of the configuration and the data.
        keep: how many checkpoints stay.

    Raises:
        StoreError: the disk is full; older checkpoints stay.
    """
    folder = out / "checkpoints" / f"step-{step:08d}"
    temporary = temporary_path(folder)
    try:
        temporary.mkdir(parents=True)
        save_model(model, tokenizer, temporary)
        torch.save(optimizers, temporary / OPTIMIZER_FILE)
        for path in temporary.iterdir():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        hashes = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
        record = {"step": step, "loader": loader, "fingerprint": fingerprint, "sha256": hashes}
        write_text(temporary / RECORD_FILE, json.dumps(record, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
        sync_folder(folder.parent)
    except (OSError, RuntimeError) as error:  # torch and safetensors report a full disk by errors of their own
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, RuntimeError) and shutil.disk_usage(out).free > MIN_FREE_BYTES:
            raise
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"{folder}: cannot be written ({reason}); free space, then run the same command again: "
            "it resumes from the newest checkpoint"
        ) from None
    for old in _folders(out)[:-keep]:
        shutil.rmtree(old)
    return Checkpoint(folder, step, loader, fingerprint)


def latest(out: Path) -> Checkpoint | None:
    """Returns the newest checkpoint of a training's folder, its files checked; None where there is none.

    Changes nothing on disk, so all ranks may call it at the same time.

    Raises:
        InputError: the newest checkpoint is damaged.
    """
    for folder in reversed(_folders(out)):
        fix = f"remove {folder} and run again: the checkpoint before it is used"
        try:
            record = json.loads((folder / RECORD_FILE).read_text("utf-8"))
            damaged = [name for name, sha256 in record["sha256"].items() if sha256_file(folder / name) != sha256]
            if damaged:
                raise InputError(f"{folder / damaged[0]}: damaged (its sha256 is not the recorded one); {fix}")
            return Checkpoint(folder, record["step"], record["loader"], record["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: damaged checkpoint ({error}); {fix}") from None
    return None


def remove_leftovers(out: Path) -> None:
    """Removes what killed processes did not finish writing. Only one process may call this, while no other saves."""
    for leftover in (out / "checkpoints").glob(f"{TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover)


def save_model(model: Any, tokenizer: Path, folder: Path) -> None:
    """Writes a model with copies of its tokenizer's files: a folder that loads by itself."""
    with silence():
        model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)


def _folders(out: Path) -> list[Path]:
    return sorted((out / "checkpoints").glob("step-*"))

"""Checkpoints of a training run: folders that are there whole or not at all, the newest few kept.

<out>/checkpoints/step-00000400/    config.json model.safetensors tokenizer.json …: a model to load as it is
                 training.pt        the optimizers' state
                 training.json      the commit, written last: step, loader state, fingerprint, sha256 of the files
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
from stages.storage.atomic import sync_folder, temporary_path, write_text
from stages.storage.checksum import sha256_file

RECORD, STATE = "training.json", "training.pt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that is whole: `step` optimizer steps are done, `loader` goes on with the next batch."""

    folder: Path
    step: int
    loader: dict[str, Any]
    fingerprint: str

    def optimizers(self) -> list[dict[str, Any]]:
        """Their state dicts."""
        return torch.load(self.folder / STATE, map_location="cpu", weights_only=True)


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
    """Writes aside, syncs, renames, then prunes. Raises StoreError when the disk is full: older ones stay."""
    folder = out / "checkpoints" / f"step-{step:08d}"
    part = temporary_path(folder)
    try:
        part.mkdir(parents=True)
        save_model(model, tokenizer, part)
        torch.save(optimizers, part / STATE)
        for path in part.iterdir():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        hashes = {path.name: sha256_file(path) for path in sorted(part.iterdir())}
        record = {"step": step, "loader": loader, "fingerprint": fingerprint, "sha256": hashes}
        write_text(part / RECORD, json.dumps(record, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
        sync_folder(folder.parent)
    except (OSError, RuntimeError) as error:  # torch and safetensors say "no space" in errors of their own
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, RuntimeError) and shutil.disk_usage(out).free > 1 << 20:
            raise
        said = getattr(error, "strerror", None) or error
        raise StoreError(
            f"{folder}: cannot be written ({said}); free space, then run the same command again: "
            "it goes on from the newest checkpoint"
        ) from None
    for old in _folders(out)[:-keep]:
        shutil.rmtree(old)
    return Checkpoint(folder, step, loader, fingerprint)


def latest(out: Path) -> Checkpoint | None:
    """The newest checkpoint, its files checked. Raises InputError when one is damaged."""
    for left in (out / "checkpoints").glob(".tmp-*"):
        shutil.rmtree(left)
    for folder in reversed(_folders(out)):
        mend = f"remove {folder} and run again: the one before it is taken"
        try:
            record = json.loads((folder / RECORD).read_text("utf-8"))
            wrong = [name for name, sha256 in record["sha256"].items() if sha256_file(folder / name) != sha256]
            if wrong:
                raise InputError(f"{folder / wrong[0]}: damaged (its sha256 is not the recorded one); {mend}")
            return Checkpoint(folder, record["step"], record["loader"], record["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: damaged checkpoint ({error}); {mend}") from None
    return None


def save_model(model: Any, tokenizer: Path, folder: Path) -> None:
    """A model and its tokenizer's files: a folder that loads by itself."""
    with silence():
        model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)


def _folders(out: Path) -> list[Path]:
    return sorted((out / "checkpoints").glob("step-*"))

"""Checkpoints of a training: folders that appear complete or not at all. The newest few are kept.

<out>/checkpoints/step-00000400/    config.json model.safetensors tokenizer.json …: a model folder that loads by itself
                 training.pt        the optimizers' state
                 training.json      written last: see `TrainingRecord`
<out>/model/                        the same without the optimizers' state
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from configs.errors import ConfigError, InputError
from model.data.training_record import RECORD_FILE, TrainingRecord
from model.data.vocabulary import Vocabulary
from model.silence import silence
from model.training.saving import replacing_folder, saving
from stages.storage.atomic import sync_folder

OPTIMIZER_FILE = "training.pt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    folder: Path
    record: TrainingRecord

    @property
    def step(self) -> int:
        """After how many optimizer steps it was saved."""
        return self.record.step

    def load_optimizers(self) -> list[dict[str, Any]]:
        """Returns the optimizers' state dicts, on the CPU."""
        return torch.load(self.folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True)


def save(
    out: Path,
    model: Any,
    vocabulary: Vocabulary,
    optimizers: Sequence[dict[str, Any]],
    record: TrainingRecord,
    keep: int,
) -> Checkpoint:
    """Writes a checkpoint and removes all but the newest `keep`. Only one process may call this.

    Args:
        out: the training's folder.
        model: a transformers model.
        vocabulary: its tokenizer.
        optimizers: their state dicts.
        record: what the weights were trained on.
        keep: how many checkpoints stay.

    Raises:
        StoreError: the disk is full; older checkpoints stay.
    """
    folder = out / "checkpoints" / f"step-{record.step:08d}"
    save_model(model, vocabulary, record, folder, optimizers)
    with saving(folder.parent):
        for old in _folders(out)[:-keep]:
            shutil.rmtree(old)
    return Checkpoint(folder, record)


def save_model(
    model: Any,
    vocabulary: Vocabulary,
    record: TrainingRecord,
    folder: Path,
    optimizers: Sequence[dict[str, Any]] | None = None,
) -> None:
    """Writes a folder that loads by itself: the model, its tokenizer and its record. It replaces an older one.

    Raises:
        StoreError: the disk is full; the older folder stays.
    """
    with replacing_folder(folder) as temporary:
        with silence():
            model.save_pretrained(temporary)
        vocabulary.save(temporary)
        if optimizers is not None:
            torch.save(optimizers, temporary / OPTIMIZER_FILE)
        for path in temporary.iterdir():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        record.write(temporary)
    with saving(folder):
        sync_folder(folder.parent)


def latest(out: Path) -> Checkpoint | None:
    """Returns the newest checkpoint of a training's folder, its files checked; None where there is none.

    Changes nothing on disk, so all ranks may call it at the same time.

    Raises:
        ConfigError: an earlier version of Gristmill wrote the newest checkpoint.
        InputError: the newest checkpoint is damaged.
    """
    for folder in reversed(_folders(out)):
        fix = f"remove {folder} and run again: the checkpoint before it is used"
        try:
            record = TrainingRecord.read(folder)
            if record is None and _is_of_version_1(folder):
                raise ConfigError(
                    f"{folder}: an earlier version of Gristmill wrote this checkpoint, and this one cannot resume it; "
                    f"give another --out, with --start-from {folder} to begin with its weights"
                )
            if record is None:
                raise InputError(f"{folder}: damaged checkpoint (no {RECORD_FILE}); {fix}")
            if damaged := record.damaged_file(folder):
                raise InputError(f"{folder / damaged}: damaged (its sha256 is not the recorded one); {fix}")
            return Checkpoint(folder, record)
        except OSError as error:
            raise InputError(f"{folder}: damaged checkpoint ({error}); {fix}") from None
        except InputError as error:
            raise error if fix in str(error) else InputError(f"{error}; {fix}") from None
    return None


def _is_of_version_1(folder: Path) -> bool:
    try:
        return "fingerprint" in json.loads((folder / RECORD_FILE).read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _folders(out: Path) -> list[Path]:
    return sorted((out / "checkpoints").glob("step-*"))

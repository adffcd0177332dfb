"""`TrainingRecord`: `training.json` in the folder of a checkpoint or a model. It says what the weights were trained on.

It is written last, so a folder that has one is complete.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from configs.errors import InputError
from model.data.shards import HeldOutRule
from model.data.token_file import TokenFileHeader
from stages.storage.atomic import write_text
from stages.storage.checksum import sha256_file

RECORD_FILE = "training.json"
VERSION = 2  # records of version 1 have a hash for an identity


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What the weights beside it were trained on."""

    step: int  # optimizer steps done
    steps: int  # of the whole training
    length: int  # tokens of a sequence
    held_out: HeldOutRule  # which rows were never trained on, by this training or those that it started from
    identity: Mapping[str, Any]  # what the weights depend on; see `model.training.identity`
    loader: Mapping[str, Any]  # the loader's state: it goes on with the next batch
    sha256: Mapping[str, str] = field(default_factory=dict)  # of the other files in the folder

    @classmethod
    def read(cls, folder: Path) -> "TrainingRecord | None":
        """Reads the record of a folder; None where there is none, or one of version 1.

        Raises:
            InputError: it is damaged, or a newer version of Gristmill wrote it.
        """
        path = folder / RECORD_FILE
        try:
            value = json.loads(path.read_text("utf-8"))
            version = value.pop("version", 1)
            if version == 1:
                return None
            if version != VERSION:
                raise InputError(f"{path}: of a newer version of Gristmill ({version}); update Gristmill")
            return cls(**value | {"held_out": HeldOutRule(**value["held_out"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: damaged ({error}); copy or train the model again") from None

    def write(self, folder: Path) -> None:
        """Hashes the files of the folder and writes the record. Raises OSError."""
        hashes = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != RECORD_FILE}
        value = {"version": VERSION, **asdict(self), "sha256": hashes}
        write_text(folder / RECORD_FILE, json.dumps(value, indent=1, ensure_ascii=False))

    def damaged_file(self, folder: Path) -> str | None:
        """Returns the name of a file that is missing or is not the recorded one; None if all are whole."""
        for name, sha256 in self.sha256.items():
            if not (folder / name).is_file() or sha256_file(folder / name) != sha256:
                return name
        return None


def held_out_of_version_1(folder: Path) -> HeldOutRule | None:
    """Returns which rows a training of an earlier version, which wrote no record, held out.

    Args:
        folder: of its model, or of a checkpoint.

    Returns:
        What the training's configuration says, else what all its token files of this tokenizer say; else None.

    Raises:
        InputError: the configuration is damaged.
    """
    tokenizer = sha256_file(folder / "tokenizer.json")
    for training in folder.resolve().parents[:2]:
        config = training / "config.yaml"
        try:
            return HeldOutRule(float(yaml.safe_load(config.read_text("utf-8"))["data"]["held_out"]), "seed")
        except (OSError, KeyError, TypeError):
            pass  # there is none, or it is not of a training
        except (ValueError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{config}: damaged ({reason}); put the training's configuration back") from None
        files = (training / "tokens").glob("*.parquet")
        headers = [TokenFileHeader.read(path, pq.read_metadata(path)) for path in files]
        shares = {header.held_out for header in headers if header.tokenizer_sha256 == tokenizer}
        if len(shares) == 1:
            return HeldOutRule(shares.pop(), "seed")
    return None

"""`StartingPoint`: the model that a training starts from (`start_from`) instead of random weights."""

from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from configs.errors import ConfigError, InputError
from model.data.shards import HeldOutRule
from model.data.training_record import TrainingRecord, held_out_of_version_1
from model.lm import DsaConfig
from model.training.model_config import size_fields
from stages.storage.checksum import sha256_file

FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """A model's folder, and what its training held out."""

    folder: Path
    sha256: str  # of the weights
    config: DsaConfig
    held_out: HeldOutRule | None  # None: not known

    @classmethod
    def open(cls, path: str) -> "StartingPoint":
        """Opens the folder of a model or a checkpoint, or of a training that has finished.

        Raises:
            ConfigError: there is no such folder.
            InputError: it does not contain a Gristmill model, or is damaged.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ConfigError(f"start_from: no such folder {path!r}; name a model folder that gristmill train created")
        if not (folder / FILES[0]).is_file() and (folder / "model" / FILES[0]).is_file():
            folder = folder / "model"
        for name in FILES:
            if not (folder / name).is_file():
                raise InputError(
                    f"start_from: {folder} has no {name}; name a model folder that gristmill train created"
                )
        record = TrainingRecord.read(folder)
        damaged = record.damaged_file(folder) if record else None
        if damaged:
            raise InputError(f"{folder / damaged}: damaged (its sha256 is not the recorded one); copy it again")
        try:
            config = AutoConfig.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: cannot be loaded ({str(error).splitlines()[0]}); copy it again") from None
        if not isinstance(config, DsaConfig):
            raise InputError(f"start_from: {folder} is a {config.model_type}, not a Gristmill model; name one")
        held_out = record.held_out if record else held_out_of_version_1(folder)
        return cls(folder, sha256_file(folder / "model.safetensors"), config, held_out)

    def check(self, sizes: DsaConfig, share: float) -> None:
        """Checks that a training can start here.

        Args:
            sizes: of the model that its configuration asks for.
            share: of the documents that it holds out.

        Raises:
            ConfigError: the sizes or the share are others; the message names the keys.
        """
        mine, wanted = size_fields(self.config), size_fields(sizes)
        others = [f"model.{key} is {mine[key]} there, {wanted[key]} here" for key in mine if mine[key] != wanted[key]]
        if others:
            raise ConfigError(f"start_from: {self.folder} is of another size: {'; '.join(others)}; change `model`")
        if self.held_out and self.held_out.share != share:
            raise ConfigError(
                f"data.held_out: {share}, but the model in {self.folder} was trained with {self.held_out.share}, so "
                f"rows would be held out that it has seen; set data.held_out={self.held_out.share}"
            )

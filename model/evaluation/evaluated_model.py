"""`EvaluatedModel`: a model folder that is compared with others, and what makes two folders comparable."""

import json
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError, InputError
from configs.load import digest
from model.data.shards import HeldOutRule
from model.data.training_record import TrainingRecord, held_out_of_version_1
from stages.storage.checksum import sha256_file

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
# Keys of config.json in which a model may differ from its dense twin.
_KEYS_OUTSIDE_FAMILY = (
    "attention",
    "transformers_version",
    "architectures",
    "dtype",
    "torch_dtype",
    "_name_or_path",
    "auto_map",
)


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model's folder and what its config.json says of it."""

    folder: Path
    attention: str  # sparse or dense
    family: str  # a digest: equal for models that differ in nothing but their attention and their weights
    shape: str  # hidden size x layers
    label: str | None
    record: TrainingRecord | None = None  # None: of an earlier version of Gristmill

    @classmethod
    def open(cls, argument: str) -> "EvaluatedModel":
        """Reads the folder that `argument` names, as `DIR` or `label=DIR`. The weights are not loaded.

        Raises:
            ConfigError: there is no such folder.
            InputError: the folder does not contain a Gristmill model.
        """
        label, _, name = argument.rpartition("=")
        if label and Path(argument).is_dir():  # a folder with = in its name
            label, name = "", argument
        folder = Path(name)
        if not folder.is_dir():
            raise ConfigError(f"--model: no such folder {name!r}; name a model folder that gristmill train created")
        for file in MODEL_FILES:
            if not (folder / file).is_file():
                hint = f", such as {folder / 'model'}" if (folder / "model").is_dir() else ""
                raise InputError(f"{folder}: no {file}; name a model folder that gristmill train created{hint}")
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            attention, shape = config["attention"], f"{config['hidden_size']}x{config['num_hidden_layers']}"
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{folder / 'config.json'}: not of a Gristmill model; train or copy it again") from None
        compared = {key: value for key, value in config.items() if key not in _KEYS_OUTSIDE_FAMILY}
        family = digest([compared, sha256_file(folder / "tokenizer.json")])
        return cls(folder, attention, family, shape, label or None, TrainingRecord.read(folder))

    def held_out(self, share: float | None) -> HeldOutRule:
        """Returns which rows of a data set the model was not trained on.

        Args:
            share: that the user gives; None: the one that the model was trained with.

        Raises:
            ConfigError: rows that the model was trained on would be held out at this share.
            InputError: it is not known which rows the model was trained on, and no share is given.
        """
        known = self.record.held_out if self.record else held_out_of_version_1(self.folder)
        if known is None:
            if share is None:
                raise InputError(
                    f"{self.folder}: it is not known which rows the model was not trained on; give the held-out share "
                    "that it was trained with as --held-out"
                )
            return HeldOutRule(share, "seed")
        if share is not None and share > known.share:
            raise ConfigError(
                f"--held-out: {share}, but {self.folder} was trained with {known.share}, so it would be scored on "
                f"rows that it has seen; give {known.share} or less, or leave --held-out out"
            )
        return HeldOutRule(known.share if share is None else share, known.by)

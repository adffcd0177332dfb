"""Which models are compared: folders, the groups that they form, and figures over the seeds of a group."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError, InputError
from configs.load import digest
from stages.storage.checksum import sha256_file

_NOT_OURS = ("attention", "transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path")


@dataclass(frozen=True, slots=True)
class Contender:
    """A model's folder. `family` is the same for models whose configs differ in nothing but their attention."""

    folder: Path
    attention: str
    family: str
    shape: str  # hidden size x layers
    label: str | None

    @classmethod
    def open(cls, asked: str) -> "Contender":
        """`DIR` or `label=DIR`. Raises ConfigError for no such folder, InputError when it holds no model."""
        label, _, name = asked.rpartition("=")
        if label and Path(asked).is_dir():  # a folder with = in its name
            label, name = "", asked
        folder = Path(name)
        if not folder.is_dir():
            raise ConfigError(f"--model: no such folder {name!r}; name a model folder that gristmill train made")
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (folder / file).is_file():
                hint = f", {folder / 'model'}" if (folder / "model").is_dir() else ""
                raise InputError(f"{folder}: no {file}; name a model folder that gristmill train made{hint}")
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            attention, shape = config["attention"], f"{config['hidden_size']}x{config['num_hidden_layers']}"
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{folder / 'config.json'}: not of a Gristmill model; train or copy it again") from None
        kept = {key: value for key, value in config.items() if key not in _NOT_OURS}
        family = digest([kept, sha256_file(folder / "tokenizer.json")])
        return cls(folder, attention, family, shape, label or None)


def group(contenders: Sequence[Contender]) -> dict[str, list[int]]:
    """Places of the models by group: those of one label, else those whose configs are the same.

    A group that is not labelled is named by its attention, with the shape where two would be named alike. Raises
    ConfigError for a model given twice and where names are still alike.
    """
    if len({contender.folder.resolve() for contender in contenders}) < len(contenders):
        raise ConfigError("--model: a folder is given twice; give each once, its seeds as folders of their own")
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, of in enumerate(contenders):
        groups.setdefault(("label", of.label) if of.label else ("config", of.family, of.attention), []).append(place)
    named: dict[str, list[int]] = {}
    kinds = [contenders[places[0]].attention for key, places in groups.items() if key[0] == "config"]
    for key, places in groups.items():
        first = contenders[places[0]]
        name = first.label or first.attention
        if key[0] == "config" and kinds.count(first.attention) > 1:
            name = f"{first.attention} {first.shape}"
        if name in named:
            raise ConfigError(f"--model: two groups are both {name!r}; give labels, as {name}-2={first.folder}")
        named[name] = places
    return named


def dense_twin(groups: dict[str, list[int]], contenders: Sequence[Contender], name: str) -> str | None:
    """The group that differs from this one in nothing but its dense attention; itself where it is dense."""

    def kinds(places: Sequence[int]) -> set[tuple[str, str]]:
        return {(contenders[place].family, contenders[place].attention) for place in places}

    families = {family for family, _ in kinds(groups[name])}
    wanted = {(family, "dense") for family in families}
    order = sorted(groups, key=lambda other: other != name)  # itself first
    return next((other for other in order if len(wanted) == 1 and kinds(groups[other]) == wanted), None)


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and its standard error over seeds; None for a single one."""
    if len(values) < 2:
        return values[0], None
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float | None]:
    """Of the means, with its standard error to first order (independent seeds); None where one side has no error."""
    (a, a_error), (b, b_error) = mean_and_error(above), mean_and_error(below)
    if a_error is None or b_error is None:
        return a / b, None
    return a / b, a / b * math.hypot(a_error / a, b_error / b)

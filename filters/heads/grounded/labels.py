"""Answers that people labelled as supported by their passage or not: to measure and set limits, never to train on."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from configs.errors import InputError
from configs.schema import Language


class GroundedLabel(BaseModel):
    """One labelled answer.

    Attributes:
        faithful: 1 if every claim of the answer is supported by the passage, else 0; several readers' as a list.
        fault: what is wrong with it; several readers' as a list.
        kept: whether the other filters keep it; None if nobody says so. A key that begins with `kept_by` counts too.
        scores: likelihoods of the answer, by name (log_p, pmi).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    passage: str
    answer: str
    faithful: tuple[int, ...] = Field(min_length=1)
    fault: tuple[str, ...] = ()
    domain: str = ""
    language: Language = "en"
    source: str = ""
    generator: str = ""
    kept: bool | None = None
    scores: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _kept_by(cls, data: object) -> object:
        if isinstance(data, dict) and "kept" not in data:
            values = [value for key, value in data.items() if str(key).startswith("kept_by")]
            return data | ({"kept": values[0]} if values else {})
        return data

    @field_validator("faithful", "fault", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else (value,)

    @property
    def good(self) -> int:
        """1 if a reader found the answer faithful."""
        return int(any(self.faithful))


def read_grounded_labels(path: str) -> list[GroundedLabel]:
    """Reads a JSON Lines file of labels. Raises InputError naming the line that is none."""
    labels = []
    try:
        with Path(path).open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    labels.append(_label(line, path, number))
    except OSError as error:
        raise InputError(f"--labels: cannot read {path} ({error.strerror}); name a JSON Lines file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"--labels: {path} is not UTF-8 ({error.reason}); save it as UTF-8") from None
    return labels


def _label(line: str, path: str, number: int) -> GroundedLabel:
    try:
        return GroundedLabel.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "line"
        problem = f"{where}: {first['msg'].lower()}"
    except (ValueError, RecursionError):
        problem = "not a JSON object"
    raise InputError(f"--labels: {path}:{number}: {problem}; fix or remove the line")

"""Labels: texts that a judge or people scored from 0 to 5, for training and measuring a quality head."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.errors import InputError
from configs.schema import Language

SCALE = (0.0, 5.0)


class Label(BaseModel):
    """One scored text.

    Attributes:
        score: 0 to 5, or None if a judge's answer had no score that could be read. None is missing, not low.
        by: who scored: `judge:<model>` or `human`. Reports keep them apart.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    text: str = Field(min_length=1)
    domain: str
    language: Language = "en"
    score: float | None = Field(ge=SCALE[0], le=SCALE[1])
    by: str = "human"


def read_labels(path: str) -> list[Label]:
    """Reads labels from a JSON Lines or CSV file with the columns text, domain, language, score, by.

    Raises InputError naming the line that is not a label.
    """
    kind: Literal["csv", "jsonl"] = "csv" if path.lower().endswith(".csv") else "jsonl"
    try:
        with Path(path).open(encoding="utf-8-sig", newline="" if kind == "csv" else None) as stream:
            rows = _csv(stream) if kind == "csv" else _jsonl(stream, path)
            return [_label(value, path, number) for number, value in rows]
    except OSError as error:
        raise InputError(f"--labels: cannot read {path} ({error.strerror}); name a JSON Lines or CSV file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"--labels: {path} is not UTF-8 ({error.reason}); save it as UTF-8") from None


def _csv(stream: Any) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(stream)
    for row in reader:
        yield (
            reader.line_num,
            {key: value for key, value in row.items() if value != ""} | {"score": row["score"] or None},
        )


def _jsonl(stream: Any, path: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                raise InputError(f"--labels: {path}:{number}: not a JSON object; fix or remove the line") from None


def _label(value: Any, path: str, number: int) -> Label:
    try:
        return Label.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "line"
        raise InputError(
            f"--labels: {path}:{number}: {where}: {first['msg'].lower()}; fix or remove the line"
        ) from None

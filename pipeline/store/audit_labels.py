"""The labels of an audit: one file a reader, one line a label. Lines are added, never changed; the last one counts."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from configs.errors import ConfigError, InputError, StoreError
from configs.load import load_audit_rubric
from pipeline.store.audit_sample import DIGEST_DIGITS, AuditSample, locked
from stages.storage.atomic import write_text

MIN_USEFUL = 3  # of 5, for a row to be right
MAX_NOTE_CHARACTERS = 2_000
_READER = re.compile(r"\w[\w.@+-]{0,59}")


class AuditLabel(BaseModel):
    """What one reader says of one row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str  # its id
    by: str  # the reader
    time: AwareDatetime
    publication: str  # the first digits of the digest of the rows that the sample is of
    faithful: int = Field(ge=0, le=1, strict=True)
    complete: int = Field(ge=0, le=1, strict=True)
    useful: int = Field(ge=0, le=5, strict=True)
    fault: str = "none"
    note: str = Field(default="", max_length=MAX_NOTE_CHARACTERS)

    @property
    def right(self) -> bool:
        """Whether this reader calls the row right."""
        return bool(self.faithful and self.complete and self.useful >= MIN_USEFUL)

    @property
    def content(self) -> tuple[object, ...]:
        """All but the time."""
        return self.row, self.by, self.faithful, self.complete, self.useful, self.fault, self.note


Labels = dict[str, dict[str, AuditLabel]]  # by reader, by row


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving labels changed."""

    added: int  # labels of rows that the reader had not labelled
    replaced: int  # labels of rows that the reader had labelled otherwise
    known: int  # labels that were there already


def check_reader(name: str) -> str:
    """The name of a reader, which becomes a file's name. Raises ConfigError."""
    if not _READER.fullmatch(name):
        raise ConfigError(
            f"--by: {name!r} cannot be a reader's name; write up to 60 letters and digits, with . _ - + or @ inside"
        )
    return name


def read_labels(folder: Path) -> Labels:
    """All readers' labels, the last one of each row. Raises StoreError naming a line that is damaged."""
    labels: Labels = {}
    for path in sorted(folder.glob("*.jsonl")):
        labels[path.stem] = {label.row: label for label in _stored(path)}
    return {reader: by_row for reader, by_row in labels.items() if by_row}


def _stored(path: Path) -> Iterator[AuditLabel]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); restore it, or remove it to label again") from None
    for number, line in enumerate(lines, 1):
        try:
            yield AuditLabel.model_validate_json(line)
        except ValidationError:
            raise StoreError(f"{path}:{number}: damaged; restore the file, or remove this line") from None


def save_labels(folder: Path, labels: Iterable[AuditLabel]) -> Saved:
    """Adds labels to the readers' files: each file is replaced as a whole, so that none is ever half a file.

    Several processes may save at once. Raises StoreError when the disk is full; the files are then as before.
    """
    labels_by_reader: dict[str, list[AuditLabel]] = {}
    for label in labels:
        labels_by_reader.setdefault(check_reader(label.by), []).append(label)
    added = replaced = known = 0
    try:
        with locked(folder):
            for reader, given in labels_by_reader.items():
                path = folder / f"{reader}.jsonl"
                stored = list(_stored(path))
                current = {label.row: label for label in stored}
                for label in given:
                    before = current.get(label.row)
                    if before is not None and before.content == label.content:
                        known += 1
                        continue
                    added, replaced = (added + 1, replaced) if before is None else (added, replaced + 1)
                    current[label.row] = label
                    stored.append(label)
                write_text(path, "".join(label.model_dump_json() + "\n" for label in stored))
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder}: {error.strerror}; the labels were not saved: fix it, then import them again"
        ) from None
    return Saved(added, replaced, known)


def parse_labels(path: str, sample: AuditSample) -> tuple[list[AuditLabel], list[str]]:
    """Reads a file of labels that the page wrote. Every line must be right, or none is taken.

    Returns the labels, the last one of each reader and row, and notes on rows that a reader labelled twice. Raises
    InputError naming file, line and fix.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"--import: cannot read {path} ({error.strerror}); name a file of labels") from None
    except UnicodeDecodeError as error:
        raise InputError(f"--import: {path} is not UTF-8 ({error.reason}); save it as UTF-8") from None
    known, faults = sample.by_id, load_audit_rubric().fault_names
    labels: dict[tuple[str, str], AuditLabel] = {}
    notes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"--import: {path}:{number}"
        label = _parsed(line, where)
        if label.publication != sample.digest[:DIGEST_DIGITS]:
            raise InputError(
                f"{where}: publication {label.publication[:40]!r}, but what {sample.date} publishes now is "
                f"{sample.digest[:DIGEST_DIGITS]}: the date was run again, or the file is of another data set; import "
                "it there, or label a new page (gristmill audit)"
            )
        if label.row not in known:
            raise InputError(
                f"{where}: row {label.row[:40]!r} is not in the sample of {sample.date}; remove the line, or import "
                "the file into the date and data set that its page was made from"
            )
        if label.fault not in faults:
            raise InputError(
                f"{where}: fault: {label.fault[:40]!r} is not one of {', '.join(faults)}; correct the line"
            )
        if (label.by, label.row) in labels:
            notes.append(f"{path}:{number}: {label.by} labelled row {label.row} before; this line counts")
        labels[label.by, label.row] = label
    if not labels:
        raise InputError(f"--import: {path} has no labels; name the file that the page's button downloaded")
    return list(labels.values()), notes


def _parsed(line: str, where: str) -> AuditLabel:
    try:
        label = AuditLabel.model_validate_json(line)
        check_reader(label.by)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise InputError(f"{where}: {field}: {first['msg'].lower()}; correct or remove the line") from None
    except ConfigError as error:
        raise InputError(f"{where}: by: {str(error).removeprefix('--by: ')}") from None
    return label

"""`plan.json` in a stage's folder: the shards of the stage. Others in the folder belong to an earlier plan."""

import json
from dataclasses import dataclass
from pathlib import Path

from stages.storage.atomic import write_text
from stages.storage.stage import StageKind, kind_of_version_1


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The shards of a stage, written before the first one is made."""

    kind: StageKind
    fingerprint: str  # of all shards
    shards: list[tuple[str, int]]  # kept file and rows in

    @classmethod
    def read(cls, folder: Path) -> "StagePlan":
        """The plan in a stage's folder. Raises OSError or ValueError when it is missing or damaged."""
        value = json.loads((folder / "plan.json").read_text("utf-8"))
        try:
            kind = StageKind.from_json(value["kind"]) if "kind" in value else kind_of_version_1(folder.name)
            return cls(kind, value["fingerprint"], [(name, rows) for name, rows in value["shards"]])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / 'plan.json'}: {error!r}") from None

    def write(self, folder: Path) -> None:
        value = {"kind": self.kind.to_json(), "fingerprint": self.fingerprint, "shards": self.shards}
        write_text(folder / "plan.json", json.dumps(value))

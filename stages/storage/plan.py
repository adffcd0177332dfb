"""`plan.json` in a stage's folder: which shards the stage consists of. Files of an earlier plan may lie beside it."""

import json
from dataclasses import dataclass
from pathlib import Path

from stages.storage.atomic import write_text
from stages.storage.stage import StageKind, kind_of_version_1


@dataclass(frozen=True, slots=True)
class StagePlan:
    kind: StageKind
    fingerprint: str  # of all shards
    shards: list[tuple[str, int]]  # kept file and rows in

    @classmethod
    def read(cls, folder: Path) -> "StagePlan":
        """Of a stage's folder. Raises OSError or ValueError when there is none that can be read."""
        value = json.loads((folder / "plan.json").read_text("utf-8"))
        try:
            kind = StageKind.from_json(value["kind"]) if "kind" in value else kind_of_version_1(folder.name)
            return cls(kind, value["fingerprint"], [(name, rows) for name, rows in value["shards"]])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / 'plan.json'}: {error!r}") from None

    def write(self, folder: Path) -> None:
        value = {"kind": self.kind.to_json(), "fingerprint": self.fingerprint, "shards": self.shards}
        write_text(folder / "plan.json", json.dumps(value))

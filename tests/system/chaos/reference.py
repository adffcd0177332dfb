"""An undisturbed run, which chains are compared with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.store.dataset import DataSet
from tests.factories.command_line import ROOT
from tests.factories.documents import write_config, write_documents

BEFORE, DATE = "2026-01-02", "2026-01-03"
STALL_S = 12


class Reference:
    """A data set with one published date, and what an undisturbed run makes of the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_config(folder, write_documents(folder / "documents.jsonl", range(40)))
        self.out = folder / "out"
        self._run(BEFORE)
        whole = folder / "whole"
        shutil.copytree(self.out, whole)
        self.boundaries: dict[str, int] = {}
        self._run(DATE, whole)
        data = DataSet(whole)
        manifests = {manifest.date: manifest for manifest in data.finished((BEFORE, DATE))}
        self.named = sorted(manifests[DATE].published_files)
        self.expected = folder / "expected.json"
        self.expected.write_text(json.dumps({date: manifest.digest for date, manifest in manifests.items()}))

    def line(self, out: Path, *flags: str, date: str = DATE) -> list[str]:
        sets = ["domains.law.per_day=12", "generate.shard_rows=4", "adapt.min_rows=4", f"run.stall_timeout_s={STALL_S}"]
        sets += ["run.attempts=50"]  # a shard that is killed by chance, again and again, is not to be quarantined
        line = [sys.executable, "-m", "pipeline", "run", "--config", str(self.config), "--date", date, "--json"]
        return [*line, "--out", str(out), *(part for each in sets for part in ("--set", each)), *flags]

    def _run(self, date: str, out: Path | None = None) -> None:
        out = out or self.out
        chaos = self.folder / f"chaos-{date}"
        chaos.mkdir()
        for role in ("driver", "supervisor"):
            (chaos / f"boundaries-{role}").touch()
        subprocess.run(self.line(out, date=date), env=environment(chaos, out), check=True, capture_output=True)
        self.boundaries = {
            role: len((chaos / f"boundaries-{role}").read_text().splitlines()) for role in ("driver", "supervisor")
        }


def environment(chaos: Path, out: Path, **more: str) -> dict[str, str]:
    paths = [ROOT / "tests" / "system" / "chaos", ROOT]
    known = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "CHAOS": str(chaos), "CHAOS_ROOT": str(out)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # a pool starts workers as `python`
    return os.environ | known | {"OMP_NUM_THREADS": "1", "PATH": path} | more

"""Undisturbed runs, which chains are compared with."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from pipeline.store.dataset import DataSet
from pipeline.store.registry_files import Registry
from tests.factories.command_line import ROOT
from tests.factories.documents import write_config, write_documents

BEFORE, DATE = "2026-01-02", "2026-01-03"
# Of a run, and of one with the loop. A driver whose pool lost a worker waits so long, and each stage starts the workers
# of a pool again, which takes half a minute on a busy machine.
STALL_S = {False: 25, True: 60}
DRIVER, EVOLVE_DRIVER, SUPERVISOR = "driver", "evolve driver", "supervisor"  # roles of processes
LOOP = {
    "name": "loop",
    "domains": {
        "law": {"seeds": [{"corpus": "indian-constitution"}], "tasks": ["explain", "question-answer"], "per_day": 60},
        "medicine": {"seeds": [{"corpus": "hpo"}], "tasks": ["explain"], "per_day": 60},
    },
    "generator": {"backend": "echo", "model": "echo"},
    "generate": {"shard_rows": 30, "samples": 3},
    "screen": {"filters": [{"name": "length"}, {"name": "repetition"}, {"name": "refusal"}, {"name": "prompt_echo"}]},
    "adapt": {"enabled": False},
    "evolve": {
        "probes": 60,
        "held_out": 20,
        "core": 30,
        "draws": 6,
        "min_rows": 8,
        "candidates": ["sft", "dpo"],
        "max_cost_share": None,
        "hidden": [{"name": "support", "min_share": 0.3}],
    },
    "run": {"stall_timeout_s": 60, "in_flight": 1, "max_quarantined": 0.5},
}


class Reference:
    """A data set with one published date, and what an undisturbed run makes of the next.

    `loop`: dates are evolved too, in two domains whose champions are on trial: a date makes two verdicts in each.
    """

    def __init__(self, folder: Path, *, loop: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.loop = folder, loop
        self.config, self.out = self._config(), folder / "out"
        self._run(BEFORE)
        if loop:
            self._promote()
        whole = folder / "whole"
        shutil.copytree(self.out, whole)
        self.boundaries: dict[str, int] = {}
        self._run(DATE, whole)
        data = DataSet(whole)
        manifests = {manifest.date: manifest for manifest in data.finished((BEFORE, DATE))}
        self.named = sorted(manifests[DATE].published_files)
        self.registry = registry_content(whole)
        self.expected = folder / "expected.json"
        dates = {date: manifest.digest for date, manifest in manifests.items()}
        self.expected.write_text(json.dumps({"dates": dates, "pointers": self._pointers(whole)}))

    def line(self, out: Path, *flags: str, date: str = DATE) -> list[str]:
        sets = [f"run.stall_timeout_s={STALL_S[self.loop]}"]
        sets += ["run.attempts=50"]  # a shard that is killed by chance, again and again, is not to be quarantined
        if not self.loop:
            sets += ["domains.law.per_day=12", "generate.shard_rows=4", "adapt.min_rows=4"]
        line = [sys.executable, "-m", "pipeline", "run", "--config", str(self.config), "--date", date, "--json"]
        line += ["--evolve"] if self.loop else []
        return [*line, "--out", str(out), *(part for each in sets for part in ("--set", each)), *flags]

    def _config(self) -> Path:
        if not self.loop:
            return write_config(self.folder, write_documents(self.folder / "documents.jsonl", range(40)))
        path = self.folder / "loop.yaml"
        path.write_text(yaml.safe_dump(LOOP | {"out": str(self.folder / "out")}))
        return path

    def _promote(self) -> None:
        """Makes the candidates of the first date the champions: without a verifier the gate takes none."""
        registry = Registry(self.out)
        for domain in registry.domains():
            verdict = registry.history(domain)[-1]
            changes = {"number": verdict.number + 1, "status": "promoted", "rejudge_dates": 1}
            registry.commit(verdict.model_copy(update=changes))

    def _run(self, date: str, out: Path | None = None) -> None:
        out = out or self.out
        chaos = self.folder / f"chaos-{date}"
        chaos.mkdir()
        roles = DRIVER, EVOLVE_DRIVER, SUPERVISOR
        for role in roles:
            (chaos / f"boundaries-{role}").touch()
        subprocess.run(self.line(out, date=date), env=environment(chaos, out), check=True, capture_output=True)
        self.boundaries = {role: len((chaos / f"boundaries-{role}").read_text().splitlines()) for role in roles}

    def _pointers(self, whole: Path) -> dict[str, list[str]]:
        """By domain, the hashes of the pointers that a reader may find while the date is made, in their order."""
        pointers: dict[str, list[str]] = {}
        for domain in Registry(self.out).domains():
            states = self.folder / "states"
            shutil.copytree(self.out / "registry", states / "registry", dirs_exist_ok=True)
            registry = Registry(states)
            contents = [registry.pointer_path(domain).read_bytes()]
            for verdict in Registry(whole).history(domain)[registry.read(domain).last_verdict :]:
                registry.commit(verdict)
                contents.append(registry.pointer_path(domain).read_bytes())
            pointers[domain] = [sha256(content).hexdigest() for content in contents]
        return pointers


def registry_content(out: Path) -> dict[str, Any]:
    """By file the registry's pointers and verdicts, which have a time that differs each time: it is left out."""
    content: dict[str, Any] = {}
    for path in sorted((out / "registry").rglob("*.json")):
        name = str(path.relative_to(out))
        content[name] = path.read_text("utf-8")
        if "history" in path.parts:
            content[name] = json.dumps(json.loads(content[name]) | {"decided": ""})
    return content


def differences(content: dict[str, Any], expected: dict[str, Any]) -> Sequence[str]:
    """The files that differ or that one of the two lacks."""
    return sorted(name for name in content.keys() | expected.keys() if content.get(name) != expected.get(name))


def environment(chaos: Path, out: Path, **more: str) -> dict[str, str]:
    paths = [ROOT / "tests" / "system" / "chaos", ROOT]
    known = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "CHAOS": str(chaos), "CHAOS_ROOT": str(out)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # a pool starts workers as `python`
    return os.environ | known | {"OMP_NUM_THREADS": "1", "PATH": path} | more

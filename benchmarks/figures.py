"""The rows of a results file: printed beside their aim, and kept with command, commit and machine."""

import json
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


class Figures:
    """Rows of benchmarks/results/<file>.json; rows of other names that the file has are kept."""

    def __init__(self, file: str, command: str, machine: str, commit: str = "") -> None:
        switches = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("VLLM_USE_")]
        self.path, self.command, self.machine = RESULTS / f"{file}.json", " ".join([*switches, command]), machine
        self.commit = commit or _commit()
        self.rows = (
            {row["name"]: row for row in json.loads(self.path.read_text())["rows"]} if self.path.exists() else {}
        )

    def put(self, name: str, value: float, target: float | None = None, better: str = "higher") -> None:
        """Prints and saves a row; `better` is higher or lower."""
        self.rows[name] = {
            "name": name,
            "value": round(value, 4),
            "target": target,
            "better": better,
            "command": self.command,
            "commit": self.commit,
            "machine": self.machine,
        }
        aim = ""
        if target is not None:
            met = value >= target if better == "higher" else value <= target
            aim = f"aim {target:,g} {'met' if met else 'MISSED'}"
        print(f"{name:<76}{value:>14,.3f}  {aim}", flush=True)
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps({"rows": list(self.rows.values())}, indent=1) + "\n")


def processor() -> str:
    """This machine's cores, model and Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if "model name" in line), "")
    return f"{len(os.sched_getaffinity(0))} cores, {model.strip()}, Python {platform.python_version()}"


def _commit() -> str:
    line = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

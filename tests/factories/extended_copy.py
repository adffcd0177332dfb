"""A copy of the packages that a test extends: by a filter, a backend, a stage or a command, as a contributor would.

copy = ExtendedCopy(tmp_path / "gristmill")
copy.write("filters/ends_well.py", SOURCE)
copy.insert_after("filters/__init__.py", "FILTERS = {\n", '    "ends_well": "filters.ends_well:EndsWell",\n')
result = copy.gristmill("filter", "list", "--json")
assert copy.changed == ["filters/__init__.py", "filters/ends_well.py"]
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.factories.command_line import ROOT, TIMEOUT_S, CommandResult

PACKAGES = ("configs", "stages", "filters", "model", "pipeline")


class ExtendedCopy:
    """The five packages in a folder of their own. Python runs there in processes of its own.

    `changed` lists the files that the test wrote or edited: what the addition costs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package)  # with what is compiled
        self._changed: set[str] = set()

    @property
    def changed(self) -> list[str]:
        return sorted(self._changed)

    def write(self, path: str, source: str) -> None:
        """Adds a file. Raises FileExistsError if the packages have one of that name."""
        with (self.folder / path).open("x", encoding="utf-8") as stream:
            stream.write(source)
        self._changed.add(path)

    def insert_after(self, path: str, anchor: str, addition: str) -> None:
        """Puts text behind `anchor`, which must occur in the file exactly once."""
        text = (self.folder / path).read_text("utf-8")
        assert text.count(anchor) == 1, f"{path} has {text.count(anchor)} times {anchor!r}"
        (self.folder / path).write_text(text.replace(anchor, anchor + addition), "utf-8")
        self._changed.add(path)

    def python(self, *arguments: object) -> CommandResult:
        """Runs Python on the copy, in its folder."""
        # not measured: coverage would look for the copy's files after the test has removed them
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        result = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env=surroundings | {"PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return CommandResult(result.returncode, result.stdout, result.stderr)

    def gristmill(self, *arguments: object) -> CommandResult:
        """Runs the copy's command line."""
        return self.python("-m", "pipeline", *arguments)

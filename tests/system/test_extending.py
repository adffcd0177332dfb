"""Adding to the packages costs what it should: each test adds one thing to a copy of them and uses it."""

import json
import re
from pathlib import Path

import pytest

from tests.factories.documents import write_config, write_documents
from tests.factories.extended_copy import ExtendedCopy


@pytest.fixture
def copy(tmp_path: Path) -> ExtendedCopy:
    return ExtendedCopy(tmp_path / "gristmill")


def test_the_copy_runs_its_own_code(copy: ExtendedCopy) -> None:
    copy.write("filters/greeting.py", 'GREETING = "hello"\n')
    copy.insert_after(
        "filters/length.py", "from dataclasses import dataclass\n", "from filters.greeting import GREETING\n"
    )
    result = copy.python("-c", "import filters.length; print(filters.length.GREETING, filters.length.__file__)")
    assert result.code == 0, result.err
    assert result.out.split() == ["hello", str(copy.folder / "filters" / "length.py")]
    assert copy.changed == ["filters/greeting.py", "filters/length.py"]


SHOUTING = '''"""Drops answers that shout."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.ports import KEEP, Verdict
from stages.record import Candidate


@dataclass(frozen=True)
class Shouting:
    """Reason: shouting. `mark` is what counts as shouting."""

    mark: str = "!"

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [Verdict("shouting", None, self.mark) if self.mark in row.reply else KEEP for row in batch]
'''


def test_a_filter_is_a_file_and_a_line(copy: ExtendedCopy, tmp_path: Path) -> None:
    """The list of filters, the checks of a configuration and the screen follow."""
    copy.write("filters/shouting.py", SHOUTING)
    copy.insert_after("filters/__init__.py", "FILTERS = {\n", '    "shouting": "filters.shouting:Shouting",\n')
    assert copy.changed == ["filters/__init__.py", "filters/shouting.py"]

    (row,) = json.loads(copy.gristmill("filter", "list", "shouting", "--json").out)
    assert row["what"] == "Drops answers that shout."
    assert row["options"] == [{"name": "mark", "type": "str", "default": "!"}]
    assert "shouting" in [row["name"] for row in json.loads(copy.gristmill("filter", "list", "--json").out)]

    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(12)))
    run = ["run", "--config", config, "--date", "2026-01-02", "--json", "--set", "adapt.enabled=false", "--set"]
    refused = copy.gristmill(*run, "screen.filters=[{name: shouting, marks: x}]")
    assert refused.code == 2
    assert "screen.filters[0].marks: unknown option; shouting has mark" in refused.err + refused.out
    screened = copy.gristmill(*run, 'screen.filters=[{name: length}, {name: shouting, mark: "."}]')
    assert json.loads(screened.out.splitlines()[-1])["rejected"]["shouting"] > 0, screened.err


HELLO = '''"""Greet somebody.

The greeting goes to standard output.
"""

import typer

HELP_GROUP = "Set-up"
app = typer.Typer()


@app.command()
def greet(name: str, times: int = 1) -> int:
    print(f"Hello, {name}. " * times)
    return 4
'''


def test_a_command_is_a_file(copy: ExtendedCopy) -> None:
    """Help and completion list it, and what it returns is the exit code."""
    copy.write("pipeline/commands/hello.py", HELLO)
    assert copy.changed == ["pipeline/commands/hello.py"]
    listed = copy.gristmill("--help").out
    assert re.search(r"hello +Greet somebody\.", listed[listed.index("Set-up:") :])
    assert "The greeting goes to standard output." in copy.gristmill("hello", "--help").out
    greeting = copy.gristmill("hello", "Ada", "--times", "2")
    assert (greeting.code, greeting.out) == (4, "Hello, Ada. Hello, Ada. \n")
    assert "did you mean 'hello'?" in copy.gristmill("helo").err


BREVITY = '''"""Brevity: keeps answers of at most a number of characters."""

import json

from stages.record import Candidate, reject_row
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

MAX_CHARS = 1200


class Brevity:
    """Payload: `input`, a file of candidates."""

    kind = StageKind("brevity", Counts.CANDIDATES)

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        for batch in read_input(spec.root, FileRef(*json.loads(spec.payload)["input"])):
            out.rows_in += batch.num_rows
            rows = [Candidate(**row) for row in batch.to_pylist()]
            out.reject([reject_row(row, str(spec.stage), "long", "") for row in rows if len(row.text) > MAX_CHARS])
            out.keep_rows([row for row in rows if len(row.text) <= MAX_CHARS])
'''


def test_a_stage_is_its_body_and_a_line_in_the_graph(copy: ExtendedCopy, tmp_path: Path) -> None:
    """Plan, balance, last screen, report and counters follow from what the body declares."""
    copy.write("stages/brevity.py", BREVITY)
    graph = "pipeline/run/graph.py"
    copy.insert_after(graph, "from stages.dedup.sign import Sign\n", "from stages.brevity import Brevity\n")
    line = "            screened = yield one_shard_per_file(run, name_stage, Brevity(), screened)\n"
    copy.insert_after(graph, "            screened = yield _screen(run, name_stage, generated)\n", line)
    assert copy.changed == [graph, "stages/brevity.py"]

    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(40)))
    plan = json.loads(copy.gristmill("plan", "--config", config, "--json").out)
    stages = [stage["stage"] for stage in plan["stages"]]
    assert stages.index("screen") + 1 == stages.index("brevity") < stages.index("adapt-brevity")

    run = ("run", "--config", config, "--date", "2026-01-02", "--json", "--set", "adapt.enabled=false")
    result = copy.gristmill(*run)
    assert result.code == 0, result.err
    line = json.loads(result.out.splitlines()[-1])
    assert line["rejected"]["long"] > 0
    manifest = json.loads(Path(line["manifest"]).read_text())
    law = manifest["domains"]["law"]
    assert law["generated"] == law["accepted"] + sum(law["rejected"].values())
    assert law["flow"]["brevity"]["rejected"] == {"long": law["flow"]["brevity"]["in"] - law["flow"]["brevity"]["kept"]}
    report = (tmp_path / "out" / "runs" / "2026-01-02" / "report.html").read_text()
    assert "to brevity" in report

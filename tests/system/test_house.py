"""Rules that hold over all code: sizes, names, docstrings, what loads what, and what the wheel contains."""

import ast
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest

from tests.factories.command_line import ROOT, environment

PACKAGES = ("configs", "stages", "filters", "model", "pipeline")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CODE = sorted([*FILES, *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
MAX_LINES_PER_FILE = 300
MAX_FILES_PER_FOLDER = 20
CATCH_ALL_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc", "tools", "stuff"}
FORMER_FILE_NAMES = {"audit", "card", "commit", "curves", "deal", "drive", "literals", "memo", "published", "quota"}
FORMER_FILE_NAMES |= {"ranks", "tally", "terminal", "tidy"}
FORMER_NAMES = {"Contender", "Leave", "Lesson", "Seat", "Wanted", "_Life", "curb", "hide", "tries"}
UNSPECIFIC_CONSTANTS = {"FULL", "LEAST", "READ"}  # `KEEP` of stages.ports is a verdict, not a count
UNSPECIFIC_VARIABLES = {
    "begun",
    "done",
    "found",
    "held",
    "lies",
    "made",
    "mend",
    "of",
    "other",
    "said",
    "stands",
    "told",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes of a module."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def bound_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """What a module calls its classes, functions, arguments and variables, with line numbers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def test_the_packages_are_found():
    """The rules below say nothing about files that are not listed."""
    assert len(FILES) > 150
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)


def test_files_are_short():
    lines = {relative(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {path: count for path, count in lines.items() if count > MAX_LINES_PER_FILE} == {}


def test_folders_are_small():
    counts = Counter(relative(path.parent) for path in CODE)
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES_PER_FOLDER} == {}


def test_files_have_a_name_that_says_what_is_in_them():
    assert {relative(path) for path in CODE if path.stem in CATCH_ALL_NAMES} == set()
    commands = ROOT / "pipeline" / "commands"  # a command's file has the command's name
    named = [path for path in FILES if not path.is_relative_to(commands)]
    assert {relative(path) for path in named if path.stem in FORMER_FILE_NAMES} == set()


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in FILES}
    assert {relative(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_modules_functions_and_classes_have_docstrings():
    missing = []
    for path in FILES:
        tree = ast.parse(path.read_text("utf-8"))
        missing += [] if ast.get_docstring(tree) else [relative(path)]
        missing += [f"{relative(path)}: {node.name}" for node in definitions(tree) if not ast.get_docstring(node)]
    assert missing == []


def test_packages_say_what_is_in_them():
    """A package's docstring names each of its modules and packages, so that one knows where to read on."""
    catalogues = {"filters", "pipeline/commands"}  # a file each for what `FILTERS` and `--help` list
    unnamed = []
    for package in sorted({path.parent for path in CODE}):
        if not package.is_relative_to(ROOT / "tests") and relative(package) not in catalogues:
            text = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
            modules = {path.stem for path in package.glob("[!_]*.py")} | {p.parent.name for p in package.glob("*/*.py")}
            names = re.findall(r"`([\w*]+)`", text)
            unnamed += [relative(package / m) for m in sorted(modules) if not any(fnmatch(m, name) for name in names)]
    assert unnamed == []


def test_test_modules_do_not_import_each_other():
    """What several of them need is in tests/factories."""
    imports = re.compile(r"^\s*(?:from|import) tests\.(?:\w+\.)*test_\w+", re.MULTILINE)
    importing = {relative(path) for path in CODE if imports.search(path.read_text("utf-8"))}
    assert importing <= {"tests/model/serve/embedded/test_recovery.py"}  # it drives the engine as `test_engine` does


def uses_of(names: set[str]) -> list[str]:
    """Where the packages define or assign one of these names."""
    return [
        f"{relative(path)}:{line}: {name}"
        for path in FILES
        for name, line in bound_names(ast.parse(path.read_text("utf-8")))
        if name in names
    ]


def test_former_names_are_gone():
    assert uses_of(FORMER_NAMES) == []


def test_constants_say_what_they_count():
    assert uses_of(UNSPECIFIC_CONSTANTS) == []


def test_variables_say_what_they_hold():
    uses = uses_of(UNSPECIFIC_VARIABLES)
    assert [use for use in uses if not use.startswith("stages/ports.py")] == []  # `Verdict` takes a former name


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "pipeline.cli",
            ("apache_beam", "torch", "pyarrow", "pydantic", "yaml", "rich", "sklearn", "scipy", "starlette"),
        ),
        ("pipeline.run.supervisor", ("apache_beam", "torch", "transformers", "sklearn", "starlette")),
        ("pipeline.run.graph", ("apache_beam", "torch", "transformers", "peft", "vllm", "sklearn", "starlette")),
        ("pipeline.run.driver", ("pandas", "pymongo", "torch", "transformers", "sklearn", "starlette")),
        ("pipeline.pages.report", ("apache_beam", "torch", "starlette", "uvicorn", "sklearn")),
        ("pipeline.store.dataset", ("apache_beam", "torch", "starlette", "sklearn")),
        ("filters.build", ("apache_beam", "torch", "transformers", "sklearn", "scipy")),
        ("filters.heads.training", ("apache_beam", "torch", "transformers", "sklearn", "scipy")),
        ("model.serve.access", ("torch", "fastapi", "starlette")),
        ("pipeline.serving.policies", ("apache_beam", "torch", "transformers", "sklearn", "fastapi", "starlette")),
        ("stages.generate", ("apache_beam", "torch", "transformers", "sklearn", "scipy")),
        ("stages.sources", ("apache_beam", "ijson", "torch")),
        ("model", ("torch", "transformers", "yaml")),
        ("model.backends", ("torch", "transformers", "vllm", "apache_beam")),
        ("model.backends.lora", ("torch", "peft")),
        ("model.serve.api.server", ("torch", "transformers", "apache_beam")),
        ("model.data.loader", ("torch", "transformers", "tokenizers", "apache_beam")),
    ],
)
def test_heavy_libraries_load_where_they_are_used(module, heavy):
    script = f"import sys, {module}; sys.exit(','.join(m for m in {heavy!r} if m in sys.modules) or 0)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert result.returncode == 0, result.stderr


def test_no_other_distribution_owns_our_names():
    owners = metadata.packages_distributions()
    taken = {package: owners[package] for package in PACKAGES if package in owners}  # an editable install owns none
    assert {package: names for package, names in taken.items() if set(names) != {"gristmill"}} == {}


def test_the_wheel_holds_presets_tasks_and_heads(tmp_path):
    line = [sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = [
        *(ROOT / "configs").rglob("*.yaml"),
        *(ROOT / "filters" / "heads" / "shipped").glob("*.json"),
        *(ROOT / "filters" / "text" / "phrases").glob("*.txt"),
        *(ROOT / "model" / "encoder" / "shipped").glob("*/*"),
        *(ROOT / "pipeline" / "pages" / "templates").iterdir(),
    ]
    assert len(data) > 30
    assert {relative(path) for path in [*FILES, *data]} <= names
    installed = {path.name for path in (ROOT / "deploy" / "site-packages").iterdir() if path.is_file()}
    assert {name.rpartition("/")[2] for name in names if ".data/purelib/" in name and name[-1] != "/"} == installed
    assert installed == {"_gristmill_transformers.py", "gristmill_transformers.pth"}
    assert not {name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))}

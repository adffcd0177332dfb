"""The house keeps its rules: sizes, names, what imports what, and a wheel that holds all that workers need."""

import subprocess
import sys
import zipfile
from importlib import metadata

import pytest

from tests.factories.command_line import ROOT, environment

PACKAGES = ("configs", "stages", "filters", "model", "pipeline")
FILES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_no_file_is_more_than_one_noun():
    long = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert not {path: lines for path, lines in long.items() if lines > 330}
    assert not {path.stem for path in FILES} & {"utils", "common", "helpers", "base", "misc"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("pipeline.cli", ("apache_beam", "torch", "pyarrow", "pydantic", "yaml")),
        ("pipeline.run.supervisor", ("apache_beam", "torch", "transformers", "sklearn", "scipy")),
        ("filters.build", ("apache_beam", "torch", "transformers", "sklearn", "scipy")),
        ("filters.heads.training", ("apache_beam", "torch", "transformers", "sklearn", "scipy")),
        ("stages.generate", ("torch", "transformers")),
        ("model.backends", ("torch", "transformers", "vllm", "apache_beam")),
        ("model.backends.lora", ("torch", "peft")),
        ("model.data.loader", ("torch", "transformers", "tokenizers", "apache_beam")),
        ("pipeline.run.graph", ("torch", "transformers", "peft", "vllm", "sklearn", "scipy")),
    ],
)
def test_heavy_libraries_load_where_they_are_used(module, heavy):
    script = f"import sys, {module}; sys.exit(','.join(m for m in {heavy!r} if m in sys.modules) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_other_distribution_owns_our_names():
    owners = metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ["gristmill"])) == {"gristmill"}, f"{package}: {owners[package]}"


def test_the_wheel_holds_presets_tasks_and_heads(tmp_path):
    line = [sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(ROOT)) for path in FILES}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml")}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "filters" / "heads" / "shipped").glob("*.json")}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "model" / "encoder" / "shipped").glob("*/*")}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "pipeline" / "pages" / "templates").iterdir()}
    assert wanted <= names
    assert not {name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))}

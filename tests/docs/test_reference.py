"""The generated reference is what the schema and the command line say, and the schemas accept the presets."""

import json
import subprocess
import sys

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from configs.schema import Config
from configs.schema.policy import Policy
from configs.schema.training import Training
from pipeline import cli
from pipeline.command_line.config_reference import sections_of
from tests.factories.command_line import ROOT, environment

REFERENCE = ROOT / "docs" / "reference"
PRESETS = [*sorted((ROOT / "configs" / "presets").glob("*.yaml")), *sorted((ROOT / "configs" / "train").glob("*.yaml"))]


def test_the_reference_is_fresh():
    line = [sys.executable, str(ROOT / "docs" / "generate_reference.py"), "--check"]
    result = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("root", [Config, Training, Policy])
def test_every_key_has_a_description(root: type[BaseModel]):
    missing = [
        f"{path}.{name}"
        for path, model in sections_of("", root)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert missing == []


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_presets_name_the_schema_that_accepts_them(preset):
    text = preset.read_text("utf-8")
    mark, _, path = text.splitlines()[0].partition("=")
    assert mark == "# yaml-language-server: $schema"
    schema = json.loads((preset.parent / path).resolve().read_text("utf-8"))
    jsonschema.validate(yaml.safe_load(text), schema)
    with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
        jsonschema.validate(yaml.safe_load(text) | {"no_such_key": 1}, schema)


@pytest.mark.parametrize(("flags", "name"), [([], "config"), (["--training"], "training")])
def test_config_schema_prints_the_committed_schema(flags, name, capsys):
    assert cli.main(["config", "schema", *flags]) == 0
    assert capsys.readouterr().out == (REFERENCE / f"{name}.schema.json").read_text("utf-8")

"""Reads YAML: two equal keys are an error, and every error names the file."""

from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError


class YamlLoader(yaml.SafeLoader):
    """A YAML loader for which two equal keys are an error; PyYAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} appears twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a file. Raises ConfigError when it cannot be read or is none."""
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file.name}: not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    return parse_yaml(text, file.name)


def parse_yaml(text: str, name: str, *, quote: bool = True) -> dict[str, Any]:
    """The mapping in a text. `name`: of its file, for errors. `quote`: errors may quote the text.

    Raises ConfigError when the text is no YAML or no mapping.
    """
    try:
        value = yaml.load(text, YamlLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(error).split()) if quote else f"line {mark.line + 1}" if mark else "wrong syntax"
        raise ConfigError(f"{name}: not YAML: {reason}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: a mapping was expected")
    return value

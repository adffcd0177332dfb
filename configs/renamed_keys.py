"""Configuration keys that were renamed. The old name keeps working for one version, with a notice on standard error.

To rename a key: rename the field in `configs/schema`, keep the old name as the field's `serialization_alias` so that
content digests stay the same (`configs.load.identity`), and add a line to `RENAMED_KEYS`.
"""

import sys
from typing import Any

from configs.errors import ConfigError

RENAMED_KEYS = {"generate.tries": "generate.max_attempts"}  # old key -> new key

_announced: set[str] = set()


def rename_keys(raw: dict[str, Any], source: str) -> None:
    """Moves the values of old keys in a parsed YAML file to their new keys, in place.

    Args:
        raw: the parsed file.
        source: what the notice and the error call it, such as the file's name.

    Raises ConfigError where a file has both the old and the new key.
    """
    for old, new in RENAMED_KEYS.items():
        *sections, key = old.split(".")
        section: Any = raw
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or key not in section:
            continue
        *new_sections, new_key = new.split(".")
        target = raw
        for name in new_sections:
            target = target.setdefault(name, {})
        if new_key in target:
            raise ConfigError(f"{source}: {new} and its old name {old} are both set; remove {old}")
        target[new_key] = section.pop(key)
        _announce(old, new, source)


def renamed_path(path: str) -> str:
    """The path of a `--set path=value` with an old key replaced by its new name."""
    for old, new in RENAMED_KEYS.items():
        if path == old or path.startswith(f"{old}."):
            _announce(old, new, "--set")
            return new + path.removeprefix(old)
    return path


def _announce(old: str, new: str, source: str) -> None:
    if old not in _announced:
        _announced.add(old)
        print(f"{source}: {old} was renamed to {new}; the old name works in this version only", file=sys.stderr)

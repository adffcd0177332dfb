"""Writes docs/reference: the commands, the keys of the configurations, and their JSON Schemas.

`make reference` runs it. With --check it writes nothing, and fails where a file is not what it would write.
"""

import json
import sys
from pathlib import Path

from typer.main import get_command

from pipeline.cli import app
from pipeline.command_line.command_reference import command_reference
from pipeline.command_line.config_reference import config_reference, config_schema

FOLDER = Path(__file__).parent / "reference"


def pages() -> dict[str, str]:
    """The text of each file by its name."""
    return {
        "commands.md": command_reference(get_command(app)),  # pyright: ignore[reportArgumentType]
        "config.md": config_reference(),
        "config.schema.json": json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n",
        "training.schema.json": json.dumps(config_schema(training=True), indent=2, ensure_ascii=False) + "\n",
    }


def main() -> int:
    """Returns 1 where --check finds a file that is not fresh."""
    stale = [name for name, text in pages().items() if not (path := FOLDER / name).exists() or path.read_text() != text]
    if "--check" in sys.argv:
        print("\n".join(f"{FOLDER / name} is not fresh: make reference" for name in stale))
        return int(bool(stale))
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

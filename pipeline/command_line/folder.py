"""Commands from files: a folder of modules becomes a group of commands, and a module is imported when it is called.

`--help` reads the first line of each file's docstring and its `HELP_GROUP` as text, so that it needs no imports.
"""

import importlib
import json
import os
import re
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info

from configs.errors import GristmillError
from pipeline.command_line.output import print_notice
from pipeline.exit_codes import DEFERRED, USAGE, of_error

SUMMARY = re.compile(r'"""(.+?)(?:"""|$)', re.MULTILINE)
HELP_GROUP = re.compile(r'^HELP_GROUP = "(.+)"$', re.MULTILINE)
OTHER = "Other commands"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command, or a group of commands, as `--help` lists it."""

    name: str
    module: str
    summary: str
    group: str
    is_folder: bool


class Command(TyperCommand):
    """One command. Turns errors that a user can fix into an exit code and a message."""

    failed_result: dict[str, Any]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._completed(args)))

    def _completed(self, args: list[str]) -> list[str]:
        """Writes out what the parser does not know: options with several values, and with an optional one.

        An option whose metavar ends in `...` takes all values up to the next option (`--data A B`). One whose metavar
        is in brackets may have none, which means `all` (`--catch-up`).
        """
        metavars = {flag: param.metavar or "" for param in self.params for flag in param.opts if flag.startswith("-")}
        completed: list[str] = []
        place = 0
        while place < len(args):
            word = args[place]
            place += 1
            completed.append(word)
            metavar = metavars.get(word, "")
            if word == "--":
                return completed + args[place:]
            following = place < len(args) and not re.match(r"-(?!\d)", args[place])
            if metavar.startswith("[") and metavar.endswith("]") and not following:
                completed.append("all")
            if metavar.endswith("..."):
                completed += args[place : place + 1]
                place += 1
                while place < len(args) and not args[place].startswith("-"):
                    completed += [word, args[place]]
                    place += 1
        return completed

    def invoke(self, ctx: Any) -> int:
        """Calls the command and returns its exit code."""
        try:
            return super().invoke(ctx) or 0
        except (GristmillError, OSError) as caught:
            error = caught if isinstance(caught, GristmillError) else _named(caught)
            code = of_error(error)
            if ctx.params.get("as_json"):
                line = self.failed_result | {"status": "failed", "error": str(error), "code": code}
                print(json.dumps(line, ensure_ascii=False))
            print_notice(error)
            return code
        except KeyboardInterrupt:
            print_notice("stopped")
            return DEFERRED


def _named(error: OSError) -> GristmillError:
    """An error of the operating system that nothing else has put into words: a folder that cannot be written, say."""
    if isinstance(error, FileNotFoundError) and error.filename is None and not _has_working_folder():
        return GristmillError("the folder that you are in was removed; change to another one and run the command again")
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return GristmillError(f"{place}{error.strerror or error}; fix it and run the same command again")


def _has_working_folder() -> bool:
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


class CommandFolder(TyperGroup):
    """A group whose commands are the files, and whose groups are the folders, of one package."""

    package = "pipeline.commands"

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The commands by name, in the order of `--help`."""
        folder = Path(str(importlib.import_module(self.package).__file__)).parent
        entries = [_entry(self.package, path) for path in folder.iterdir()]
        known = [entry for entry in entries if entry is not None]
        return {entry.name: entry for entry in sorted(known, key=lambda e: (e.group == OTHER, e.group, e.name))}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        return _load_folder(entry) if entry.is_folder else _load_command(entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.entries:
            near = get_close_matches(args[0], self.entries, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.entries)}"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help(), file=sys.stderr)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for entry in self.entries.values():
            groups.setdefault(entry.group, []).append((entry.name, entry.summary))
        width = max(map(len, self.entries))
        for group, rows in groups.items():
            with formatter.section("Commands" if list(groups) == [OTHER] else group):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in rows])


def _entry(package: str, path: Path) -> Entry | None:
    """What a file or a folder says of itself; None for what is no command."""
    if path.name.startswith(("_", ".")) or not (path.suffix == ".py" or (path / "__init__.py").is_file()):
        return None
    text = (path / "__init__.py" if path.is_dir() else path).read_text("utf-8")
    summary, group = SUMMARY.match(text), HELP_GROUP.search(text)
    return Entry(
        name=path.stem.replace("_", "-"),
        module=f"{package}.{path.stem}",
        summary=summary[1] if summary else "",
        group=group[1] if group else OTHER,
        is_folder=path.is_dir(),
    )


def _load_folder(entry: Entry) -> CommandFolder:
    folder = CommandFolder(name=entry.name, help=entry.summary, rich_markup_mode=None)
    folder.package = entry.module
    return folder


def _load_command(entry: Entry) -> Command:
    """Imports the file. Its docstring is the command's help; `FAILED_RESULT` is what --json prints of a failure."""
    module = importlib.import_module(entry.module)
    (info,) = module.app.registered_commands
    info.name, info.cls, info.help = entry.name, Command, module.__doc__
    command: Any = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
    command.failed_result = getattr(module, "FAILED_RESULT", {})
    return command

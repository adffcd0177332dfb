"""The entry point of `gristmill`. The commands are the files of pipeline/commands."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from pipeline.command_line.folder import CommandFolder
from pipeline.command_line.output import print_notice, standard_streams, usable_width
from pipeline.exit_codes import DEFERRED, DONE, FAILED, MEANINGS, USAGE

EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items()) + "."

# OpenMP's threads spin while they wait for each other. Beside a busy process the one that is waited for is not running,
# and the others burn the time that it needs (docs/lab/busy-neighbour.md). It is read when torch is imported, here and
# in the processes that a command starts.
WAITING = {"OMP_WAIT_POLICY": "passive"}

INTERRUPTED = 130  # Typer's code for Ctrl-C before a command is called, while it is imported

app = typer.Typer(
    cls=CommandFolder,
    rich_markup_mode=None,
    epilog=EPILOG,
    subcommand_metavar="COMMAND …",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata

    try:
        print(f"gristmill {metadata.version('gristmill')}")
    except metadata.PackageNotFoundError:
        print("gristmill, not installed: run from its source folder")
    raise typer.Exit


@app.callback()
def gristmill(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Synthetic training text from real documents: generate, screen, dedup, adapt, shard."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. `argv`: the words after `gristmill`; the process's own if None."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
    usable_width()
    with standard_streams() as output:
        code = _call(arguments)
        output.flush()
        if not output.failure:
            return code
        print_notice(f"standard output: {output.failure}; what was printed is lost, what was done is kept")
        return FAILED if code == DONE else code


def _call(arguments: list[str]) -> int:
    """Runs one command, and puts wrong usage into words. Returns its exit code."""
    try:
        code = get_command(app).main(arguments, prog_name="gristmill", standalone_mode=False) or DONE
        if code != INTERRUPTED:
            return code
        print_notice("stopped")
        return DEFERRED
    except typer.TyperException as error:  # wrong flags: a command's own errors do not come here
        context: Any = getattr(error, "ctx", None)
        program = context.command_path if context else "gristmill"
        message = f"{error.format_message().rstrip('.')} (see {program} --help)"
        if "--json" in arguments:
            print(json.dumps({"status": "failed", "error": message, "code": USAGE}, ensure_ascii=False))
        print_notice(message)
        return USAGE


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """The values of a command's flags by parameter, without running it. Raises typer.TyperException for wrong usage."""
    command: Any = get_command(app)
    context, words = typer.Context(command, info_name="gristmill"), list(argv)
    while isinstance(command, CommandFolder):
        name, command, words = command.resolve_command(context, words)
        context = typer.Context(command, info_name=name, parent=context)
    return command.make_context(context.info_name, words, parent=context.parent).params

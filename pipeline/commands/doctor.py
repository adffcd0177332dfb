"""Show what this machine can run, what is missing, and the command that fixes it."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.command_line.flags import JsonFlag
from pipeline.command_line.output import print_json
from pipeline.exit_codes import DONE, FAILED

HELP_GROUP = "Set-up"
app = typer.Typer()


@app.command()
def doctor(
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Also check what this config needs.")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Prints findings. Returns the exit code."""
    from pipeline.planning.machine import inspect_machine

    findings = inspect_machine(config)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            fix = f"\n{'':22}→ {finding.fix}" if finding.fix else ""
            print(f"{finding.state:<8}{finding.what:<14}{finding.detail}{fix}")
    return FAILED if any(finding.state == "missing" for finding in findings) else DONE

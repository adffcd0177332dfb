"""Show what each filter says of a row, and why."""

from typing import Annotated

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag

app = typer.Typer()


@app.command()
def explain_row(
    row: Annotated[
        str,
        typer.Argument(metavar="ROW_ID", help="Id of a published or dropped row: its first 8 characters or more."),
    ],
    out: DataSetFlag,
    as_json: JsonFlag = False,
) -> int:
    """Prints the verdicts on a row. Returns the exit code."""
    from pipeline.filtering.explanation import explain

    return explain(out, row, as_json=as_json)

"""Show a finished date, or the whole lineage of one row."""

from typing import Annotated

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag

HELP_GROUP = "Data set"
app = typer.Typer()


@app.command()
def show(
    what: Annotated[
        str, typer.Argument(metavar="DATE|ROW_ID", help="A date, or a row's id: its first 8 characters or more.")
    ],
    out: DataSetFlag,
    as_json: JsonFlag = False,
) -> int:
    """Prints a date or a row. Returns the exit code."""
    from pipeline.report.last_screen import print_date_or_row
    from pipeline.store.dataset import DataSet

    return print_date_or_row(DataSet.open(out), what, as_json=as_json)

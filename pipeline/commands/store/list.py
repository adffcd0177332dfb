"""List the dates, their rows, and how often each was published."""

from typing import Any

import typer

from pipeline.command_line.data_set import open_bucket, open_data_set
from pipeline.command_line.flags import JsonFlag, PublishedFlag
from pipeline.command_line.output import print_json

app = typer.Typer()


@app.command()
def list_dates(out: PublishedFlag, as_json: JsonFlag = False) -> None:
    """Prints the dates of a data set."""
    from pipeline.store import maintenance, remote_maintenance

    bucket = open_bucket(out)
    rows = remote_maintenance.listing(bucket) if bucket else maintenance.listing(open_data_set(out))
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pipeline.report.summary import size

    table = Table("date", "state", "rows", "Parquet", "publications", "run")
    for row in rows:
        figures = [f"{row['rows']:,}", size(row["bytes"])] if row["run_id"] else ["", ""]
        numbers = [place.rpartition("/")[2].removesuffix(".json") for place in row["publications"]]
        current = (row["publication"] or "").rpartition("/")[2].removesuffix(".json")
        marked = " ".join(f"[{number}]" if number == current else number for number in numbers)
        table.add_row(row["date"], row["state"], *figures, marked.replace("[", r"\["), row["run_id"] or "")
    Console(highlight=False).print(table)

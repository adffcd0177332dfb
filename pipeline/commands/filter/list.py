"""List the filters, what each drops, and its options."""

import json
from typing import Annotated, Any

import typer

from pipeline.command_line.flags import JsonFlag

app = typer.Typer()


@app.command()
def list_filters(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Only these. One of your own: package.module:Class."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Prints the catalogue of filters, from their docstrings."""
    from filters import FILTERS
    from filters.build import describe

    rows = [describe(name) for name in names or FILTERS]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, default=str))
    else:
        _print_catalogue(rows)


def _print_catalogue(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for row in rows:
        console.print(Text.assemble((row["name"], "bold"), f"  {row['what']}"))
        console.print(Padding(Text(row["doc"]), (0, 0, 0, 4)))
        for option in row["options"]:
            default = "" if option["default"] is None else f" = {json.dumps(option['default'], default=str)}"
            console.print(Padding(Text(f"{option['name']}{default}", style="cyan"), (0, 0, 0, 4)))
        console.print()

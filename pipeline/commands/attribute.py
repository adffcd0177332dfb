"""Measure which groups of rows help a small student on real text.

Students learn random halves of the groups, with the same number of bytes of each group, and are measured on documents
that no row is about. The figures go into the manifests and reports of the dates.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.command_line.data_set import open_data_set, parse_date
from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json, print_notice

if TYPE_CHECKING:
    from pipeline.store.manifest import Attribution

HELP_GROUP = "Data set"
app = typer.Typer()


@app.command()
def attribute_rows(
    out: DataSetFlag,
    groups: Annotated[
        str,
        typer.Option(
            "--groups",
            metavar="A,B",
            help="Columns that make the groups: task, source, date, language, licence, generator, adapter, depth.",
        ),
    ] = "task",
    dates: Annotated[
        list[str] | None,
        typer.Option("--date", metavar="DATE", help="A finished date; may be repeated. All if left out."),
    ] = None,
    domains: Annotated[
        list[str] | None, typer.Option("--domain", metavar="NAME", help="A domain; may be repeated. All if left out.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="The config with the sources of real text; the newest date's if left out."
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", metavar="M", help="Students; 16 for each group if left out.")
    ] = None,
    bytes_each: Annotated[
        int | None,
        typer.Option(
            "--bytes",
            metavar="N",
            help="Bytes of each group; half of what the scarcest has, 30,000 at most, if left out.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the figures, and write none.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measures, writes the figures into the manifests, and prints them."""
    from configs.errors import ConfigError
    from pipeline.command_line.flags import load_config
    from pipeline.evolve.attribution import attribute as measure
    from pipeline.evolve.attribution import save

    if bytes_each is not None and bytes_each < 1:
        raise ConfigError(f"--bytes: {bytes_each}; give 1 or more")
    data = open_data_set(out)
    attribution, notes = measure(
        data,
        groups.split(","),
        dates=[parse_date(date) for date in dates or ()],
        domains=domains or (),
        config=load_config(config, None) if config else None,
        students=draws,
        bytes_each=bytes_each,
    )
    if not dry_run:
        notes += save(data, attribution)
    if as_json:
        print_json(attribution.model_dump(mode="json") | {"notes": notes})
        return
    _print(attribution)
    for note in notes:
        print_notice(note)


def _print(attribution: "Attribution") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipeline.report.attribution import caption, rows_of

    console = Console(highlight=False)
    for name, measured in attribution.domains.items():
        table = Table(title=name, title_justify="left", box=SIMPLE, show_edge=False, pad_edge=False)
        for column in (*attribution.columns, "rows", "bytes", "saves", "95% interval", ""):
            is_text = column in attribution.columns or not column
            table.add_column(column, justify="left" if is_text else "right", overflow="fold")
        for row in rows_of(attribution, measured):
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
        console.print(Text(caption(measured)), soft_wrap=True)
        for group, reason in measured.left_out.items():
            console.print(Text(f"left out: {group}: {reason}"), soft_wrap=True)

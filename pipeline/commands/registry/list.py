"""List the domains, their champions, and whether candidates are made."""

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json
from pipeline.command_line.registry import domains_of, open_registry

app = typer.Typer()


@app.command()
def list_champions(out: DataSetFlag, as_json: JsonFlag = False) -> None:
    """Prints each domain's champion."""
    from pipeline.report.registry_tables import pointer_to_json, print_pointers

    data, registry = open_registry(out)
    pointers = [registry.read(domain) for domain in domains_of(data, registry)]
    if as_json:
        print_json([pointer_to_json(pointer) for pointer in pointers])
    else:
        print_pointers(pointers)

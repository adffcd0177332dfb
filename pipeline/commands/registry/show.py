"""Show a domain's champion, its parents and its verdicts, or one verdict with what it rests on."""

from typing import Annotated

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json
from pipeline.command_line.registry import DomainArgument, check_domain, open_registry

app = typer.Typer()


@app.command()
def show_domain(
    domain: DomainArgument,
    out: DataSetFlag,
    number: Annotated[int | None, typer.Argument(metavar="NUMBER", help="The number of a verdict.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Prints a domain of the registry, or one of its verdicts."""
    from pipeline.report.registry_tables import pointer_to_json, print_domain, print_verdict, verdict_to_json

    data, registry = open_registry(out)
    check_domain(data, registry, domain)
    if number is not None:
        verdict = registry.verdict(domain, number)
        print_json(verdict_to_json(verdict)) if as_json else print_verdict(verdict)
        return
    pointer, history = registry.read(domain), registry.history(domain)
    if as_json:
        print_json(pointer_to_json(pointer) | {"verdicts": [verdict_to_json(verdict) for verdict in history]})
    else:
        print_domain(pointer, history)

"""Let candidates be made again for a frozen domain."""

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json
from pipeline.command_line.registry import DomainArgument, ReasonFlag, check_domain, open_registry, today

app = typer.Typer()


@app.command()
def unfreeze_domain(
    domain: DomainArgument, out: DataSetFlag, reason: ReasonFlag = "", as_json: JsonFlag = False
) -> None:
    """Unfreezes a domain."""
    from pipeline.report.registry_tables import pointer_to_json

    data, registry = open_registry(out)
    check_domain(data, registry, domain)
    with registry.lock(f"unfreezing {domain}"):
        registry.unfreeze(domain, today(), reason)
        pointer = registry.read(domain)
    if as_json:
        print_json(pointer_to_json(pointer))
    else:
        print(f"{domain}: candidates are made again; the champion is {pointer.champion.id}")

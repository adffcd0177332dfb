"""Keep a domain's champion: no candidate is made until it is unfrozen."""

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json
from pipeline.command_line.registry import DomainArgument, ReasonFlag, check_domain, open_registry, today

app = typer.Typer()


@app.command()
def freeze_domain(domain: DomainArgument, out: DataSetFlag, reason: ReasonFlag, as_json: JsonFlag = False) -> None:
    """Freezes a domain."""
    from pipeline.report.registry_tables import pointer_to_json

    data, registry = open_registry(out)
    check_domain(data, registry, domain)
    with registry.lock(f"freezing {domain}"):
        registry.freeze(domain, today(), reason)
        pointer = registry.read(domain)
    if as_json:
        print_json(pointer_to_json(pointer))
    else:
        print(
            f"{domain}: frozen with the champion {pointer.champion.id}; registry unfreeze lets candidates be made again"
        )

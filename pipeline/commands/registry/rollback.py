"""Make the champion before the champion again, or the base model if there is none."""

from typing import Annotated

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json
from pipeline.command_line.registry import DomainArgument, ReasonFlag, check_domain, open_registry, today

app = typer.Typer()


@app.command()
def rollback_champion(
    domain: DomainArgument,
    out: DataSetFlag,
    reason: ReasonFlag,
    to_base: Annotated[
        bool, typer.Option("--to-base", help="Go back to the base model. Does not count as a rollback in a row.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Rolls a domain's champion back, and prints who is champion now.

    A run that is going on keeps the champion that it started with.
    """
    from pipeline.report.evolution import dates_written_by, written_dates_text
    from pipeline.report.registry_tables import pointer_to_json

    data, registry = open_registry(out)
    check_domain(data, registry, domain)
    with registry.lock(f"a rollback of {domain}"):
        before = registry.read(domain)
        registry.rollback(domain, today(), reason, to_base=to_base)
        now = registry.read(domain)
    if as_json:
        dates = dates_written_by(data, domain, before.champion)
        print_json(pointer_to_json(now) | {"rolled_back": before.champion.id, "dates": dates})
        return
    former = before.champion.id
    print(f"{domain}: now {now.champion.id}, instead of {former}; runs that start from now on use it")
    if written := written_dates_text(data, domain, before.champion):
        print(written)
    if now.frozen and not before.frozen:
        print(f"{domain}: frozen: {now.frozen}; registry unfreeze lets candidates be made again")

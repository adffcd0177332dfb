"""Copy the registry to MLflow's model registry: a version for each candidate, aliases for champions."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json
from pipeline.command_line.registry import open_registry

app = typer.Typer()


@app.command()
def mirror_registry(
    out: DataSetFlag,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="An MLflow server: http://HOST:PORT.")],
    as_json: JsonFlag = False,
) -> None:
    """Mirrors the registry, and prints what was added."""
    from pipeline.store.registry_mirror import mirror

    data, _ = open_registry(out)
    domains = mirror(data, to)
    if as_json:
        print_json({"to": to, "domains": [asdict(domain) for domain in domains]})
        return
    for domain in domains:
        aliases = ", ".join(f"{alias} is version {version}" for alias, version in domain.aliases.items())
        print(f"{domain.model}: {domain.added} versions added, {domain.versions} in all; {aliases or 'no alias'}")
        print("\n".join(domain.notes), end="\n" if domain.notes else "")
    if not domains:
        print(f"{data.root}: no verdict yet; there is nothing to mirror")

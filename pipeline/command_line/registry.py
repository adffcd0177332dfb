"""The registry that a `registry` command works on, and the domain that it names."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.store.dataset import DataSet
    from pipeline.store.registry_files import Registry

DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="A domain of the data set.")]
ReasonFlag = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why: it is kept in the history.")]


def open_registry(out: str) -> "tuple[DataSet, Registry]":
    """The data set in a folder, and its registry. Raises ConfigError if there is none."""
    from configs.errors import ConfigError
    from pipeline.command_line.data_set import open_data_set
    from pipeline.store.registry_files import Registry
    from stages.storage.bucket import is_url

    if is_url(out):
        raise ConfigError(f"--out: {out!r} is a URL; the registry is in the folder that gristmill run wrote")
    data = open_data_set(out)
    return data, Registry(data.root)


def domains_of(data: "DataSet", registry: "Registry") -> list[str]:
    """The domains that have rows or a verdict, by name."""
    return sorted({*registry.domains(), *(domain for manifest in data.finished() for domain in manifest.domains)})


def check_domain(data: "DataSet", registry: "Registry", domain: str) -> None:
    """Raises ConfigError when the data set has no such domain."""
    from configs.errors import ConfigError

    known = domains_of(data, registry)
    if domain not in known:
        raise ConfigError(f"DOMAIN: {data.root} has no domain {domain!r}; it has {', '.join(known) or 'none yet'}")


def today() -> str:
    """The date of verdicts that people make: YYYY-MM-DD, UTC."""
    return datetime.now(UTC).date().isoformat()

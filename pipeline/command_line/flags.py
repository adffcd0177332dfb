"""Flags that several commands have, and the configuration that they ask for."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from configs.schema import Config

ConfigFlag = Annotated[
    str,
    typer.Option("--config", metavar="FILE", help="A YAML file, or the name of a preset: laptop, gpu, cluster, echo."),
]
OverridesFlag = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override one value of the config. May be repeated."),
]
OutFlag = Annotated[str | None, typer.Option("--out", metavar="DIR", help="Folder of the data set; overrides `out`.")]
DataSetFlag = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder of the data set.")]
PublishedFlag = Annotated[
    str, typer.Option("--out", metavar="DIR", help="Folder of the data set, or the URL of a published one.")
]
DateArgument = Annotated[str, typer.Argument(metavar="DATE", help="YYYY-MM-DD.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for machines.")]


def load_config(path: str, overrides: Sequence[str] | None, keys: Mapping[str, object] | None = None) -> "Config":
    """The config, checked as far as it can be without models.

    Args:
        path: a file, or the name of a preset.
        overrides: values of --set.
        keys: values of flags that override a key, by the key; None where a flag was not given.

    Raises: ConfigError.
    """
    from configs.load import load
    from filters.build import check_screen
    from stages.prompt import check

    given = [f"{key}={json.dumps(value)}" for key, value in (keys or {}).items() if value is not None]
    config = load(path, [*(overrides or ()), *given])
    check_screen(config.screen)
    for name in sorted({task for domain in config.domains.values() for task in domain.tasks}):
        check(config.tasks[name])
    return config

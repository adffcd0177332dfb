"""Print the JSON Schema of a configuration, for editors and other tools."""

import json
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def print_schema(
    training: Annotated[
        bool, typer.Option("--training", help="The config of gristmill train, instead of that of gristmill run.")
    ] = False,
) -> None:
    """Prints the schema of a whole config file."""
    from pipeline.command_line.config_reference import config_schema

    print(json.dumps(config_schema(training=training), indent=2, ensure_ascii=False))

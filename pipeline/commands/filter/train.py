"""Train the quality head on the config's seed passages and print its AUCs."""

from typing import Annotated

import typer

from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.head_flags import FoldsFlag, LabelsFlag, PerSourceFlag, TuneFlag

app = typer.Typer()


@app.command()
def train_heads(
    config: ConfigFlag,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="FILE", help="Where the head is written. If left out, over the shipped one."),
    ] = None,
    per_source: PerSourceFlag = 160,
    labels: LabelsFlag = None,
    tune: TuneFlag = False,
    folds: FoldsFlag = 0,
) -> int:
    """Trains heads, and prints their report. Returns the exit code."""
    from filters.heads.training import HeadTrainingOptions
    from pipeline.filtering.head_training import train

    loaded = load_config(config, overrides, {"out": out})
    options = HeadTrainingOptions(per_source, labels or (), tune, folds)
    return train(loaded, head, options, as_json=as_json)

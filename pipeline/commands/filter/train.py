"""Train the quality head, or the verifier `grounded`, on the config's seed passages and print its AUCs."""

from typing import Annotated

import typer

from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.head_flags import (
    DataFlag,
    FoldsFlag,
    HeadKind,
    HeadKindArgument,
    JudgeFlag,
    LabelsFlag,
    PerSourceFlag,
    TuneFlag,
)

app = typer.Typer()


@app.command()
def train_heads(
    config: ConfigFlag,
    what: HeadKindArgument = HeadKind.QUALITY,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="FILE",
            help="Where it is written; for grounded a folder. If left out, over the shipped one.",
        ),
    ] = None,
    per_source: PerSourceFlag = 160,
    labels: LabelsFlag = None,
    tune: TuneFlag = False,
    folds: FoldsFlag = 0,
    data: DataFlag = None,
    judge: JudgeFlag = None,
) -> int:
    """Trains heads, and prints their report. Returns the exit code."""
    from filters.heads.training import HeadTrainingOptions
    from pipeline.filtering.grounded_training import train_grounded
    from pipeline.filtering.head_training import train

    loaded = load_config(config, overrides, {"out": out})
    if what is HeadKind.GROUNDED:
        return train_grounded(loaded, head, data, labels or (), judges=judge or (), as_json=as_json)
    options = HeadTrainingOptions(per_source, labels or (), tune, folds)
    return train(loaded, head, options, as_json=as_json)

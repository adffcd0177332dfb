"""Measure quality heads on sources and corruptions left out of training, or the verifier `grounded` on labels."""

from typing import Annotated

import typer

from configs.errors import ConfigError
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
def evaluate_heads(
    config: ConfigFlag,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the table and the pictures.")],
    what: HeadKindArgument = HeadKind.QUALITY,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    per_source: PerSourceFlag = 160,
    labels: LabelsFlag = None,
    tune: TuneFlag = False,
    folds: FoldsFlag = 0,
    data: DataFlag = None,
    head: Annotated[
        str | None, typer.Option("--head", metavar="DIR", help="grounded: the verifier. If left out, the shipped one.")
    ] = None,
    judge: JudgeFlag = None,
) -> int:
    """Evaluates heads, and prints the report. Returns the exit code."""
    from filters.heads.training import HeadTrainingOptions
    from pipeline.filtering.grounded_evaluation import evaluate_grounded
    from pipeline.filtering.head_evaluation import evaluate

    loaded = load_config(config, overrides, {"out": out})
    if what is HeadKind.GROUNDED:
        if len(judge or ()) > 1:
            raise ConfigError("--judge: one model at a time; call the command once for each")
        asked = judge[0] if judge else ""
        return evaluate_grounded(loaded, to, head, data, labels or (), judge=asked, tune=tune, as_json=as_json)
    options = HeadTrainingOptions(per_source, labels or (), tune, folds)
    return evaluate(loaded, to, options, as_json=as_json)

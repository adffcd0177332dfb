"""Measure quality heads on sources and corruptions that were left out of training. No head is kept."""

from typing import Annotated

import typer

from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.head_flags import FoldsFlag, LabelsFlag, PerSourceFlag, TuneFlag

app = typer.Typer()


@app.command()
def evaluate_heads(
    config: ConfigFlag,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the table and the pictures.")],
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    per_source: PerSourceFlag = 160,
    labels: LabelsFlag = None,
    tune: TuneFlag = False,
    folds: FoldsFlag = 0,
) -> int:
    """Evaluates heads, and prints the report. Returns the exit code."""
    from filters.heads.training import HeadTrainingOptions
    from pipeline.filtering.head_evaluation import evaluate

    loaded = load_config(config, overrides, {"out": out})
    options = HeadTrainingOptions(per_source, labels or (), tune, folds)
    return evaluate(loaded, to, options, as_json=as_json)

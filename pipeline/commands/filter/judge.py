"""Let the config's generator score the candidates of a data set, as labels for `filter train`."""

from typing import Annotated

import typer

from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.head_flags import at_least_one

app = typer.Typer()


@app.command()
def judge_rows(
    config: ConfigFlag,
    data: Annotated[str, typer.Option("--data", metavar="DIR", help="Folder of the data set, with its run folders.")],
    labels: Annotated[
        str, typer.Option("--labels", metavar="FILE", help="Where the labels are written, as JSON Lines.")
    ],
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", callback=at_least_one, help="How many candidates are judged.")
    ] = 500,
    rubric: Annotated[
        str | None, typer.Option("--rubric", metavar="FILE", help="Your own rubric instead of the shipped one.")
    ] = None,
) -> int:
    """Writes labels, and prints how many have which score. Returns the exit code."""
    from pipeline.filtering.judging import judge

    return judge(load_config(config, overrides, {"out": out}), data, labels, rows, rubric, as_json=as_json)

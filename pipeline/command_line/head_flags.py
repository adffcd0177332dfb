"""The flags that `filter train` and `filter evaluate` share."""

from typing import Annotated

import typer


def at_least_one(value: int) -> int:
    """A number of rows. Raises typer.BadParameter below 1."""
    if value < 1:
        raise typer.BadParameter(f"{value} is no number above 0")
    return value


def fold_count(value: int) -> int:
    """A number of groups. Raises typer.BadParameter for 1 and for negative numbers."""
    if value < 0 or value == 1:
        raise typer.BadParameter(f"{value}: one group would leave nothing to train on; 2 or more, or 0 for all")
    return value


PerSourceFlag = Annotated[
    int, typer.Option("--per-source", metavar="N", callback=at_least_one, help="Real pages of each source.")
]
LabelsFlag = Annotated[
    list[str] | None,
    typer.Option("--labels", metavar="FILE", help="Texts with a score from 0 to 5. May be repeated."),
]
TuneFlag = Annotated[bool, typer.Option("--tune", help="Fine-tune the encoder too (LoRA). Needs a GPU in practice.")]
FoldsFlag = Annotated[
    int,
    typer.Option(
        "--folds", metavar="N", callback=fold_count, help="Groups of sources that are left out in turn. 0: each alone."
    ),
]

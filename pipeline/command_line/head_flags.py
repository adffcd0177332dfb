"""The arguments and flags that `filter train` and `filter evaluate` share."""

from enum import StrEnum
from typing import Annotated

import typer


class HeadKind(StrEnum):
    """What is trained or evaluated."""

    QUALITY = "quality"
    GROUNDED = "grounded"


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


HeadKindArgument = Annotated[
    HeadKind,
    typer.Argument(
        metavar="[quality|grounded]",
        help="quality: the heads of quality and domain. grounded: a verifier.",
        show_default=False,
    ),
]
DataFlag = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="grounded: a data set with run folders, whose answers are compared with each other.",
    ),
]
PerSourceFlag = Annotated[
    int, typer.Option("--per-source", metavar="N", callback=at_least_one, help="Real pages of each source.")
]
LabelsFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Labelled texts: scores from 0 to 5; for grounded, faithful answers. May be repeated.",
    ),
]
JudgeFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="grounded: a language model that is asked about each sentence besides. For train it may be repeated.",
    ),
]
TuneFlag = Annotated[bool, typer.Option("--tune", help="Fine-tune the encoder too (LoRA). Needs a GPU in practice.")]
FoldsFlag = Annotated[
    int,
    typer.Option(
        "--folds", metavar="N", callback=fold_count, help="Groups of sources that are left out in turn. 0: each alone."
    ),
]

"""Measure trained models on held-out text: perplexity, retrieval and tasks.

Progress goes to standard error, the result to standard output.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pipeline.command_line.flags import JsonFlag
from pipeline.command_line.output import print_json

HELP_GROUP = "Language model"
app = typer.Typer()


@app.command()
def evaluate_models(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            metavar="[LABEL=]DIR...",
            help="Folders of models. Those that differ in their seed only, or share a label, are one group.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for evaluation.json and evaluation.png.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="PATH...", help="Data sets whose held-out rows are scored, too."),
    ] = None,
    domains: Annotated[
        list[str] | None,
        typer.Option("--domains", metavar="NAME...", help="Domains of the real held-out text; law medicine."),
    ] = None,
    lm_eval: Annotated[
        list[str] | None,
        typer.Option("--lm-eval", metavar="TASK...", help="Held-out corpora as multiple-choice tasks."),
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option("--held-out", metavar="SHARE", help="Held-out share of --data; the model's own if left out."),
    ] = None,
    n_bytes: Annotated[
        int | None, typer.Option("--bytes", metavar="N", help="Bytes of held-out text of a domain; 200000.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option("--window", metavar="N", help="Tokens read at once; the training's sequence length."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", metavar="N", help="Tokens from window to window; half a window.")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", metavar="N", help="Tokens of the longest text of passkey retrieval; 1024."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", help="Keys for each length and depth; 8. 0: no retrieval."),
    ] = None,
    questions: Annotated[
        int | None, typer.Option("--questions", metavar="N", help="Questions of each task; 200. 0: all.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed that draws keys and their places; 17.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Evaluates models, and prints the result."""
    given = {
        "domains": domains,
        "tasks": lm_eval,
        "held_out": held_out,
        "bytes": n_bytes,
        "window": window,
        "stride": stride,
        "max_length": max_length,
        "trials": trials,
        "questions": questions,
        "seed": seed,
    }
    with _offline():
        from model.evaluation.evaluate import evaluate as evaluate_models
        from model.evaluation.options import EvaluationOptions
        from pipeline.command_line.training_data import find_shards

        options = EvaluationOptions(**{name: value for name, value in given.items() if value is not None})
        shards = find_shards(data) if data else []
        result = evaluate_models(model, shards, options, Path(out), _print_progress)
    if as_json:
        print_json(result)
        return
    from pipeline.command_line.evaluation_tables import print_evaluation

    print_evaluation(result, out)


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keeps the Hub's client, which reads this variable when it is imported, from looking for files there."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before

"""Train the language model on shards, or resume a training.

Progress goes to standard error, the result to standard output.
"""

import json
import math
import sys
from typing import Annotated, Any

import typer

from pipeline.command_line.flags import JsonFlag, OverridesFlag
from pipeline.command_line.output import print_json

HELP_GROUP = "Language model"
app = typer.Typer()


@app.command()
def train(
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="A YAML file, or the name of a preset: laptop, nano.")
    ],
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="PATH...", help="Folders of data sets, or Parquet files with a column `text`."),
    ],
    overrides: OverridesFlag = None,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Folder of the run; overrides `out`.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Trains a model, and prints the result from the first process."""
    from configs.load import load_training
    from pipeline.command_line.training_data import find_shards

    loaded = load_training(config, [*(overrides or ()), *([f"out={json.dumps(out)}"] if out is not None else [])])
    shards = find_shards(data)
    from model.training.distributed import ProcessGroup
    from model.training.loop import train as train_model

    group = ProcessGroup.join()
    try:
        result = train_model(loaded, shards, group, _print_progress)
    finally:
        group.leave()
    if group.rank:
        return  # the first process prints the result
    if as_json:
        print_json(result)
        return
    print(
        f"{result['steps']} steps, {result['tokens']:,} tokens ({result['epochs']} epochs), "
        f"{result['parameters'] / 1e6:.2f} M parameters\n"
        f"held-out perplexity {result['perplexity']:.1f}, of a unigram model {result['unigram_perplexity']:.1f}\n"
        f"model     {result['model']}\ncurves    {loaded.out}/curves.png"
    )


def _print_progress(line: dict[str, Any]) -> None:
    if "held_out" in line:
        text = f"held out {line['held_out']:.4f}, perplexity {math.exp(min(line['held_out'], 50)):.1f}"
    else:
        mfu = "" if line["mfu"] is None else f"  MFU {line['mfu']:.1%}"
        gate = f"  gate {line['gate_loss']:.4f}" if line["gate_loss"] else ""
        minutes, seconds = divmod(round(line["eta_s"]), 60)
        speed = line["tokens_per_second"]
        text = f"loss {line['loss']:.4f}{gate}  {speed:,.0f} tokens/s{mfu}  ETA {minutes}:{seconds:02d}"
    print(f"step {line['step']}/{line['steps']}  {text}", file=sys.stderr, flush=True)

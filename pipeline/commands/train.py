"""Train the language model on shards, or resume a training.

Progress goes to standard error, the result to standard output.
"""

import json
import math
import sys
from typing import Annotated, Any

import typer

from pipeline.command_line.flags import JsonFlag, OverridesFlag
from pipeline.command_line.output import print_json, print_notice
from pipeline.exit_codes import DEFERRED, DONE

HELP_GROUP = "Language model"
app = typer.Typer()


@app.command()
def train_language_model(
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="A YAML file, or the name of a preset: laptop, nano.")
    ],
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="PATH...", help="Folders of data sets, or Parquet files with a column `text`."),
    ],
    overrides: OverridesFlag = None,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Folder of the run; overrides `out`.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--start-from",
            metavar="DIR",
            help="Start with the weights and the tokenizer of this model or checkpoint; overrides `start_from`.",
        ),
    ] = None,
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes",
            help="Resume although the optimizer's rates, the schedule, steps or precision are not the checkpoint's.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Trains a model, and prints the result from the first process."""
    from configs.load import load_training
    from pipeline.command_line.training_data import find_shards

    flags = {"out": out, "start_from": start_from}
    given = [f"{name}={json.dumps(value)}" for name, value in flags.items() if value is not None]
    loaded = load_training(config, [*(overrides or ()), *given])
    shards = find_shards(data)
    from model.training.distributed import ProcessGroup
    from model.training.loop import train as train_model

    group = ProcessGroup.join()
    try:
        result = train_model(loaded, shards, group, _print_progress, allow_changes=allow_changes)
    finally:
        group.leave()
    is_stopped = result["status"] == "stopped"
    if group.rank == 0:  # the first process prints the result
        if as_json:
            print_json(result)
        elif is_stopped:
            print(
                f"stopped ({result['signal']}) after step {result['steps']} of {loaded.steps}; "
                "the same command goes on from the checkpoint\n"
                f"checkpoint {result['checkpoint']}"
            )
        else:
            print(
                f"{result['steps']} steps, {result['tokens']:,} tokens ({result['epochs']} epochs), "
                f"{result['parameters'] / 1e6:.2f} M parameters\n"
                f"held-out perplexity {result['perplexity']:.1f}, of a unigram model "
                f"{result['unigram_perplexity']:.1f}\n"
                f"model     {result['model']}\ncurves    {loaded.out}/curves.png"
            )
    return DEFERRED if is_stopped else DONE


def _print_progress(line: dict[str, Any]) -> None:
    if "notice" in line:
        print_notice(line["notice"])
        return
    if "changed" in line:
        return  # a notice has said it
    if "held_out" in line:
        text = f"held out {line['held_out']:.4f}, perplexity {math.exp(min(line['held_out'], 50)):.1f}"
    else:
        gate = f"  gate {line['gate_loss']:.4f}" if line["gate_loss"] else ""
        text = f"loss {line['loss']:.4f}{gate}"
    if "eta_s" in line:
        mfu = "" if line["mfu"] is None else f"  MFU {line['mfu']:.1%}"
        minutes, seconds = divmod(round(line["eta_s"]), 60)
        text += f"  {line['tokens_per_second']:,.0f} tokens/s{mfu}  ETA {minutes}:{seconds:02d}"
    print(f"step {line['step']}/{line['steps']}  {text}", file=sys.stderr, flush=True)

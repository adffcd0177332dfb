"""`gristmill filter`: list the filters, explain a row, train and evaluate the quality head, have a judge score rows."""

import argparse
import json
from collections.abc import Callable
from typing import Any

Command = Callable[..., argparse.ArgumentParser]


def add_verbs(command: Command, into: Any) -> None:
    """The verbs of `gristmill filter`."""
    lists = command("list", "The filters, what each drops, and its options.", config=False, into=into)
    lists.add_argument("names", nargs="*", metavar="NAME", help="these alone; one of yours as package.module:Class")
    train = command("train", "Train the quality head on the config's seed passages and print its AUCs.", into=into)
    train.add_argument("--head", metavar="FILE", help="where the head is written; the shipped one if left out")
    evaluates = command("evaluate", "Measure quality heads on sources and corruptions left out; keep none.", into=into)
    evaluates.add_argument("--to", required=True, metavar="DIR", help="for the table and the pictures")
    for verb in (train, evaluates):
        verb.add_argument("--per-source", type=_count, default=160, metavar="N", help="real pages of each source")
        verb.add_argument(
            "--labels", action="append", default=[], metavar="FILE", help="scored texts, 0 to 5; repeatable"
        )
        verb.add_argument("--tune", action="store_true", help="fine-tune the encoder too (LoRA): wants a GPU")
        verb.add_argument(
            "--folds", type=_groups, default=0, metavar="N", help="groups of sources left out; each alone if left out"
        )
    judges = command("judge", "Have the config's generator score a data set's candidates as labels.", into=into)
    judges.add_argument("--data", required=True, metavar="DIR", help="the data set's folder, run folders included")
    judges.add_argument("--labels", required=True, metavar="FILE", help="where the labels are written, JSON Lines")
    judges.add_argument("--rows", type=_count, default=500, metavar="N", help="how many candidates")
    judges.add_argument("--rubric", metavar="FILE", help="your own rubric instead of the shipped one")
    explains = command("explain", "What each filter says of a row, and why.", config=False, into=into)
    explains.add_argument("row", metavar="ROW_ID", help="a published or dropped row's id, its first 8 digits or more")
    explains.add_argument("--out", required=True, metavar="DIR", help="the data set's folder")


def run(options: argparse.Namespace, config: Callable[[argparse.Namespace], Any]) -> int:
    """The verb that was asked for; `config` loads and checks the one that its flags name."""
    if options.verb == "list":
        return list_filters(options.names, as_json=options.json)
    if options.verb in ("train", "evaluate"):
        from filters.heads.training import HeadTrainingOptions
        from pipeline.commands.filter.evaluate import evaluate
        from pipeline.filtering.head_training import train

        training = HeadTrainingOptions(options.per_source, options.labels, options.tune, options.folds)
        if options.verb == "train":
            return train(config(options), options.head, training, as_json=options.json)
        return evaluate(config(options), options.to, training, as_json=options.json)
    if options.verb == "judge":
        from pipeline.filtering.judging import judge

        return judge(config(options), options.data, options.labels, options.rows, options.rubric, as_json=options.json)
    from pipeline.filtering.explanation import explain

    return explain(options.out, options.row, as_json=options.json)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _groups(text: str) -> int:
    if not text.isdigit() or int(text) == 1:
        raise argparse.ArgumentTypeError(
            f"{text!r}: one group would leave nothing to train on; 2 or more, or 0 for all"
        )
    return int(text)


def list_filters(names: list[str], *, as_json: bool) -> int:
    """Prints the catalogue out of the filters' own docstrings. Raises ConfigError for a name that is none."""
    from filters import FILTERS
    from filters.build import describe

    rows = [describe(name) for name in names or FILTERS]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, default=str))
        return 0
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for row in rows:
        console.print(Text.assemble((row["name"], "bold"), f"  {row['what']}"))
        console.print(Padding(Text(row["doc"]), (0, 0, 0, 4)))
        for option in row["options"]:
            default = "" if option["default"] is None else f" = {json.dumps(option['default'], default=str)}"
            console.print(Padding(Text(f"{option['name']}{default}", style="cyan"), (0, 0, 0, 4)))
        console.print()
    return 0

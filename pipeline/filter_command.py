"""`gristmill filter`: list the filters, train the quality head, explain a row."""

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
    train.add_argument("--per-source", type=int, default=160, metavar="N", help="real pages of each source")
    explains = command("explain", "What each filter says of a row, and why.", config=False, into=into)
    explains.add_argument("row", metavar="ROW_ID", help="a published or dropped row's id, its first 8 digits or more")
    explains.add_argument("--out", required=True, metavar="DIR", help="the data set's folder")


def run(options: argparse.Namespace, config: Callable[[argparse.Namespace], Any]) -> int:
    """The verb that was asked for; `config` loads and checks the one that its flags name."""
    if options.verb == "list":
        return list_filters(options.names, as_json=options.json)
    if options.verb == "train":
        from pipeline.train_filter import train

        return train(config(options), options.head, options.per_source, as_json=options.json)
    from pipeline.explain import explain

    return explain(options.out, options.row, as_json=options.json)


def list_filters(names: list[str], *, as_json: bool) -> int:
    """Prints the catalogue out of the filters' own docstrings. Raises ConfigError for a name that is none."""
    import filters

    rows = [filters.describe(name) for name in names or filters.FILTERS]
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

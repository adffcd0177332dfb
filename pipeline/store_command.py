"""`gristmill store`: what is published, whether it is whole, back to the publication before, and what can go."""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any


def add_verbs(command: Callable[..., argparse.ArgumentParser], verbs: Any) -> None:
    """`list`, `verify`, `rollback` and `gc`, with their flags."""
    texts = {
        "list": "The dates, their rows, and how often each was published.",
        "verify": "Hash every published file again; exit code 1 if one is missing or damaged.",
        "rollback": "Point a date to its publication before, or withdraw it where there is none.",
        "gc": "List what no manifest names; nothing is removed without --delete.",
    }
    for verb, text in texts.items():
        made = command(verb, text, config=False, into=verbs)
        made.add_argument("--out", required=True, metavar="DIR", help="the data set's folder")
        if verb == "rollback":
            made.add_argument("date", metavar="DATE", help="YYYY-MM-DD")
        if verb == "gc":
            made.add_argument("--delete", action="store_true", help="remove it")
            made.add_argument(
                "--keep",
                type=int,
                metavar="N",
                help="count earlier publications of a date as well, but for the newest N; all are kept if left out",
            )


def run(options: argparse.Namespace) -> int:
    """Returns the exit code."""
    from configs.errors import ConfigError
    from pipeline.store import DataSet

    data = DataSet.open(options.out)
    if not (data.root / "manifests").is_dir():
        raise ConfigError(f"--out: {options.out!r} is no data set; name the folder that gristmill run wrote")
    return {"list": _list, "verify": _verify, "rollback": _rollback, "gc": _gc}[options.verb](options, data)


def _list(options: argparse.Namespace, data: Any) -> int:
    from pipeline.audit import listing
    from pipeline.report import size

    rows = listing(data)
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("date", "state", "rows", "Parquet", "publications", "run")
    for row in rows:
        figures = [f"{row['rows']:,}", size(row["bytes"])] if row["run_id"] else ["", ""]
        shown = [place.rpartition("/")[2] for place in row["publications"]]
        marked = " ".join(f"[{n}]" if (row["publication"] or "").endswith(f"/{n}") else n for n in shown)
        table.add_row(row["date"], row["state"], *figures, marked.replace("[", r"\["), row["run_id"] or "")
    Console(highlight=False).print(table)
    return 0


def _verify(options: argparse.Namespace, data: Any) -> int:
    from pipeline.audit import verify
    from pipeline.report import size

    files, read, faults = verify(data)
    if options.json:
        print(json.dumps({"files": files, "bytes": read, "faults": [asdict(fault) for fault in faults]}))
    else:
        for fault in faults:
            print(f"{data.root / fault.file}: {fault.what}; {fault.mend}")
        print(f"{files:,} files, {size(read)}: {f'{len(faults)} wrong' if faults else 'all as published'}")
    return 1 if faults else 0


def _rollback(options: argparse.Namespace, data: Any) -> int:
    from datetime import UTC, datetime

    from pipeline.days import day

    date = day(options.date, "DATE", datetime.now(UTC))
    lock = data.lock(date)
    try:
        manifest = data.rollback(date)
        _card(data)
    finally:
        os.close(lock)
    if options.json:
        print(json.dumps({"date": date, "publication": manifest and manifest["publication"]}))
    elif manifest:
        print(f"{date}: now {manifest['publication']}, {manifest['accepted']} rows of run {manifest['run_id']}")
    else:
        print(f"{date}: withdrawn; gristmill run --date {date} publishes it again, --catch-up passes it over")
    return 0


def _card(data: Any) -> None:
    """The card again, by the newest date's config; none where no run folder is left."""
    from configs.load import load
    from pipeline.card import card
    from stages.commit import publish_text

    manifests = [data.manifest(date) for date in data.dates()]
    configs = [path for date in data.dates() if (path := data.run_folder(date) / "config.yaml").exists()]
    if manifests and configs:
        publish_text(data.root / "README.md", card(load(str(configs[-1])), manifests))


def _gc(options: argparse.Namespace, data: Any) -> int:
    from configs.errors import ConfigError
    from pipeline.audit import garbage, remove, size_of
    from pipeline.report import size

    if options.keep is not None and options.keep < 0:
        raise ConfigError(f"--keep: {options.keep} publications cannot be kept; give 0 or more")
    lock = data.lock("gc")
    try:
        paths = garbage(data, options.keep)
        freed = sum(map(size_of, paths))
        if options.delete:
            remove(data, paths)
    finally:
        os.close(lock)
    shown = [str(path.relative_to(data.root)) for path in paths]
    if options.json:
        print(json.dumps({"removed": options.delete, "paths": shown, "bytes": freed}))
    else:
        print("\n".join([*shown, f"{len(paths)} {'removed' if options.delete else 'to remove'}, {size(freed)}"]))
        if paths and not options.delete:
            print("nothing was removed: --delete does it")
    return 0

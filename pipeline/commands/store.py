"""`gristmill store`: what is published, whether it is whole, back to the publication before, and what can go."""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any


def add_verbs(command: Callable[..., argparse.ArgumentParser], verbs: Any) -> None:
    """`list`, `verify`, `rollback`, `gc` and `publish`, with their flags."""
    texts = {
        "list": "The dates, their rows, and how often each was published.",
        "verify": "Hash every published file again; exit code 1 if one is missing or damaged.",
        "rollback": "Point a date to its publication before, or withdraw it where there is none.",
        "gc": "List what no manifest names; nothing is removed without --delete.",
        "publish": "Copy finished dates to an object store: those that it never had, or DATE in any case.",
    }
    for verb, text in texts.items():
        made = command(verb, text, config=False, into=verbs)
        url = "" if verb == "publish" else ", or the URL of a published one"
        made.add_argument("--out", required=True, metavar="DIR", help=f"the data set's folder{url}")
        if verb == "publish":
            made.add_argument("date", metavar="DATE", nargs="?", help="YYYY-MM-DD; rolled back or damaged there, too")
            made.add_argument("--to", required=True, metavar="URL", help="s3://BUCKET/PREFIX, gs://… or az://…")
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
    from pipeline.store.dataset import DataSet
    from stages.storage.bucket import Bucket, is_url

    if is_url(options.out):
        if options.verb == "publish":
            raise ConfigError(f"--out: {options.out!r} is a URL; name the folder that gristmill run wrote")
        return _on_bucket(options, Bucket.open(options.out))
    data = DataSet.open(options.out)
    if not (data.root / "manifests").is_dir():
        raise ConfigError(f"--out: {options.out!r} is no data set; name the folder that gristmill run wrote")
    verbs = {"list": _list, "verify": _verify, "rollback": _rollback, "gc": _gc, "publish": _publish}
    return verbs[options.verb](options, data)


def _on_bucket(options: argparse.Namespace, bucket: Any) -> int:
    from pipeline.store.remote import rollback
    from pipeline.store.remote_maintenance import collect, listing, verify

    if options.verb == "list":
        return _show_list(options, listing(bucket))
    if options.verb == "verify":
        return _show_verify(options, bucket.url, verify(bucket))
    if options.verb == "rollback":
        date = _day(options.date)
        return _show_rollback(options, date, rollback(bucket, date), f"gristmill store publish {date}")
    _check_keep(options)
    return _show_gc(options, *collect(bucket, options.keep, delete=options.delete))


def _list(options: argparse.Namespace, data: Any) -> int:
    from pipeline.store.maintenance import listing

    return _show_list(options, listing(data))


def _show_list(options: argparse.Namespace, rows: list[dict[str, Any]]) -> int:
    from pipeline.report.summary import size

    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("date", "state", "rows", "Parquet", "publications", "run")
    for row in rows:
        figures = [f"{row['rows']:,}", size(row["bytes"])] if row["run_id"] else ["", ""]
        shown = [place.rpartition("/")[2].removesuffix(".json") for place in row["publications"]]
        current = (row["publication"] or "").rpartition("/")[2].removesuffix(".json")
        marked = " ".join(f"[{n}]" if n == current else n for n in shown)
        table.add_row(row["date"], row["state"], *figures, marked.replace("[", r"\["), row["run_id"] or "")
    Console(highlight=False).print(table)
    return 0


def _verify(options: argparse.Namespace, data: Any) -> int:
    from pipeline.store.maintenance import verify

    return _show_verify(options, str(data.root), verify(data))


def _show_verify(options: argparse.Namespace, root: str, found: tuple[int, int, list[Any]]) -> int:
    from pipeline.report.summary import size

    files, read, faults = found
    if options.json:
        print(json.dumps({"files": files, "bytes": read, "faults": [asdict(fault) for fault in faults]}))
    else:
        for fault in faults:
            print(f"{root}/{fault.file}: {fault.what}; {fault.mend}")
        print(f"{files:,} files, {size(read)}: {f'{len(faults)} wrong' if faults else 'all as published'}")
    return 1 if faults else 0


def _rollback(options: argparse.Namespace, data: Any) -> int:
    date = _day(options.date)
    lock = data.lock(date)
    try:
        manifest = data.rollback(date)
        _card(data)
    finally:
        os.close(lock)
    return _show_rollback(options, date, manifest, f"gristmill run --date {date}")


def _show_rollback(options: argparse.Namespace, date: str, now: dict[str, Any] | None, again: str) -> int:
    if options.json:
        print(json.dumps({"date": date, "publication": now and now["publication"]}))
    elif now:
        print(f"{date}: now {now['publication']}, {now['accepted']} rows of run {now['run_id']}")
    else:
        print(f"{date}: withdrawn; {again} publishes it again, --catch-up passes it over")
    return 0


def _day(text: str) -> str:
    from datetime import UTC, datetime

    from pipeline.run.dates import day

    return day(text, "DATE", datetime.now(UTC))


def _publish(options: argparse.Namespace, data: Any) -> int:
    from pipeline.store.remote import publish, publish_date
    from stages.storage.bucket import Bucket

    bucket = Bucket.open(options.to)
    if options.date:
        made, notes = [_day(options.date)], []
        publish_date(bucket, data, made[0])
    else:
        made, notes = publish(bucket, data)
    if options.json:
        print(json.dumps({"published": made, "to": bucket.url, "notes": notes}, ensure_ascii=False))
    else:
        lines = [f"{date}: published to {bucket.url}" for date in made] or [f"{bucket.url} has every finished date"]
        print("\n".join([*lines, *notes]))
    return 0


def _card(data: Any) -> None:
    """The card again, by the newest date's config; none where no run folder is left."""
    from configs.load import load
    from pipeline.report.dataset_card import card
    from stages.storage.atomic import write_text

    manifests = [data.manifest(date) for date in data.dates()]
    configs = [path for date in data.dates() if (path := data.run_folder(date) / "config.yaml").exists()]
    if manifests and configs:
        write_text(data.root / "README.md", card(load(str(configs[-1])), manifests))


def _gc(options: argparse.Namespace, data: Any) -> int:
    from pipeline.store.maintenance import garbage, remove, size_of

    _check_keep(options)
    lock = data.lock("gc")
    try:
        paths = garbage(data, options.keep)
        freed = sum(map(size_of, paths))
        if options.delete:
            remove(data, paths)
    finally:
        os.close(lock)
    return _show_gc(options, [str(path.relative_to(data.root)) for path in paths], freed)


def _check_keep(options: argparse.Namespace) -> None:
    from configs.errors import ConfigError

    if options.keep is not None and options.keep < 0:
        raise ConfigError(f"--keep: {options.keep} publications cannot be kept; give 0 or more")


def _show_gc(options: argparse.Namespace, shown: list[str], freed: int) -> int:
    from pipeline.report.summary import size

    if options.json:
        print(json.dumps({"removed": options.delete, "paths": shown, "bytes": freed}))
    else:
        print("\n".join([*shown, f"{len(shown)} {'removed' if options.delete else 'to remove'}, {size(freed)}"]))
        if shown and not options.delete:
            print("nothing was removed: --delete does it")
    return 0

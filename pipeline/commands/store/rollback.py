"""Point a date to its previous publication, or withdraw it if there is none."""

import os

import typer

from pipeline.command_line.data_set import open_bucket, open_data_set, parse_date, write_dataset_card
from pipeline.command_line.flags import DateArgument, JsonFlag, PublishedFlag
from pipeline.command_line.output import print_json

app = typer.Typer()


@app.command()
def rollback_date(date: DateArgument, out: PublishedFlag, as_json: JsonFlag = False) -> None:
    """Rolls a date back, and prints what is published now."""
    from pipeline.store import remote

    bucket = open_bucket(out)
    if bucket:
        date = parse_date(date)
        manifest, again = remote.rollback(bucket, date), f"gristmill store publish {date}"
    else:
        data = open_data_set(out)
        date = parse_date(date)
        lock = data.lock(date)
        try:
            manifest, again = data.rollback(date), f"gristmill run --date {date}"
            write_dataset_card(data)
        finally:
            os.close(lock)
    if as_json:
        print_json({"date": date, "publication": manifest and manifest.publication})
    elif manifest:
        print(f"{date}: now {manifest.publication}, {manifest.accepted} rows of run {manifest.run_id}")
    else:
        print(f"{date}: withdrawn; {again} publishes it again, --catch-up passes it over")

"""Copy finished dates to an object store: those that it never had, or one date in any case."""

from typing import Annotated

import typer

from pipeline.command_line.data_set import open_data_set, parse_date
from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json

app = typer.Typer()


@app.command()
def publish_dates(
    out: DataSetFlag,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="s3://BUCKET/PREFIX, gs://… or az://….")],
    date: Annotated[
        str | None,
        typer.Argument(
            metavar="DATE", help="YYYY-MM-DD: publish this date, even if it is rolled back or damaged there."
        ),
    ] = None,
    unaudited: Annotated[
        bool, typer.Option("--unaudited", help="With DATE: publish it although publish.min_rightness holds it back.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Publishes dates, and prints which."""
    from configs.errors import ConfigError, StoreError
    from pipeline.store import remote
    from stages.storage.bucket import Bucket, is_url

    if is_url(out):
        raise ConfigError(f"--out: {out!r} is a URL; name the folder that gristmill run wrote")
    data = open_data_set(out)
    bucket = Bucket.open(to)
    if unaudited and not date:
        raise ConfigError("--unaudited: publishes one date; name it")
    if date:
        dates, notes = [parse_date(date)], []
        if not unaudited and (reason := remote.held_back(data, dates[0])):
            raise StoreError(
                f"{dates[0]}: {reason}; read its rows (gristmill audit {dates[0]} --out {out}), or publish it with "
                "--unaudited"
            )
        remote.publish_date(bucket, data, dates[0])
    else:
        dates, notes = remote.publish(bucket, data)
    if as_json:
        print_json({"published": dates, "to": bucket.url, "notes": notes})
    else:
        nothing = f"{bucket.url} has every finished date{' that may be copied' if notes else ''}"
        lines = [f"{date}: published to {bucket.url}" for date in dates] or [nothing]
        print("\n".join([*lines, *notes]))

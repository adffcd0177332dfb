"""List files that no manifest names. Nothing is removed without --delete."""

import os
from typing import Annotated

import typer

from pipeline.command_line.data_set import open_bucket, open_data_set
from pipeline.command_line.flags import JsonFlag, PublishedFlag
from pipeline.command_line.output import print_json

app = typer.Typer()


@app.command()
def collect_garbage(
    out: PublishedFlag,
    as_json: JsonFlag = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the files.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            help="Also list earlier publications of a date, but for the newest N, and the folders of evolutions that "
            "have their verdicts, but for the newest N. If left out, all are kept.",
        ),
    ] = None,
) -> None:
    """Prints files that are not needed; with `delete`, removes them."""
    from configs.errors import ConfigError
    from pipeline.report.summary import size
    from pipeline.store import maintenance, remote_maintenance

    bucket = open_bucket(out)
    data = None if bucket else open_data_set(out)
    if keep is not None and keep < 0:
        raise ConfigError(f"--keep: {keep} publications cannot be kept; give 0 or more")
    if bucket:
        paths, n_bytes = remote_maintenance.collect(bucket, keep, delete=delete)
    else:
        assert data is not None
        lock = data.lock("gc")
        try:
            files = maintenance.garbage(data, keep)
            n_bytes = sum(map(maintenance.size_of, files))
            if delete:
                maintenance.remove(data, files)
        finally:
            os.close(lock)
        paths = [str(path.relative_to(data.root)) for path in files]
    if as_json:
        print_json({"removed": delete, "paths": paths, "bytes": n_bytes})
        return
    print("\n".join([*paths, f"{len(paths)} {'removed' if delete else 'to remove'}, {size(n_bytes)}"]))
    if paths and not delete:
        print("nothing was removed: add --delete to remove them")

"""Write the HTML page of a finished date or of the self-evolving loop, or serve all pages to a browser."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.command_line.flags import DataSetFlag, JsonFlag
from pipeline.command_line.output import print_json

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.store.dataset import DataSet

HELP_GROUP = "Data set"
HOST, PORT = "127.0.0.1", 8765
app = typer.Typer()


@app.command()
def write_or_serve_report(
    what: Annotated[
        str, typer.Argument(metavar="DATE|evolve|serve", help="A finished date to write the page of; evolve; or serve.")
    ],
    out: DataSetFlag,
    as_json: JsonFlag = False,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help=f"serve: the port; {PORT} if left out, 0 for a free one.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="HOST", help=f"serve: the address to listen on; {HOST}, this machine only, if left out."
        ),
    ] = None,
) -> None:
    """Writes a page, or serves pages until it is interrupted."""
    from configs.errors import ConfigError
    from pipeline.store.dataset import DataSet

    data = DataSet.open(out)
    if what != "serve":
        if port is not None or host is not None:
            raise ConfigError("--port, --host: only gristmill report serve listens; leave them out")
        path = _written(data, what)
        if as_json:
            print_json({"report": str(path), "bytes": path.stat().st_size})
        else:
            print(path)
        return
    if not data.root.is_dir():
        raise ConfigError(f"--out: no such folder {data.root}; name the folder that gristmill run wrote")
    from pipeline.pages.report_server import serve

    serve(data, host or HOST, PORT if port is None else port)


def _written(data: "DataSet", what: str) -> "Path":
    """Writes the page of a date or of the loop."""
    if what == "evolve":
        from pipeline.command_line.data_set import open_data_set
        from pipeline.pages.evolve_report import write_evolve_report

        return write_evolve_report(open_data_set(str(data.root)))
    from configs.errors import InputError
    from pipeline.pages.report import write_report
    from pipeline.store.run_record import why_unfinished

    if what in data.started() and what not in data.dates():
        raise InputError(why_unfinished(data.run_folder(what)))
    return write_report(data, what)

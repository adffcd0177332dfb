"""`gristmill report`: a date's page, written anew, or the pages of all dates, served on this machine."""

import argparse
import json

HOST, PORT = "127.0.0.1", 8765


def add_report(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("what", metavar="DATE|serve", help="a finished date to write the page of; or serve")
    parser.add_argument("--out", required=True, metavar="DIR", help="the data set's folder")
    parser.add_argument("--port", type=int, metavar="N", help=f"serve: {PORT} if left out; 0 takes a free one")
    parser.add_argument("--host", help=f"serve: the address to listen on; {HOST}, this machine alone, if left out")


def report(options: argparse.Namespace) -> int:
    """Writes or serves. Raises ConfigError for flags that do not fit, InputError for a date that is not finished."""
    from configs.errors import ConfigError
    from pipeline.store.dataset import DataSet

    data = DataSet.open(options.out)
    if options.what != "serve":
        if options.port is not None or options.host is not None:
            raise ConfigError("--port, --host: only gristmill report serve listens")
        from pipeline.pages.report import write

        path = write(data, options.what)
        print(json.dumps({"report": str(path), "bytes": path.stat().st_size}) if options.json else path)
        return 0
    if not data.root.is_dir():
        raise ConfigError(f"--out: no such folder {data.root}")
    from pipeline.pages.serve import serve

    serve(data, options.host or HOST, PORT if options.port is None else options.port)
    return 0

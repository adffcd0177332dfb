"""Hash every published file again. The exit code is 1 if one is missing or damaged."""

from dataclasses import asdict

import typer

from pipeline.command_line.data_set import open_bucket, open_data_set
from pipeline.command_line.flags import JsonFlag, PublishedFlag
from pipeline.command_line.output import print_json
from pipeline.exit_codes import DONE, FAILED

app = typer.Typer()


@app.command()
def verify_files(out: PublishedFlag, as_json: JsonFlag = False) -> int:
    """Prints faults. Returns the exit code."""
    from pipeline.report.summary import size
    from pipeline.store import maintenance, remote_maintenance

    bucket = open_bucket(out)
    if bucket:
        root, (files, n_bytes, faults) = bucket.url, remote_maintenance.verify(bucket)
    else:
        data = open_data_set(out)
        root, (files, n_bytes, faults) = str(data.root), maintenance.verify(data)
    if as_json:
        rows = [asdict(fault) | {"mend": fault.fix} for fault in faults]  # the former name of `fix`, for one version
        print_json({"files": files, "bytes": n_bytes, "faults": rows})
    else:
        for fault in faults:
            print(f"{root}/{fault.file}: {fault.what}; {fault.fix}")
        print(f"{files:,} files, {size(n_bytes)}: {f'{len(faults)} wrong' if faults else 'all as published'}")
    return FAILED if faults else DONE

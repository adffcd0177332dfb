"""One date's evolution, from the flags to the last line: what `evolve` and `run --evolve` share."""

import sys
from typing import Any

from pipeline.command_line.output import print_json, print_notice
from pipeline.command_line.run_dates import RunRequest, stop_of
from pipeline.exit_codes import DEFERRED, DONE, FAILED


def evolve_one_date(request: RunRequest, date: str, *, now: bool = False) -> int:
    """Makes and judges the date's candidates, prints the verdicts. Returns the exit code.

    `now`: also if it is not due yet by `evolve.max_cost_share`.
    """
    from pipeline.evolve.evolve_date import evolve_date
    from pipeline.report.evolution import verdict_line
    from pipeline.report.progress import RunProgress
    from pipeline.run.resolve import resolve_models

    models = resolve_models(request.config)
    with stop_of(request) as stop, RunProgress.on(sys.stderr) as progress:
        result = evolve_date(models, date, beam_args=request.beam_args, watch=progress, stop=stop, now=now)
    if request.as_json:
        verdicts: list[Any] = [verdict.model_dump(mode="json") for verdict in result.verdicts]
        line = {"status": result.status, "date": date, "digest": result.digest, "verdicts": verdicts}
        print_json(line | {"notes": result.notes} | ({"error": result.error} if result.error else {}))
    else:
        for verdict in result.verdicts:
            print(f"{verdict.domain}: {verdict_line(verdict)}")
    for note in result.notes:
        print_notice(note)
    if result.error:
        print_notice(result.error)
    return {"failed": FAILED, "deferred": DEFERRED}.get(result.status, DONE)

"""Have people read a sample of a date's rows, and measure how many are right.

Without another flag it writes a page for one reader, to be labelled in a browser; its labels come back with --import.
Once there are labels it prints the rate of right rows, with its interval, and how far two readers agree.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.command_line.data_set import open_data_set, parse_date, write_dataset_card
from pipeline.command_line.flags import DataSetFlag, DateArgument, JsonFlag
from pipeline.command_line.output import print_json, print_notice

if TYPE_CHECKING:
    from pipeline.auditing.session import AuditSession

HELP_GROUP = "Data set"
app = typer.Typer()


@app.command()
def audit(
    date: DateArgument,
    out: DataSetFlag,
    rows: Annotated[
        int | None,
        typer.Option(
            "-n", metavar="N", help="Accepted rows to sample, and a quarter as many rejected ones; 100 if left out."
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="The reader; the page asks if left out.")
    ] = None,
    page: Annotated[
        str | None, typer.Option("--page", metavar="FILE", help="Where to write the page; the run folder if left out.")
    ] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Label in this terminal instead of on a page.")] = False,
    labels: Annotated[
        str | None, typer.Option("--import", metavar="FILE", help="Take in the labels that a page's button downloaded.")
    ] = None,
    export: Annotated[
        str | None,
        typer.Option("--export", metavar="FILE", help="Write labels with passage and answer, for filter evaluate."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Writes a page, asks, takes labels in or writes them out; then prints the result."""
    from configs.errors import ConfigError
    from pipeline.auditing.result import print_result, result_json
    from pipeline.auditing.session import AuditSession
    from pipeline.store.audit_labels import check_reader

    modes = {"--page": page, "--terminal": terminal, "--import": labels, "--export": export}
    given = [flag for flag, value in modes.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{', '.join(given)}: give one of them; each is a step of its own")
    if rows is not None and rows < 1:
        raise ConfigError(f"-n: {rows} rows cannot be read; give 1 or more")
    if terminal and by is None:
        raise ConfigError("--by: missing; --terminal needs the reader's name")
    reader = check_reader(by) if by is not None else ""
    session = AuditSession.open(open_data_set(out), parse_date(date), rows)
    outcome = _step(session, reader, page, terminal, labels, export, as_json=as_json)
    before = session.manifest.audit
    figures = session.update_manifest()
    if session.manifest.audit != before:
        write_dataset_card(session.data)
    if as_json:
        print_json(result_json(session, figures, **outcome))
        return
    for line in outcome.values():
        print(line)
    print_result(session, figures)
    for note in session.notes:
        print_notice(note)


def _step(
    session: "AuditSession",
    by: str,
    page: str | None,
    terminal: bool,
    labels: str | None,
    export: str | None,
    *,
    as_json: bool,
) -> dict[str, str]:
    """Does what the flags ask for. Returns what to print, by its key in the result for scripts."""
    if terminal:
        from pipeline.auditing.labelling import label_in_terminal

        label_in_terminal(session, by, show=print_notice if as_json else print)
        return {}
    if labels:
        from pipeline.store.audit_labels import parse_labels

        parsed, notes = parse_labels(labels, session.sample)
        saved = session.save(parsed)
        session.notes += notes
        return {"imported": f"{saved.added} labels taken in, {saved.replaced} replaced, {saved.known} known already"}
    if export:
        from pipeline.auditing.export import export_labels

        return {"exported": f"{export}: {export_labels(session, export)} rows"}
    return _write_page(session, by, page)


def _write_page(session: "AuditSession", by: str, page: str | None) -> dict[str, str]:
    """Writes the reader's page; with labels and without a run folder there is only the result to show."""
    from pathlib import Path

    from configs.errors import InputError
    from pipeline.pages.audit_page import audit_page, page_path, write_audit_page

    path = Path(page) if page else page_path(session.data, session.date, by)
    labels = session.labels
    try:
        text = audit_page(session.data, session.sample, session.rows, by, list(labels.get(by, {}).values()))
    except InputError as error:
        if page or not labels:
            raise
        session.notes.append(f"{error} (no page was written)")
        return {}
    write_audit_page(path, text)
    return {"page": str(path)}

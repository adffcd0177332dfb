"""The labelling page of an audit: one HTML file with the rows in it, keys for every answer, and no way to send them.

It does not say which rows were accepted: readers judge a row by its text and passage alone.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from configs.errors import StoreError
from configs.load import load_audit_rubric
from pipeline.pages.audit_rows import AuditRow
from pipeline.pages.template import asset, policy, render, style
from pipeline.store.audit_labels import MAX_NOTE_CHARACTERS, MIN_USEFUL, AuditLabel
from pipeline.store.audit_sample import DIGEST_DIGITS, AuditSample
from pipeline.store.dataset import DataSet
from stages.storage.atomic import write_text

SHOWN = ("id", "domain", "task", "language", "passage", "turns", "writes", "written")  # of a row
KEPT = ("faithful", "complete", "useful", "fault", "note", "time")  # of a label, in the browser


def page_path(data: DataSet, date: str, by: str) -> Path:
    """Where the page is written: in the run folder, because it shows passages and rejected texts."""
    return data.run_folder(date) / (f"audit-{by}.html" if by else "audit.html")


def write_audit_page(path: Path, text: str) -> None:
    """Writes a page. Raises StoreError when the disk refuses it."""
    try:
        write_text(path, text)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); name another file with --page") from None


def audit_page(
    data: DataSet, sample: AuditSample, rows: Sequence[AuditRow], by: str, labels: Sequence[AuditLabel]
) -> str:
    """The page as HTML.

    Args:
        data: the data set; the page shows its name.
        sample: the rows' sample.
        rows: what is shown of the sample's rows, in its order.
        by: the reader's name; empty if the page is to ask for it.
        labels: those that the reader has given already.
    """
    script, style_sheet = asset("audit.js"), style() + asset("audit.css")
    values: dict[str, Any] = {
        "date": sample.date,
        "publication": sample.digest[:DIGEST_DIGITS],
        "by": by,
        "min_useful": MIN_USEFUL,
        "written": load_audit_rubric().written,
        "rows": [{name: value for name, value in asdict(row).items() if name in SHOWN} for row in rows],
        "labels": {label.row: label.model_dump(mode="json", include={*KEPT}) for label in labels},
    }
    return render(
        "audit.html",
        title=f"Audit of {data.root.name}, {sample.date}",
        name=data.root.name,
        date=sample.date,
        count=len(rows),
        rubric=load_audit_rubric(),
        note_length=MAX_NOTE_CHARACTERS,
        data=values,
        script=Markup(script),
        style=Markup(style_sheet),
        policy=policy(style_sheet, script),
    )

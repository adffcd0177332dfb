"""Writes labels for other commands: one JSON object a labelled row, with passage, answer and what the readers said.

The fields `text`, `domain`, `language`, `score` and `by` are those that `gristmill filter train --labels` and
`filter evaluate --labels` read; the others are for people and for measuring a screen.
"""

import json
from pathlib import Path
from typing import Any

from configs.errors import InputError, StoreError
from pipeline.auditing.session import AuditSession
from pipeline.pages.audit_rows import AuditRow
from pipeline.store.audit_figures import Reading, readings
from pipeline.store.audit_labels import MIN_USEFUL
from stages.storage.atomic import write_text


def export_labels(session: AuditSession, path: str) -> int:
    """Writes the labelled rows to a JSON Lines file. Returns how many.

    Raises InputError when nothing is labelled or the run folder was deleted, StoreError for a file that cannot be
    written.
    """
    read = readings(session.sample, session.labels)
    if not read:
        raise InputError(f"{session.date}: nobody has labelled a row yet, so there is nothing to export")
    rows = {row.id: row for row in session.rows}
    text = "".join(json.dumps(exported(each, rows[each.row.id]), ensure_ascii=False) + "\n" for each in read)
    try:
        write_text(Path(path), text)
    except OSError as error:
        raise StoreError(f"--export: cannot write {path} ({error.strerror}); name a file that you may write") from None
    return len(read)


def exported(reading: Reading, row: AuditRow) -> dict[str, Any]:
    """One line. Values of readers are lists, in the order of `readers`."""
    labels = reading.labels
    return {
        "id": row.id,
        "domain": row.domain,
        "task": row.task,
        "language": row.language,
        "source": row.source,
        "licence": row.licence,
        "round": row.stage,
        "passage": row.passage,
        "answer": row.answer,
        "writes": row.writes,
        "readers": [label.by for label in labels],
        **{name: [getattr(label, name) for label in labels] for name in ("faithful", "complete", "useful", "fault")},
        "notes": [label.note for label in labels],
        "kept_by_screen": reading.row.accepted,
        "reject_reason": reading.row.reason,
        "text": row.answer,
        "score": score(reading),
        "by": "human",
    }


def score(reading: Reading) -> int:
    """The row as one number from 0 to 5: the lowest `useful`; below MIN_USEFUL unless the row is right."""
    lowest = min(label.useful for label in reading.labels)
    return lowest if reading.right else min(lowest, MIN_USEFUL - 1)

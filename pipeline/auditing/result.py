"""The result of an audit, in a terminal and as JSON."""

from typing import Any

from pipeline.auditing.session import AuditSession
from pipeline.report.control_characters import without_control_characters
from pipeline.report.rightness import NOT_AUDITED, rate_text, readers_text
from pipeline.store.manifest import AuditFigures, Rate


def result_json(session: AuditSession, figures: AuditFigures | None, **more: Any) -> dict[str, Any]:
    """The result for scripts; `audit` is that of the manifest, with the rates beside the counts."""
    audit = figures and figures.model_dump(mode="json")
    for rate in _rates(audit) if audit else ():
        rate["rate"] = round(rate["right"] / rate["rows"], 4)
    return {
        "status": "audited" if audit else NOT_AUDITED,
        "date": session.date,
        "digest": session.manifest.digest,
        "rows": len(session.sample.rows),
        "labels": {by: len(by_row) for by, by_row in session.labels.items()},
        "audit": audit,
        "notes": session.notes,
        **more,
    }


def _rates(audit: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [rate for by in ("domains", "tasks", "languages") for rate in audit[by].values()]
    return [rate for rate in (audit["accepted"], audit["rejected"], *groups) if rate]


def print_result(session: AuditSession, figures: AuditFigures | None) -> None:
    """Prints the rates, the agreement of readers and the commonest faults."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if figures is None:
        console.print(Text(f"rightness {NOT_AUDITED}: nobody has labelled a row of {session.date} yet"))
        return
    table = Table(
        title=f"{session.date}  right rows, {readers_text(figures)}",
        title_justify="left",
        box=SIMPLE,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("rows", "labelled", "right", "rate", "95% interval"):
        table.add_column(name, justify="left" if name == "rows" else "right")
    groups: dict[str, Rate | None] = {"accepted": figures.accepted}
    for what, rates in (("domain", figures.domains), ("task", figures.tasks), ("language", figures.languages)):
        groups |= {f"  {what} {name}": rate for name, rate in rates.items()}
    groups["rejected"] = figures.rejected
    for name, rate in groups.items():
        cells = ["0", "", "", ""]
        if rate:
            cells = [str(rate.rows), str(rate.right), f"{rate.share:.1%}", f"{rate.low:.1%} to {rate.high:.1%}"]
        table.add_row(Text(without_control_characters(name)), *cells)
    console.print(table)
    labels = {by: len(by_row) for by, by_row in session.labels.items()}
    console.print(Text(f"labelled  {', '.join(f'{by} {count}' for by, count in labels.items())}"))
    if figures.accepted:
        console.print(Text(f"rightness {rate_text(figures.accepted)}"), soft_wrap=True)
    for agreement in figures.agreement:
        parts = [
            f"{what} {share:.1%}" + (f" (kappa {kappa:.2f})" if kappa is not None else "")
            for what, share in agreement.share.items()
            for kappa in [agreement.kappa[what]]
        ]
        console.print(Text(f"agreement on rows read by two ({agreement.rows}): {', '.join(parts)}"), soft_wrap=True)
    if faults := ", ".join(f"{name} {count}" for name, count in figures.faults.items()):
        console.print(Text(f"faults    {faults}"), soft_wrap=True)

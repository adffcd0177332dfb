"""What an audit found, in words: for the last screen, the data-set card and `gristmill audit`."""

from collections.abc import Iterator

from pipeline.store.dataset import DataSet
from pipeline.store.manifest import AuditFigures, Manifest, Rate

NOT_AUDITED = "not audited"


def rate_text(rate: Rate | None) -> str:
    """A rate with its interval: `45 of 50 right, 90.0% (95% interval 78.6% to 95.7%)`."""
    if rate is None:
        return "none labelled"
    return f"{rate.right} of {rate.rows} right, {rate.share:.1%} (95% interval {rate.low:.1%} to {rate.high:.1%})"


def readers_text(audit: AuditFigures) -> str:
    """How many people read: `one reader`, `2 readers (rows read by both: 40)`."""
    if audit.readers == 1:
        return "one reader"
    both = "both" if audit.readers == 2 else "two or more"
    return f"{audit.readers} readers (rows read by {both}: {audit.two_readers})"


def rightness(audit: AuditFigures | None) -> str:
    """The rate of right rows among the accepted ones, in a line."""
    if audit is None or audit.accepted is None:
        return NOT_AUDITED
    return f"{rate_text(audit.accepted)}, {readers_text(audit)}"


def rightness_lines(data: DataSet, manifest: Manifest) -> Iterator[str]:
    """The lines of the last screen: the date's own rate, or how to measure it and that of an earlier date."""
    if manifest.audit is not None:
        yield f"rightness {rightness(manifest.audit)}"
        return
    yield f"rightness {NOT_AUDITED} (gristmill audit {manifest.date} --out {data.root})"
    if earlier := last_audited(data, manifest.date):
        yield f"rightness of {earlier.date}: {rightness(earlier.audit)}"


def last_audited(data: DataSet, before: str) -> Manifest | None:
    """The newest date before `before` whose published rows were audited; None if there is none."""
    read_dates = {path.name for path in data.root.glob("audits/*")}  # most data sets have no more than a few
    for date in reversed(data.dates()):
        if date < before and date in read_dates:
            manifest = data.manifest(date)
            if manifest is not None and manifest.audit is not None:
                return manifest
    return None

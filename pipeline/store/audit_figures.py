"""The figures of an audit: rates of right rows with Wilson's intervals, agreement of readers, the commonest faults."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from pipeline.store.audit_labels import MIN_USEFUL, AuditLabel, Labels, read_labels
from pipeline.store.audit_sample import AuditSample, SampledRow, audit_folder
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Agreement, AuditFigures, Manifest, Rate

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Reading:
    """A labelled row and what its readers said."""

    row: SampledRow
    labels: list[AuditLabel]

    @property
    def right(self) -> bool:
        """Whether each of its readers calls the row right."""
        return all(label.right for label in self.labels)


def readings(sample: AuditSample, labels: Labels) -> list[Reading]:
    """The labelled rows of a sample, in its order. Labels of rows that are not in it are left out."""
    labels_by_row: dict[str, list[AuditLabel]] = defaultdict(list)
    for _, by_row in sorted(labels.items()):
        for row_id, label in by_row.items():
            labels_by_row[row_id].append(label)
    return [Reading(row, labels_by_row[row.id]) for row in sample.rows if row.id in labels_by_row]


def rate(right: int, rows: int) -> Rate | None:
    """The rate with Wilson's score interval (Wilson 1927); None without rows."""
    from scipy.stats import binomtest

    if not rows:
        return None
    interval = binomtest(right, rows).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(rows=rows, right=right, low=round(float(interval.low), 4), high=round(float(interval.high), 4))


def audit_figures(sample: AuditSample, labels: Labels) -> AuditFigures | None:
    """The figures of an audit; None while nothing is labelled."""
    read = readings(sample, labels)
    if not read:
        return None
    accepted = [reading for reading in read if reading.row.accepted]
    faults = Counter(label.fault for reading in accepted for label in reading.labels if label.fault != "none")
    return AuditFigures(
        digest=sample.digest,
        labelled=max(label.time for reading in read for label in reading.labels).isoformat(timespec="seconds"),
        readers=len({label.by for reading in read for label in reading.labels}),
        sampled=sample.accepted,
        two_readers=sum(len(reading.labels) > 1 for reading in accepted),
        accepted=_rate(accepted),
        rejected=_rate(reading for reading in read if not reading.row.accepted),
        domains=_rates(accepted, "domain"),
        tasks=_rates(accepted, "task"),
        languages=_rates(accepted, "language"),
        agreement=[
            agreement
            for one, two in combinations(sorted(labels), 2)
            if (agreement := _agreement(labels[one], labels[two], sample))
        ],
        faults=dict(faults.most_common()),
    )


def current_audit(data: DataSet, manifest: Manifest) -> AuditFigures | None:
    """The figures from the labels of what a date publishes; None if nobody labelled it. Raises StoreError."""
    folder = audit_folder(data, manifest)
    sample = AuditSample.read(folder)
    return audit_figures(sample, read_labels(folder)) if sample else None


def shortfall(manifest: Manifest, min_rightness: float | None) -> str:
    """Why a date may not be copied to a bucket yet; empty if it may."""
    if min_rightness is None:
        return ""
    audit = manifest.audit
    if audit is None or audit.digest != manifest.digest or audit.accepted is None:
        return f"not audited, and publish.min_rightness is {min_rightness:g}"
    if audit.accepted.low >= min_rightness:
        return ""
    return (
        f"{audit.accepted.right} of {audit.accepted.rows} rows are right, which shows a rate of at least "
        f"{audit.accepted.low:.1%}, below publish.min_rightness ({min_rightness:g})"
    )


def _rate(read: Iterable[Reading]) -> Rate | None:
    rights = [reading.right for reading in read]
    return rate(sum(rights), len(rights))


def _rates(read: list[Reading], by: str) -> dict[str, Rate]:
    groups: dict[str, list[Reading]] = defaultdict(list)
    for reading in read:
        groups[getattr(reading.row, by)].append(reading)
    return {name: figure for name, group in sorted(groups.items()) if (figure := _rate(group))}


def _agreement(one: dict[str, AuditLabel], two: dict[str, AuditLabel], sample: AuditSample) -> Agreement | None:
    rows = [row.id for row in sample.rows if row.id in one and row.id in two]
    if not rows:
        return None
    share, kappa = {}, {}
    for what in ("right", "faithful", "complete", "useful"):
        pairs = [(_verdict(one[row], what), _verdict(two[row], what)) for row in rows]
        share[what] = round(sum(a == b for a, b in pairs) / len(pairs), 4)
        kappa[what] = cohens_kappa(pairs)
    return Agreement(rows=len(rows), share=share, kappa=kappa)


def _verdict(label: AuditLabel, what: str) -> bool:
    """A reader's answer as yes or no; of `useful`, whether it is enough for a right row."""
    return label.useful >= MIN_USEFUL if what == "useful" else bool(getattr(label, what))


def cohens_kappa(pairs: list[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa (1960) of two readers; None where both gave every row one and the same answer."""
    from sklearn.metrics import cohen_kappa_score

    one, two = zip(*pairs, strict=True)
    return None if len({*one, *two}) == 1 else round(float(cohen_kappa_score(one, two)), 4)

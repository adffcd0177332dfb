"""Draws the sample of an audit, and reads what its rows are shown by: passage and answer.

Published rows do not hold their passages and rejected ones have neither task nor language: the run folder has both, in
the files of the stages that generate. So a date can be audited as long as its run folder is there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any, TypeVar

from configs.errors import InputError
from pipeline.pages.samples import Place, count_rows, rejects_files, rows_with_ids, smallest
from pipeline.store.audit_sample import AuditSample, SampledRow
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import generating_stages, inside
from pipeline.store.manifest import Manifest
from stages.record import FILTER_ERROR, content_id
from stages.storage.shard import is_kept_file
from stages.storage.stage import Counts, StageKind

STRATUM = ("domain", "task", "language")
REJECTED_SHARE = 0.25  # rejected rows for each accepted row of the sample
REJECTS_READ = 4  # for each one that is taken: only then their tasks and languages are known
NOT_JUDGED = ("better_sample", FILTER_ERROR)  # starts of reasons that say nothing against a row
PASSAGE_MARK = "[passage]"  # in a user's turn, where the passage is repeated

Item = TypeVar("Item")
Stratum = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What a reader sees of a row, and where it came from."""

    id: str
    domain: str
    task: str
    language: str
    passage: str
    turns: list[dict[str, str]]  # [{"role": …, "content": …}]
    source: str
    licence: str
    stage: str  # that generated it
    writes: str  # what the generator's text is in the row: answer | question | distractor
    written: str  # the generator's text where it is no answer; else ""

    @property
    def answer(self) -> str:
        """The generator's text: the assistant's turns, or the question or alternative that it wrote."""
        if self.written:
            return self.written
        turns = [turn["content"] for turn in self.turns if turn["role"] == "assistant"]
        return "\n".join(turns or [turn["content"] for turn in self.turns])


def draw_sample(data: DataSet, manifest: Manifest, accepted: int, earlier: AuditSample | None = None) -> AuditSample:
    """Draws about `accepted` accepted rows and a quarter as many rejected ones; the same for the same data.

    Each combination of domain, task and language has its share of the rows. The rows of an `earlier` sample of the same
    publication stay. The order is mixed. Raises InputError if no row was accepted, StoreError for damaged files.
    """
    salt = f"audit {manifest.date} {manifest.digest}"
    paths = [inside(data, shard.file) for shard in manifest.shards]
    sizes = count_rows(paths, STRATUM)
    if not sizes:
        raise InputError(f"{manifest.date}: no row was accepted, so there is nothing to audit; see its reject reasons")
    places = smallest(paths, STRATUM, accepted, salt)
    rows = [
        SampledRow(id=place.id, accepted=True, domain=key[0], task=key[1], language=key[2])
        for key, chosen in proportional(places, sizes, accepted).items()
        for place in chosen
    ]
    rows += _draw_rejected(data, manifest, -(-accepted // round(1 / REJECTED_SHARE)), salt)
    by_id = {row.id: row for row in (*(earlier.rows if earlier else ()), *rows)}
    order = sorted(by_id.values(), key=lambda row: content_id(salt, "order", row.id))
    return AuditSample(date=manifest.date, digest=manifest.digest, run_id=manifest.run_id, rows=order)


def proportional(
    items: Mapping[Stratum, Sequence[Item]], sizes: Mapping[Stratum, float], count: int
) -> dict[Stratum, list[Item]]:
    """The first items of each stratum, `count` in all, in proportion to the strata's sizes (largest remainders)."""
    total = sum(sizes[key] for key in items)
    shares = {key: min(count, total) * sizes[key] / total for key in items}
    counts = {key: int(share) for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: (counts[key] - shares[key], key))
    for key in by_remainder[: round(sum(shares.values())) - sum(counts.values())]:
        counts[key] += 1
    return {key: list(items[key][: counts[key]]) for key in sorted(items)}


def _draws(kind: StageKind) -> bool:
    """Whether a stage drops candidates for what they say. Duplicates are no fault of a row."""
    drops = kind.counts is Counts.CANDIDATES and not kind.creates_candidates and not kind.publishes
    return drops and kind.report_step != "dedup"


def _judged(reason: str) -> bool:
    return not reason.startswith(NOT_JUDGED)


def _draw_rejected(data: DataSet, manifest: Manifest, count: int, salt: str) -> list[SampledRow]:
    """About `count` rows that the screen rejected; an empty list if the run folder was deleted."""
    paths = rejects_files(data, manifest, _draws)
    counts = {key: rows for key, rows in count_rows(paths, ["domain", "reason"]).items() if _judged(key[1])}
    by_reason = smallest(paths, ["domain", "reason"], REJECTS_READ * count, salt)
    reasons = {place: reason for (_, reason), chosen in by_reason.items() for place in chosen}
    rows_by_domain = {name: sum(rows for (domain, _), rows in counts.items() if domain == name) for name, _ in counts}
    places = {
        name: nsmallest(
            REJECTS_READ * count, [place for key in counts if key[0] == name for place in by_reason.get(key, [])]
        )
        for name in rows_by_domain
    }
    rejects = [place for chosen in places.values() for place in chosen]
    candidates = _candidates(data, manifest, [place.id for place in rejects])
    strata: dict[Stratum, list[tuple[Place, SampledRow]]] = defaultdict(list)
    sizes: dict[Stratum, float] = defaultdict(float)
    for domain, chosen in places.items():
        known = [place for place in chosen if place.id in candidates]
        for place in known:
            candidate = candidates[place.id]
            key = tuple(candidate[name] for name in STRATUM)
            row = SampledRow(
                id=place.id,
                accepted=False,
                domain=key[0],
                task=key[1],
                language=key[2],
                reason=reasons[place],
            )
            strata[key].append((place, row))
            sizes[key] += rows_by_domain[domain] / len(known)
    taken = proportional(strata, sizes, count) if strata else {}
    return [row for chosen in taken.values() for _, row in chosen]


def read_rows(data: DataSet, manifest: Manifest, sample: AuditSample) -> list[AuditRow]:
    """What readers see of the sample's rows, in its order. Raises InputError if the run folder was deleted."""
    candidates = _candidates(data, manifest, [row.id for row in sample.rows])
    missing = [row.id for row in sample.rows if row.id not in candidates]
    if missing:
        raise InputError(
            f"{manifest.date}: {len(missing)} of {len(sample.rows)} sampled rows have no passage, because "
            f"{data.run_folder(manifest.date)} was deleted or is of another run; audit a date while its run folder is "
            "there: labels that are saved are kept and count"
        )
    accepted = [row.id for row in sample.rows if row.accepted]
    published = rows_with_ids([inside(data, shard.file) for shard in manifest.shards], accepted)
    rejected = [row.id for row in sample.rows if not row.accepted]
    rejects = rows_with_ids(rejects_files(data, manifest, _draws), rejected) if rejected else {}
    return [_shown(candidates[row.id], published.get(row.id), rejects.get(row.id)) for row in sample.rows]


def _shown(candidate: dict[str, Any], published: dict[str, Any] | None, reject: dict[str, Any] | None) -> AuditRow:
    """A row as it is shown: with the text that was published, or that the rejects file has, where it is masked."""
    turns = (published or candidate)["messages"]
    if published is None and reject is not None and reject["text"] not in (None, candidate["text"]):
        turns = [{"role": "assistant", "content": reject["text"]}]
    passage = candidate["passage"]
    return AuditRow(
        id=candidate["id"],
        domain=candidate["domain"],
        task=candidate["task"],
        language=candidate["language"],
        passage=passage,
        turns=[
            turn if turn["role"] == "assistant" else turn | {"content": turn["content"].replace(passage, PASSAGE_MARK)}
            for turn in turns
        ],
        source=candidate["source"],
        licence=candidate["licence"],
        stage=candidate["_stage"],
        writes=candidate.get("writes", "answer"),  # older data sets have answers only
        written=candidate.get("written", ""),
    )


def _candidates(data: DataSet, manifest: Manifest, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the stages that generate wrote under these ids, with the name of the stage as `_stage`."""
    candidates: dict[str, dict[str, Any]] = {}
    for stage in generating_stages(data.run_folder(manifest.date) / "stages"):
        rows = rows_with_ids(_kept_files(stage), ids)
        candidates |= {row_id: row | {"_stage": stage.name} for row_id, row in rows.items()}
    return candidates


def _kept_files(stage: Path) -> Iterable[Path]:
    return (path for path in sorted(stage.glob("part-*.parquet")) if is_kept_file(path.name))

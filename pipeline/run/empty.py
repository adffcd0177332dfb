"""Domains that made nothing, or less than `run.min_keep`: which they are, why, and what to change."""

from collections import Counter
from collections.abc import Mapping, Sequence

from configs.schema import Config
from pipeline.store.manifest import DomainFigures
from stages.storage.inputs import read_input
from stages.storage.records import ShardRecord, StageResult

BETTER_SAMPLE = "better_sample"  # a reject that all filters had kept
QUARANTINED = "quarantined"
_FIXES = {
    "generate": "change the generator, or the task's prompt and limits",
    "screen": "change or leave out that filter in screen.filters",
    "dedup": "add other sources",
}
_PREVIEW = "`gristmill preview` shows answers and verdicts"


def empty_domains(
    config: Config, figures: Mapping[str, DomainFigures], results: Sequence[StageResult], root: str
) -> dict[str, str]:
    """The domains that had passages and made no row, or fewer than `run.min_keep` asks for.

    Args:
        config: gives `run.min_keep`.
        figures: of all domains.
        results: of all stages; they tell where rows were lost.
        root: the data set's folder.

    Returns by domain a sentence with the leading cause and its fix.
    """
    sentences: dict[str, str] = {}
    for name, domain in figures.items():
        judged = domain.generated - domain.rejected.get(BETTER_SAMPLE, 0)
        if domain.generated and (not domain.accepted or domain.accepted < config.run.min_keep * judged):
            least = f" (run.min_keep is {config.run.min_keep:g})" if domain.accepted else ""
            cause = _leading_cause(results, name, root)
            sentences[name] = f"{name}: {domain.accepted} of {judged} rows were accepted{least}{cause}"
    return sentences


def _leading_cause(results: Sequence[StageResult], domain: str, root: str) -> str:
    """Where and why most rows of a domain were lost, and what to change."""
    counts: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], ShardRecord] = {}
    for result in (result for result in results if result.kind.loses_candidates):
        for record in (record for record in result.records if record.label == domain):
            for reason, rows in record.rejected.items():
                if reason != BETTER_SAMPLE:
                    counts[result.kind.name, reason] += rows
                    example.setdefault((result.kind.name, reason), record)
            if record.quarantined:
                counts[result.kind.name, QUARANTINED] += record.quarantined
                example.setdefault((result.kind.name, QUARANTINED), record)
    if not counts:
        return ""
    ((stage, reason), rows), *_ = counts.most_common(1)
    record = example[stage, reason]
    if reason == QUARANTINED:
        error = (record.error or "each row failed").strip().splitlines()[-1][:200]
        return f": {stage} quarantined {rows} ({error}); the run's log.txt and rejects say more"
    detail = _detail(record, reason, root)
    fix = _FIXES.get(stage.removeprefix("adapt-"), "see the rejects files")
    return f": {stage} rejected {rows} as {reason}{f' ({detail})' if detail else ''}; {fix}; {_PREVIEW}"


def _detail(record: ShardRecord, reason: str, root: str) -> str:
    """What the first of these rejects says."""
    if record.rejects is None:
        return ""
    for batch in read_input(root, record.rejects, ["reason", "detail"]):
        for row in batch.to_pylist():
            if row["reason"] == reason:
                return " ".join((row["detail"] or "").split())[:200]
    return ""

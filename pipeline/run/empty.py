"""Domains that made nothing, or less than `run.min_keep`: which they are, why, and what to change.

A domain whose passages were all used by earlier dates is not among them: it has nothing to do.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from configs.schema import Config
from pipeline.store.manifest import DomainFigures
from stages.seeds import DomainFile
from stages.sources.opening import without_secrets
from stages.storage.inputs import read_input
from stages.storage.records import ShardRecord, StageResult

BETTER_SAMPLE = "better_sample"  # a reject that all filters had kept
QUARANTINED = "quarantined"
_FIXES = {
    "generate": "change the generator, or the task's prompt and limits",
    "screen": "change the generator or the task, or that filter's options (screen.filters)",
    "dedup": "add other sources",
}
MAX_NAMED_FILES = 3
_PREVIEW = "`gristmill preview` shows answers and verdicts"


def empty_domains(
    config: Config, figures: Mapping[str, DomainFigures], results: Sequence[StageResult], root: str
) -> dict[str, str]:
    """The domains that had passages and made no row, or fewer than `run.min_keep` asks for.

    Args:
        config: gives `run.min_keep`.
        figures: of all domains.
        results: of all stages; they show where rows were lost.
        root: the data set's folder.

    Returns by domain a sentence with the leading cause and its fix.
    """
    sentences: dict[str, str] = {}
    for name, domain in figures.items():
        judged = domain.generated - domain.rejected.get(BETTER_SAMPLE, 0)
        if domain.generated and (not domain.accepted or domain.accepted / judged < config.run.min_keep):
            least = f" (run.min_keep is {config.run.min_keep:g})" if domain.accepted else ""
            cause = _leading_cause(results, name, root)
            sentences[name] = f"{name}: {domain.accepted} of {judged} rows were accepted{least}{cause}"
    return sentences


def unusable_sources(sources: Sequence[DomainFile], seeds: StageResult, root: str) -> dict[str, str]:
    """The domains whose files gave no passage, although no earlier date has used any: nothing in them can be used.

    Args:
        sources: the files of all domains.
        seeds: the result of the seeds stage, with one record for each of `sources`.
        root: the data set's folder.

    Returns by domain a sentence with the reasons and an example.
    """
    sentences: dict[str, str] = {}
    for name in dict.fromkeys(source.domain for source in sources):
        pairs = [pair for pair in zip(sources, seeds.records, strict=True) if pair[0].domain == name]
        records = [record for _, record in pairs]
        counts: Counter[str] = Counter()
        for record in records:
            counts.update(record.rejected)
        if counts["used"] or any(record.kept and record.kept.rows for record in records):
            continue
        urls = list(dict.fromkeys(without_secrets(source.file.url) for source, _ in pairs))
        files = ", ".join(urls[:MAX_NAMED_FILES]) + (" …" if len(urls) > MAX_NAMED_FILES else "")
        reasons = ", ".join(f"{reason} {rows}" for reason, rows in counts.most_common()) or "no text in them"
        example = f", such as {first}" if (first := _first_reject(records, root)) else ""
        sentences[name] = (
            f"{name}: no seeds in {files}: {reasons}{example}; see domains.{name}.seeds and domains.{name}.passages"
        )
    return sentences


def lost_as_duplicates(results: Sequence[StageResult], domain: str) -> bool:
    """Whether most rows that a domain lost were duplicates: then its passages are used up, as those of rows are."""
    rejected: Counter[bool] = Counter()
    for result in (result for result in results if result.kind.loses_candidates):
        is_dedup = result.kind.report_step == "dedup"
        for record in (record for record in result.records if record.label == domain):
            lost = {reason: rows for reason, rows in record.rejected.items() if reason != BETTER_SAMPLE}
            rejected[is_dedup] += sum(lost.values())
            rejected[False] += record.quarantined
    return rejected[True] > rejected[False]


def _first_reject(records: Sequence[ShardRecord], root: str) -> str:
    """Where the first row or passage was that could not be used, and why."""
    for record in records:
        if record.rejects is not None:
            for batch in read_input(root, record.rejects, ["detail"], rows=1):
                return batch["detail"][0].as_py()
    return ""


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

"""Computes the figures of a date from the results of its stages."""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from configs.errors import StoreError
from configs.schema import Config
from pipeline.store.manifest import DomainFigures, EngineFigures, Manifest, StageFlow
from stages.cores import usable_cores
from stages.histograms import sum_histograms
from stages.storage.records import ShardRecord, StageResult
from stages.storage.stage import Counts, StageKind
from stages.storage.stats import EngineStats, GeneratorStats


def busy_seconds(records: Iterable[ShardRecord], *, loading: bool = False) -> float:
    """Seconds in which at least one shard was running. Restarts and pauses between runs do not count.

    Args:
        records: of the shards.
        loading: whether the loading of models and engines, before a worker's first shard, counts too.
    """
    spans = []
    for stats in (record.stats for record in records):
        if stats.ended:
            before = stats.loading if loading else 0.0
            spans.append((stats.ended - stats.seconds - before, stats.ended))
    return union_seconds(spans)


def union_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals, each given as its start and end in seconds."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total


def summarise(config: Config, results: Sequence[StageResult]) -> dict[str, Any]:
    """The manifest's fields with figures, by name: rows, bytes, seconds and costs, per domain and in total.

    The seconds of stages do not include loading models and engines. That is `loading`, and part of the cost.

    Raises StoreError when a domain's counts do not balance: no row may be lost between stages.
    """
    records = [record for result in results for record in result.records]
    busy = busy_seconds(records, loading=True)  # shards that run at the same time share their cost
    work = {name: sum(r.stats.seconds for r in records if r.label == name) for name in config.domains}
    total_work = sum(work.values())
    domains = {
        name: _domain(config, results, name, busy * work[name] / total_work if total_work else 0.0)
        for name in config.domains
    }
    rejected: Counter[str] = Counter()
    for domain in domains.values():
        rejected.update(domain.rejected)
    passed_over: Counter[str] = Counter()
    canary: dict[str, float] = {}
    for result in results:
        for record in result.records:
            if result.kind.counts is Counts.SEEDS:
                passed_over.update(record.rejected)
            if result.name.round == result.name.wave == 1:
                canary |= record.stats.canary
    return {
        "accepted": sum(domain.accepted for domain in domains.values()),
        "bytes": sum(domain.shard_bytes for domain in domains.values()),
        "rejected": dict(rejected.most_common()),
        "quarantined": sum(domain.quarantined for domain in domains.values()),
        "seeds_passed_over": dict(passed_over.most_common()),
        "canary": canary,
        "domains": domains,
        "engines": engine_figures(results),
        "stages": {str(result.name): result.kind for result in results},
        "seconds": {"loading": round(busy - busy_seconds(records), 2)}
        | {str(result.name): round(busy_seconds(result.records), 2) for result in results},
        "cost": round(sum(domain.cost for domain in domains.values()), 6),
        "annotation_cost": round(sum(annotation_cost(config, domain) for domain in domains.values()), 2),
        "currency": config.price.currency,
        "machine": f"{platform.node()}: {usable_cores()} cores, {platform.machine()}",
    }


@dataclass(slots=True)
class RowCounts:
    """Candidates, tokens and bytes of some shards."""

    generated: int = 0
    accepted: int = 0
    quarantined: int = 0
    text_bytes: int = 0
    shard_bytes: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    def add(self, kind: StageKind, record: ShardRecord) -> None:
        """Counts one shard, by the kind of its stage."""
        if kind.creates_candidates:
            self.generated += record.rows_in
            self.prompt_tokens += record.stats.prompt_tokens
            self.output_tokens += record.stats.output_tokens
        if kind.publishes and record.kept:
            self.accepted += record.kept.rows
            self.text_bytes += record.stats.text_bytes
            self.shard_bytes += record.kept.bytes
        if kind.loses_candidates:
            self.quarantined += record.quarantined


def _domain(config: Config, results: Sequence[StageResult], name: str, seconds: float) -> DomainFigures:
    """The figures of one domain. `seconds`: its share of the machine time."""
    counts = RowCounts()
    rejected: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    generated: list[ShardRecord] = []
    published: list[ShardRecord] = []
    for result in results:
        for record in (record for record in result.records if record.label == name):
            counts.add(result.kind, record)
            if result.kind.creates_candidates:
                generated.append(record)
            if result.kind.publishes:
                published.append(record)
            if result.kind.loses_candidates:
                rejected.update(record.rejected)
                findings.update(record.stats.findings)
    if counts.generated != counts.accepted + rejected.total() + counts.quarantined:
        raise StoreError(
            f"domains.{name}: rows were lost between stages: {counts}, rejected {dict(rejected)}; this is a fault of "
            "gristmill: remove the folder `stages` of the date and run it again"
        )
    busy = busy_seconds(generated)
    return DomainFigures(
        generated=counts.generated,
        accepted=counts.accepted,
        quarantined=counts.quarantined,
        text_bytes=counts.text_bytes,
        shard_bytes=counts.shard_bytes,
        prompt_tokens=counts.prompt_tokens,
        output_tokens=counts.output_tokens,
        rejected=dict(rejected.most_common()),
        findings=dict(findings.most_common()),
        flow=flow(results, name),
        profile=sum_histograms(record.stats.histograms for record in published),
        tokens_per_second=round(counts.output_tokens / busy, 1) if busy else 0.0,
        cost=cost(config, seconds, counts.prompt_tokens, counts.output_tokens),
    )


def engine_figures(results: Sequence[StageResult]) -> EngineFigures | None:
    """The figures of the generator's engines and GPUs over all rounds; None if its backend has no engines."""
    records = [record for result in results if result.kind.creates_candidates for record in result.records]
    total = GeneratorStats()
    for record in records:
        total = total.plus(record.stats.generator)
    if not total.engines:
        return None
    engines = EngineStats()
    for engine in total.engines.values():
        engines = engines.plus(engine)
    busy, alive = busy_seconds(records), engines.generating + engines.waiting
    gpu, kv_cache = total.gpu, total.kv_cache
    return EngineFigures(
        tokens_per_second=round(engines.output_tokens / busy, 1) if busy else 0.0,
        waiting=round(engines.waiting / alive, 4) if alive else 0.0,
        gpu_utilisation=round(gpu.percent / gpu.samples / 100, 4) if gpu.samples else None,
        sm_activity=round(gpu.sm_percent / gpu.sm_samples / 100, 4) if gpu.sm_samples else None,
        gpu_watts=round(gpu.watts / gpu.samples, 1) if gpu.samples else None,
        kv_usage=round(kv_cache.usage / kv_cache.samples, 4) if kv_cache.samples else None,
        preemptions=round(engines.preemptions),
        restarts=round(engines.restarts),
        each={number: engine.rounded(2) for number, engine in total.engines.items()},
    )


def flow(results: Iterable[StageResult], domain: str) -> dict[str, StageFlow]:
    """A domain's rows through the stages, in order."""
    stages: dict[str, StageFlow] = {}
    for result in results:
        if result.kind.counts is Counts.NOTHING:
            continue
        records = [record for record in result.records if record.label == domain]
        rejected: Counter[str] = Counter()
        for record in records:
            rejected.update(record.rejected)
        quarantined = sum(record.quarantined for record in records)
        if result.kind.counts is Counts.LOSSES:  # its other input and output are not candidates
            rows_in, kept = quarantined, 0
        else:
            rows_in = sum(record.rows_in for record in records)
            kept = sum(record.kept.rows for record in records if record.kept)
        stages[str(result.name)] = StageFlow(
            rows_in=rows_in, kept=kept, rejected=dict(rejected.most_common()), quarantined=quarantined
        )
    return stages


def cost(config: Config, seconds: float, prompt_tokens: float, output_tokens: float) -> float:
    """The cost of machine time and of an online service's tokens, at the prices of the config."""
    price = config.price
    tokens = prompt_tokens * price.prompt_million + output_tokens * price.output_million
    return round(seconds / 3600 * price.machine_hour + tokens / 1e6, 6)


def annotation_cost(config: Config, domain: DomainFigures) -> float:
    """What people would charge to write the accepted tokens, which are estimated by the share of accepted rows."""
    tokens = domain.output_tokens * domain.accepted / max(domain.generated, 1)
    return tokens / 1000 * config.price.annotation_thousand


def prices(manifest: Manifest) -> str:
    """The cost of a date, per GB of accepted text, and of people for comparison. Empty if nothing has a price."""
    text, spent = manifest.text_bytes, manifest.cost
    if not spent or not text:
        return ""
    currency, people = manifest.currency, manifest.annotation_cost
    line = f"{spent:,.2f}" if spent >= 1 else f"{spent:.2g}"
    line += f" {currency}, {spent / text * 1e9:,.0f} {currency} a GB of accepted text"
    if people:
        line += f"; annotated by people {people:,.2f} {currency}, {people / spent:,.0f} times as much"
    return line


def size(count: float) -> str:
    """Formats a number of bytes for people: `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"

"""When an evolution is due: all of them together take no more than a share of the time in which dates generate."""

from dataclasses import dataclass
from pathlib import Path

from configs.errors import StoreError
from configs.schema import Config
from pipeline.report.summary import union_seconds
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from pipeline.store.registry import BY_HAND
from pipeline.store.registry_files import Registry
from stages.storage.records import StageResult

FOLDER = "evolve"  # of a data set: a folder for each date


@dataclass(frozen=True, slots=True)
class Pace:
    """What the last evolution took, and what dates have generated since. Times are seconds."""

    last: str  # the date that was judged last
    cost: float
    dates: int  # since then
    generated: float  # by them
    share: float  # evolve.max_cost_share

    @property
    def needed(self) -> float:
        """Seconds of generating after which an evolution is due."""
        return self.cost / self.share

    @property
    def is_due(self) -> bool:
        """Whether the dates have generated for so long."""
        return self.generated >= self.needed

    def __str__(self) -> str:
        text = (
            f"the last evolution, of {self.last}, took {self.cost:,.0f} s, and the next is due when dates have "
            f"generated for {self.needed:,.0f} s (evolve.max_cost_share); so far {self.generated:,.0f} s in "
            f"{self.dates}"
        )
        if self.generated:
            text += f", so some {(self.needed / self.generated - 1) * self.dates:.0f} more such dates"
        return text


def pace_of(config: Config, data: DataSet, registry: Registry, date: str) -> Pace | None:
    """How far a date's evolution is from being due; None if it is due in any case.

    It is in any case where nobody knows how long it will take: the first one, and one whose predecessor's folder was
    deleted. So is one that compares a new champion with the one before it: a bad champion must not stay.

    Args:
        config: it has a section `evolve`.
        data: the data set.
        registry: its registry.
        date: YYYY-MM-DD. Finished dates up to it count.

    Raises StoreError when the registry or a manifest is damaged.
    """
    assert config.evolve is not None
    share, last = config.evolve.max_cost_share, _last_evolved(registry, list(config.domains), date)
    if share is None or not last or any(registry.read(name).rejudgements_left for name in config.domains):
        return None
    since = data.finished(finished for finished in data.dates() if last < finished <= date)
    cost = evolution_seconds(data.root / FOLDER / last)
    return Pace(last, cost, len(since), sum(map(generating_seconds, since)), share)


def generating_seconds(manifest: Manifest) -> float:
    """Seconds that a date's stages took in which the generator wrote candidates, without loading it."""
    return sum(manifest.seconds.get(name, 0.0) for name, kind in manifest.stages.items() if kind.creates_candidates)


def evolution_seconds(folder: Path) -> float:
    """Seconds in which at least one shard of a date's evolution ran, loading models and engines included.

    `folder`: `evolve/<date>` of the data set. Stages that are gone, or that cannot be read, count nothing.
    """
    spans: list[tuple[float, float]] = []
    for stage in sorted((folder / "stages").glob("*/")):
        try:
            shards = [record.stats for record in StageResult.read(stage).records]
        except StoreError:
            continue
        spans += [(stats.ended - stats.seconds - stats.loading, stats.ended) for stats in shards if stats.ended]
    return union_seconds(spans)


def _last_evolved(registry: Registry, domains: list[str], date: str) -> str:
    """The newest date before this one with a verdict of the loop's in any of the domains; "" if there is none."""
    dates = [
        verdict.date
        for name in domains
        for verdict in registry.history(name)
        if verdict.date < date and verdict.kind not in (*BY_HAND, "base")
    ]
    return max(dates, default="")

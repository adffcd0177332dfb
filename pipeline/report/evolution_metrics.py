"""The metrics of the self-evolving loop, from the registry: champions, how good they are, and what was decided."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline.report.evolution import DomainEvolution, accept_rate, copy_rate, evolution
from pipeline.store.dataset import DataSet
from pipeline.store.registry import Status

FOLDER = "registry"
Files = dict[str, tuple[int, int]]


class EvolutionMetrics:
    """Reads a data set's registry for metrics, and again only after a file of it has changed."""

    def __init__(self, data: DataSet, config: str) -> None:
        self._data, self._config = data, config
        self._files: Files | None = None
        self._domains: dict[str, DomainEvolution] = {}

    def collect(self) -> Iterator[Metric]:
        """The metrics; none before the first verdict. A domain whose registry is damaged has none either."""
        files = _files(self._data.root / FOLDER)
        if files != self._files:
            self._domains, _ = evolution(self._data)
            self._files = files
        if self._domains:
            yield from self._champions()
            yield from self._verdicts()

    def _champions(self) -> Iterator[Metric]:
        rounds = self._gauge(
            "champion_round", "Candidates that the champion's training rests on; 0: the base model.", ()
        )
        info = self._gauge("champion_info", "Always 1; who writes the next date's rows.", ("champion", "parent"))
        accepted = self._gauge("evolve_accepted_ratio", f"Share of answers that every filter kept. {_SAME}", _GENERATOR)
        copies = self._gauge("evolve_copies_ratio", f"Share of answers dropped as copies. {_SAME}", _GENERATOR)
        frozen = self._gauge("evolve_frozen", "1 while no candidates are made, else 0.", ())
        for name, domain in self._domains.items():
            champion, parents = domain.champion, domain.parents
            rounds.add_metric((self._config, name), champion.round)
            info.add_metric((self._config, name, champion.id, parents[-1] if parents else ""), 1)
            frozen.add_metric((self._config, name), float(bool(domain.registry.frozen)))
            if compared := domain.comparison():
                for generator, arm in (("base", compared.base), ("champion", compared.champion)):
                    for family, share in ((accepted, accept_rate(arm)), (copies, copy_rate(arm))):
                        if share is not None:
                            family.add_metric((self._config, name, generator), share)
        yield from (rounds, info, accepted, copies, frozen)

    def _verdicts(self) -> Iterator[Metric]:
        text = "1 for how the newest verdict ended."
        status = self._gauge("evolve_last_verdict", text, ("status",))
        text = "When a candidate was last promoted or refused; before the first one, when the first verdict was made."
        judged = self._gauge("evolve_last_judged_timestamp_seconds", text, ())
        total = CounterMetricFamily("gristmill_evolve_verdicts", "Verdicts.", labels=("config", "domain", "status"))
        for name, domain in self._domains.items():
            counts = Counter(verdict.status for verdict in domain.history)
            for each in get_args(Status):
                status.add_metric((self._config, name, each), float(bool(domain.last and domain.last.status == each)))
                total.add_metric((self._config, name, each), counts[each])
            if verdict := domain.last_judged or next(iter(domain.history), None):
                judged.add_metric((self._config, name), datetime.fromisoformat(verdict.decided).timestamp())
        yield from (status, judged, total)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"gristmill_{name}", text, labels=("config", "domain", *labels))


_SAME = "Base model and champion wrote about the same passages."
_GENERATOR = ("generator",)


def _files(folder: Path) -> Files:
    """By which it is seen whether a file of the registry has changed. One that disappears meanwhile is left out."""
    files: Files = {}
    for path in (*folder.glob("*.json"), *folder.glob("history/*/*.json")):
        with suppress(OSError):
            stat = path.stat()
            files[str(path)] = stat.st_ino, stat.st_mtime_ns
    return files

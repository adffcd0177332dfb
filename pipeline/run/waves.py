"""What the waves of a date have made so far, from the results of their stages."""

from collections.abc import Iterable, Iterator

from pipeline.report.summary import busy_seconds
from pipeline.run.allocation import DomainYield, Slice, passages
from pipeline.run.empty import lost_as_duplicates
from stages.evolve.collect import JudgedFiles
from stages.storage.records import FileRef, ShardRecord, StageResult


class Waves:
    """What the waves of a date have made so far: accepted rows, judged answers and used passages by domain."""

    def __init__(self, domains: Iterable[str]) -> None:
        names = list(domains)
        self.accepted: dict[str, list[FileRef]] = {name: [] for name in names}
        self.yields = {name: DomainYield() for name in names}
        self.judged: dict[str, list[JudgedFiles]] = {name: [] for name in names}
        self.passages: dict[str, list[Slice]] = {name: [] for name in names}
        self.index: list[FileRef] = []  # dedup keys of the accepted rows
        self.results: list[StageResult] = []
        self._generating: list[ShardRecord] = []  # of generate and screen, whose time is limited

    def add(
        self,
        chosen: dict[str, list[Slice]],
        generated: StageResult,
        screened: StageResult,
        signed: StageResult,
        unique: StageResult,
    ) -> None:
        """Takes in a wave: its passages, and the results of its stages."""
        self.index += [record.sides["index"] for record in unique.records if "index" in record.sides]
        for domain, ref in unique.kept_files:
            if ref.rows:
                self.accepted[domain].append(ref)
        for domain, slices in chosen.items():
            self.passages[domain] += slices
            self.yields[domain].passages += passages(slices)
        for domain, files in _judged_files(generated, screened, signed, unique):
            self.judged[domain].append(files)
        for record in unique.records:
            self.yields[record.label].text_bytes += record.stats.text_bytes
        self._generating += [*generated.records, *screened.records]
        self.results += [generated, screened, signed, unique]

    @property
    def busy_seconds(self) -> float:
        """How long the waves have generated and screened."""
        return busy_seconds(self._generating)

    @property
    def productive(self) -> dict[str, list[Slice]]:
        """The passages without those of domains that made no row, unless most rows were duplicates."""
        return {
            name: slices if self.accepted[name] or lost_as_duplicates(self.results, name) else []
            for name, slices in self.passages.items()
        }


def _judged_files(
    generated: StageResult, screened: StageResult, signed: StageResult, unique: StageResult
) -> Iterator[tuple[str, JudgedFiles]]:
    """For each shard of candidates that was not quarantined on its way: its domain, and the files of all stages."""
    signs, drops = iter(signed.records), iter(unique.records)
    for (domain, candidates), screen_record in zip(generated.kept_files, screened.records, strict=True):
        if screen_record.kept is None:
            continue
        drop = next(drops) if next(signs).kept is not None else None
        if drop is not None and drop.kept is not None:
            scores = screen_record.sides.get("scores")
            yield domain, JudgedFiles(candidates, scores, screen_record.rejects, drop.rejects)

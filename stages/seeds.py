"""Seeds: reads a source file's passages for one date, in random order, without those that other dates used."""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from configs.catalogue import corpora
from configs.errors import ConfigError
from configs.schema import Config
from stages.record import Seed, content_id
from stages.sources.formats import READER_VERSIONS, reader_name
from stages.sources.listing import SourceFile
from stages.sources.opening import without_secrets
from stages.sources.parts import parts_of
from stages.sources.seed_source import Dropped, read_seeds, source_listing
from stages.storage.inputs import read_input, read_rows
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

USED = pa.schema([("domain", pa.string()), ("id", pa.string())])


@dataclass(frozen=True, slots=True)
class DomainFile:
    """One file of one source of a domain, or one part of a large file. One shard reads one of them."""

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
            "source": domain.seeds[self.place].model_dump(mode="json", by_alias=True, exclude={"path", "weight"}),
            "name": self.file.name,
            "sha256": self.sha256,
            "passages": domain.passages.model_dump(),
            "limit": domain.per_day,
        } | self._reading(config)

    def _reading(self, config: Config) -> dict[str, Any]:
        """Which rows of the file are read, and how, where that is not as it always was."""
        source, file = config.domains[self.domain].seeds[self.place], self.file
        part = {"part": [file.start, file.stop, file.rows_before]} if file.stop else {}
        version = None if source.corpus else READER_VERSIONS.get(reader_name(file.url) or "")
        return part | ({"reader": version} if version else {})


@dataclass(frozen=True, slots=True)
class SourceList:
    """The files that a date reads, and what it passes over, for the user."""

    files: list[DomainFile]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """As stored in a run folder: without the secrets of signed URLs, which nobody needs who has the passages."""
        files = [replace(file, file=replace(file.file, url=without_secrets(file.file.url))) for file in self.files]
        return {"files": [file.to_json() for file in files], "notes": self.notes}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "SourceList":
        """The inverse of `to_json`. Raises KeyError or TypeError for other values."""
        files = [DomainFile(**file | {"file": SourceFile(**file["file"])}) for file in value["files"]]
        return cls(files, list(value["notes"]))


def list_sources(config: Config) -> SourceList:
    """All files of all sources, each with its hash, and notes on what is passed over.

    Raises ConfigError or InputError, which name the key of the config.
    """
    files: list[DomainFile] = []
    notes: list[str] = []
    for name, domain in config.domains.items():
        for place, source in enumerate(domain.seeds):
            where = f"domains.{name}.seeds[{place}]"
            listing = source_listing(source, where, config.out)  # names an unknown corpus
            if note := listing.note():
                notes.append(f"{where}: passed over {note}")
            language = corpora()[source.corpus].language if source.corpus else source.language or "en"
            if language not in domain.languages:
                raise ConfigError(
                    f"{where}: the language of its texts is {language!r}, which is not in domains.{name}.languages "
                    f"({', '.join(domain.languages)}); add it there, or remove the source"
                )
            for file in listing.files:
                if source.corpus:
                    files.append(DomainFile(name, place, file, corpora()[source.corpus].wheel.sha256))
                else:
                    files += [DomainFile(name, place, *part) for part in parts_of(file, source.encoding)]
    return SourceList(files, notes)


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
        chosen: dict[int, Seed] = {}  # those with the `limit` lowest orders so far
        heap: list[int] = []  # their orders, negative: the highest order comes first
        for order, seed in self._unused(DomainFile(**source), used, out):
            if order in chosen:
                duplicates += 1
                continue
            if len(chosen) == limit:
                spare += 1
                if not limit or order > -heap[0]:
                    continue
                del chosen[-heapq.heapreplace(heap, -order)]
            else:
                heapq.heappush(heap, -order)
            chosen[order] = seed
        counts = {"spare": spare, "duplicate": duplicates}  # spare: left for other dates
        out.rejected |= {reason: rows for reason, rows in counts.items() if rows}
        out.keep_rows([chosen[order] for order in sorted(chosen)])

    def _unused(self, source: DomainFile, used: set[str], out: ShardWriter) -> Iterator[tuple[int, Seed]]:
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
                yield int(content_id(str(self._config.seed), seed.id), 16), seed


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
        "detail": f"{dropped.source} {dropped.location}: {dropped.detail}".removesuffix(": "),
        "text": dropped.text,
    }

"""Passages: reads the real passages of a domain for the loop, by what their documents are for.

Kept rows are those that generators are asked about; the other roles are files beside them. Every date draws others.
"""

import heapq
import json
from collections.abc import Callable, Iterator

import pyarrow as pa

from configs.schema import Config
from stages.evolve.roles import Role, role_of
from stages.record import SEED, Seed, content_id
from stages.seeds import DomainFile
from stages.sources.listing import SourceFile
from stages.sources.seed_source import Dropped, read_seeds
from stages.storage.inputs import read_rows
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter, to_table

ROLES: tuple[Role, ...] = ("probe", "core", "held-out", "vault", "train")
SIDES = ROLES[1:]  # a role's file beside the kept rows, which are the probes
MIN_CHARS = 80  # of a passage: shorter ones say nothing of a text's likelihood


class ReadPassages:
    """Payload: `source`, a DomainFile; `limits`, the most passages of each role; `date`, which orders them.

    `identify` returns a text's language, or None if it is not sure. Passages of the role train are real text that
    candidates learn beside accepted answers.
    """

    kind = StageKind("passages", Counts.SEEDS, vital=True)

    def __init__(self, config: Config, identify: Callable[[str], str | None]) -> None:
        self._config = config
        self._identify = identify

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        source = DomainFile(**payload["source"] | {"file": SourceFile(**payload["source"]["file"])})
        limits: dict[Role, int] = payload["limits"]
        lowest: dict[Role, list[tuple[int, Seed]]] = {role: [] for role in limits}  # heaps, the highest order first
        for order, role, seed in self._ordered(source, payload["date"], out):
            heap = lowest[role]
            if len(heap) < limits[role]:
                heapq.heappush(heap, (-order, seed))
            elif heap and -order > heap[0][0]:
                heapq.heapreplace(heap, (-order, seed))
        rows = {role: [seed for _, seed in sorted(heap, key=lambda item: -item[0])] for role, heap in lowest.items()}
        out.rejected |= {"spare": out.rows_in - sum(out.rejected.values()) - len(rows["probe"])}
        out.keep_rows(rows["probe"])
        for role in SIDES:
            if rows[role]:
                out.side(role, to_table(rows[role], SEED))

    def _ordered(self, source: DomainFile, date: str, out: ShardWriter) -> Iterator[tuple[int, Role, Seed]]:
        """The passages with their place in the order of the date, without duplicates."""
        domain = self._config.domains[source.domain]
        share = self._config.evolve.measured_share if self._config.evolve else 0.0
        known: set[int] = set()
        for seed in read_seeds(domain.seeds[source.place], source.file, source.domain, domain.passages, self._identify):
            out.rows_in += 1
            out.report_progress(out.rows_in)
            order = 0 if isinstance(seed, Dropped) else int(content_id(date, seed.id), 16)
            if isinstance(seed, Dropped) or order in known or len(seed.text) < MIN_CHARS:
                continue
            known.add(order)
            yield order, role_of(seed.document_id, share), seed


class GatherPassages:
    """Payload: `slices`, by role [[file ref, start, stop], …] of what `ReadPassages` wrote. One file of each role.

    A text may be in several files, in documents of several roles. It gets the first of them in the order of ROLES,
    and once: nothing is trained on what is measured, and no part of the measurement has a passage of another.
    """

    kind = StageKind("gathered", vital=True, shown=False)

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        slices, known = json.loads(spec.payload)["slices"], set[str]()
        for role in ROLES:
            for ref, start, stop in slices.get(role, ()):
                for batch in read_rows(spec.root, FileRef(*ref), start, stop):
                    ids = batch["id"].to_pylist()  # of one file: none of them twice
                    fresh = batch.filter(pa.array([identity not in known for identity in ids], pa.bool_()))
                    known.update(ids)
                    if role == ROLES[0]:
                        out.rows_in += fresh.num_rows
                        out.keep(fresh)
                    elif fresh.num_rows:
                        out.side(role, pa.Table.from_batches([fresh]))

"""Samples rows and rejects from files of any size, in bounded memory. The same files always give the same sample.

Ids are hashes, so the rows with the smallest ids are a random sample (bottom-k sampling, Cohen and Kaplan, PODC 2007).
The first pass reads only ids, one row group at a time; the second reads the row groups with the chosen rows.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from configs.errors import StoreError
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import inside, reading
from pipeline.store.manifest import Manifest
from pipeline.store.run_record import RunRecord
from stages.record import content_id
from stages.storage.records import StageResult
from stages.storage.shard import is_kept_file
from stages.storage.stage import StageKind, StageName

pc: Any = pyarrow.compute  # its functions are created at import, where type checkers do not see them

MAX_GROUPS = 200  # a filter of the user may give each row a different reason


class Place(NamedTuple):
    """The position of a row in a file. Places sort by rank: the row's id, or a hash of it."""

    rank: str
    id: str
    path: str
    group: int
    row: int


def smallest(
    paths: Iterable[Path], by: Sequence[str], count: int, salt: str = ""
) -> dict[tuple[str, ...], list[Place]]:
    """The `count` rows with the smallest ids of each combination of values of the string columns `by`.

    With a `salt`, those whose ids have the smallest hashes with it: another random sample for each salt. At most
    MAX_GROUPS combinations are returned; those that come later in the files are left out.
    """
    places_by_key: dict[tuple[str, ...], list[Place]] = {}
    for path in paths:
        with reading(path), pq.ParquetFile(path) as source:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group, ["id", *by])
                ids = table["id"].to_pylist()
                ranks = [content_id(salt, row_id) for row_id in ids] if salt else ids
                table = table.append_column("rank", pa.array(ranks, pa.string()))
                table = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
                for values in table.group_by(list(by)).aggregate([]).to_pylist():
                    key = tuple(values[name] for name in by)
                    if key not in places_by_key and len(places_by_key) >= MAX_GROUPS:
                        continue
                    part = table
                    for name in by:
                        part = part.filter(pc.equal(part[name], values[name]))
                    part = part.take(pc.select_k_unstable(part, count, sort_keys=[("rank", "ascending")]))
                    places = [Place(row["rank"], row["id"], str(path), group, row["row"]) for row in part.to_pylist()]
                    places_by_key[key] = nsmallest(count, [*places_by_key.get(key, []), *places])
    return places_by_key


def count_rows(paths: Iterable[Path], by: Sequence[str]) -> Counter[tuple[str, ...]]:
    """The number of rows of each combination of values of the string columns `by`."""
    rows: Counter[tuple[str, ...]] = Counter()
    for path in paths:
        with reading(path), pq.ParquetFile(path) as source:
            for group in range(source.num_row_groups):
                counted = source.read_row_group(group, list(by)).group_by(list(by)).aggregate([([], "count_all")])
                for values in counted.to_pylist():
                    rows[tuple(values[name] for name in by)] += values["count_all"]
    return rows


def rows_with_ids(paths: Iterable[Path], ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The rows with these ids, by id. Of each file only ids are read, and the row groups that have one of the rows."""
    wanted = pa.array(ids, pa.string())
    rows: dict[str, dict[str, Any]] = {}
    for path in paths:
        with reading(path), pq.ParquetFile(path) as source:
            for group in range(source.num_row_groups):
                hit = pc.is_in(source.read_row_group(group, ["id"])["id"], wanted)
                if pc.any(hit).as_py():
                    rows |= {row["id"]: row for row in source.read_row_group(group).filter(hit).to_pylist()}
    return rows


def fetch(places: Iterable[Place]) -> dict[Place, dict[str, Any]]:
    """Reads the rows at these places; each row group is read once."""
    places_by_group: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for place in places:
        places_by_group[place.path, place.group].append(place)
    rows: dict[Place, dict[str, Any]] = {}
    for (path, group), group_places in sorted(places_by_group.items()):
        with reading(Path(path)), pq.ParquetFile(path) as source:
            table = source.read_row_group(group)
            taken = table.take([place.row for place in group_places]).to_pylist()
            rows |= dict(zip(group_places, taken, strict=True))
    return rows


def sample_rows(data: DataSet, manifest: Manifest, count: int) -> list[dict[str, Any]]:
    """Samples published rows, taking the domains in turn. Raises StoreError if a shard is missing or damaged."""
    paths = [inside(data, shard.file) for shard in manifest.shards]
    chosen = [places for _, places in sorted(smallest(paths, ["domain"], count).items())]
    sampled = [places[turn] for turn in range(count) for places in chosen if turn < len(places)][:count]
    rows = fetch(sampled)
    return [rows[place] for place in sampled]


def sample_rejects(data: DataSet, manifest: Manifest, count: int) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Samples rejected rows by domain and reason, masked as in the rejects files. Empty if the run folder was deleted.

    The text of rows that the generate stage rejected is left out, because no filter has masked it.
    """
    places = smallest(rejects_files(data, manifest), ["domain", "reason"], count)
    rows = fetch(place for chosen in places.values() for place in chosen)
    unscreened = {stage for stage, kind in manifest.stages.items() if kind.creates_candidates}
    return {
        (domain, reason): [
            rows[place] | ({"text": None} if rows[place]["stage"] in unscreened else {}) for place in chosen
        ]
        for (domain, reason), chosen in places.items()
    }


def rejects_files(
    data: DataSet, manifest: Manifest, of_stage: Callable[[StageKind], bool] = lambda kind: kind.loses_candidates
) -> list[Path]:
    """The rejects files that the date's run committed, of the stages that candidates go through, or of some stages."""
    folder = data.run_folder(manifest.date)
    try:
        record = RunRecord.read(folder)
    except StoreError:
        return []
    if record is None or record.run_id != manifest.run_id:
        return []  # the run folder was deleted, or the date is being run again with another configuration
    paths = []
    for stage, kind in manifest.stages.items():
        if not of_stage(kind):
            continue
        try:
            result = StageResult.read(folder / "stages" / stage)
        except StoreError:
            continue
        paths += [inside(data, record.rejects.file) for record in result.records if record.rejects]
    return [path for path in paths if path.exists()]


def seed_locations(data: DataSet, date: str, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The id and location of these seeds, by id. Empty if the run folder was deleted."""
    seeds: dict[str, dict[str, str]] = {}
    for path in sorted((data.run_folder(date) / "stages" / str(StageName("seeds"))).glob("part-*.parquet")):
        if not is_kept_file(path.name):
            continue
        with (
            reading(path, "remove it and its .json file; the report does not need them"),
            pq.ParquetFile(path) as source,
        ):
            for batch in source.iter_batches(columns=["id", "location"]):
                matches = batch.filter(pc.is_in(batch["id"], pa.array(ids, pa.string())))
                seeds |= {row["id"]: row for row in matches.to_pylist()}
    return seeds

"""`gristmill filter explain`: a row through the filters of its run once more, each one with its score and limits."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from configs.errors import InputError
from configs.load import load
from configs.schema import Config
from pipeline.report.verdicts import open_filters, verdicts
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import MIN_ID_DIGITS, generating_stages, reading
from stages.dedup.keys import KEY, keys
from stages.dedup.semantic import cosine
from stages.record import Candidate
from stages.storage.shard import is_kept_file

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none


@dataclass(frozen=True, slots=True)
class LocatedCandidate:
    """A candidate, the date and stage it was made in, and where the run ended it."""

    row: Candidate
    date: str
    stage: str
    ended: str


def explain(out: str, row_id: str, *, as_json: bool) -> int:
    """Prints what the filters say. Raises InputError when no run folder holds the row, ConfigError as the run would."""
    data = DataSet.open(out)
    located = _find(data, row_id)
    config = load(str(data.run_folder(located.date) / "config.yaml"), [])
    explanation = {
        "id": located.row.id,
        "date": located.date,
        "made_in": located.stage,
        "ended": located.ended,
        "text": located.row.text,
        "filters": [verdict.to_json() for verdict in verdicts(open_filters(config), located.row)],
        "nearest": nearest(data, config, located),
    }
    if as_json:
        print(json.dumps(explanation, ensure_ascii=False, default=str))
    else:
        _print(explanation)
    return 0


def _find(data: DataSet, row_id: str) -> LocatedCandidate:
    if len(row_id) < MIN_ID_DIGITS or not all(c in "0123456789abcdef" for c in row_id):
        raise InputError(f"{row_id!r}: no row's id; the first {MIN_ID_DIGITS} digits or more, of the column `id`")
    for folder in sorted(data.root.glob("runs/*/stages"), reverse=True):
        for stage in generating_stages(folder):
            for row in _rows(stage, row_id):
                return LocatedCandidate(Candidate(**row), folder.parent.name, stage.name, _end(data, folder, row["id"]))
    raise InputError(
        f"{row_id}: no candidate of {data.root}/runs begins so; rows can be explained while their run folder is there"
    )


def _end(data: DataSet, folder: Path, row_id: str) -> str:
    for path in sorted(folder.glob("*/part-*.rejects.parquet")):
        for row in _matching(path, row_id):
            detail = f" ({row['detail']})" if row["detail"] else ""
            return f"dropped by {row['stage']}: {row['reason']}{detail}"
    manifest = data.manifest(folder.parent.name)
    if manifest is None:
        return "its date is not finished"
    return f"published on {manifest.date}"


def _rows(folder: Path, row_id: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("part-*.parquet")):
        if is_kept_file(path.name):
            yield from _matching(path, row_id)


def _matching(path: Path, row_id: str) -> Iterator[dict[str, Any]]:
    with reading(path, "remove it and its .json, and run the date again"), pq.ParquetFile(path) as source:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            yield from table.filter(pc.starts_with(table["id"], row_id)).to_pylist()


def nearest(data: DataSet, config: Config, located: LocatedCandidate) -> dict[str, Any] | None:
    """The row of this or a finished date that shares most keys with this one, if one does.

    `cosine` is their sketches', where they share a semantic key.
    """
    row, options = located.row, config.dedup
    run = data.run_folder(located.date) / "stages"
    signs = sorted(run.glob("*dedup-sign/part-*.parquet"))
    own = _sketched(signs, row.id)
    mine = [*keys(row.reply, options), *own]
    shared: Counter[str] = Counter()
    cosines: dict[str, float] = {}
    for path in sorted([*signs, *data.root.glob("index/date=*/*.parquet")]):
        seen: set[tuple[str, int]] = set()
        for hit in _hits(path, "key", mine):
            if hit["id"] != row.id:
                seen.add((hit["id"], hit["key"]))
                if hit.get("sketch") and hit["key"] in own:
                    cosines[hit["id"]] = cosine(own[hit["key"]], hit["sketch"])
        shared |= Counter(identity for identity, _ in seen)
    if not shared:
        return None
    identity, count = min(shared.items(), key=lambda item: (-item[1], item[0]))
    explanation = {"id": identity, "shared_keys": count, "keys": len(mine)}
    return explanation | ({"cosine": round(cosines[identity], 4)} if identity in cosines else {})


def _sketched(signs: list[Path], row_id: str) -> dict[int, bytes]:
    """A row's semantic keys, and its sketch."""
    rows = (hit for path in signs for hit in _hits(path, "id", [row_id]))
    return {hit["key"]: hit["sketch"] for hit in rows if hit.get("sketch")}


def _hits(path: Path, column: str, values: list[Any]) -> Iterator[dict[str, Any]]:
    """The rows of a file of keys with one of these values; files from before there were sketches have none."""
    with reading(path), pq.ParquetFile(path) as source:
        wanted = pa.array(values, KEY.field(column).type)
        for batch in source.iter_batches(columns=["key", "id", "sketch"]):
            yield from batch.filter(pc.is_in(batch[column], wanted)).to_pylist()


def _print(explanation: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from pipeline.report.control_characters import without_control_characters

    console = Console(highlight=False)
    console.print(
        Text(f"{explanation['id']}  {explanation['made_in']} of {explanation['date']}  {explanation['ended']}"),
        soft_wrap=True,
    )
    console.print(Padding(Text(without_control_characters(explanation["text"])), (1, 2)))
    table = Table("filter", "verdict", "score", "limits", "detail")
    for row in explanation["filters"]:
        score = "" if row.get("score") is None else f"{row['score']:.3f}"
        limits = ", ".join(f"{key} {value}" for key, value in row.get("limits", {}).items() if value not in (None, ""))
        detail = ", ".join([row["detail"], *row.get("found", [])] if row["detail"] else row.get("found", []))
        table.add_row(row["filter"], row["verdict"], score, Text(limits), Text(without_control_characters(detail)))
    console.print(table)
    for row in explanation["filters"]:
        for sentence in row.get("sentences", []):
            console.print(
                Text(without_control_characters(f"{row['filter']} {sentence['change']:+.3f}  {sentence['sentence']}"))
            )
    near = explanation["nearest"]
    console.print(
        Text(
            f"nearest   {near['id']}, which shares {near['shared_keys']} of {near['keys']} keys"
            + (f", cosine {near['cosine']}" if "cosine" in near else "")
            if near
            else "nearest   none shares a key"
        )
    )

"""The lineage of a published row: its prompt, its passage, and the document that the passage is from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from configs.errors import InputError, StoreError
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from pipeline.store.registry_files import Registry
from stages.storage import snapshot
from stages.storage.plan import StagePlan
from stages.storage.shard import is_kept_file
from stages.storage.stage import StageName

pc: Any = pyarrow.compute  # its functions are created at import: type checkers see none

MIN_ID_DIGITS = 8  # of a row's id


@contextmanager
def reading(path: Path, fix: str = "run the date again with --force") -> Iterator[None]:
    """Turns errors of reading a missing or damaged file into a StoreError that names the file and the fix."""
    try:
        yield
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; {fix}") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        cause = str(error).splitlines()[0] if str(error) else repr(error)
        raise StoreError(f"{path}: damaged ({cause}); {fix}") from None


def inside(data: DataSet, file: str) -> Path:
    """The path of a file that a manifest names. Raises StoreError when it is outside of the data set."""
    path = (data.root / file).resolve()
    if not path.is_relative_to(data.root.resolve()):
        raise StoreError(
            f"{file}: a manifest names this file, which is outside of {data.root}; gristmill writes no such manifest: "
            "restore it, or do not use this data set"
        )
    return path


def lineage(data: DataSet, row_id: str, dates: Sequence[str] | None = None) -> dict[str, Any]:
    """Row, shard, prompt, seed, generator, adapter, champion and scores of a published row.

    `row_id`: the row's id or its first digits, at least MIN_ID_DIGITS. `dates`: the dates to look in; None means all.
    What only the run folder has (passage, prompt, raw answer) is left out once that folder is removed. Raises
    InputError when no row has such an id, StoreError when a file is missing or damaged.
    """
    if len(row_id) < MIN_ID_DIGITS or not all(c in "0123456789abcdef" for c in row_id):
        raise InputError(
            f"{row_id!r}: neither a finished date of {data.root} ({_dates(data)}) nor a row's id: give at "
            f"least {MIN_ID_DIGITS} of its hex digits"
        )
    snapshot_dates = snapshot.read(data.root) or {}
    for manifest in data.finished(reversed(data.dates() if dates is None else dates)):
        entry = snapshot_dates.get(manifest.date)
        files = [shard["file"] for shard in entry["shards"]] if entry else [shard.file for shard in manifest.shards]
        for shard, file in zip(manifest.shards, files, strict=False):
            path = inside(data, file)
            with reading(path):
                row = next(_rows(path, "id", row_id), None)
            if row is not None:
                return _trace(data, manifest, shard.model_dump() | {"file": file}, row)
    raise InputError(
        f"{row_id}: no row of {data.root} has an id that starts with it; see the column `id` of the shards"
    )


def _trace(data: DataSet, manifest: Manifest, shard: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    stages = data.run_folder(manifest.date) / "stages"
    trace: dict[str, Any] = {"row": row, "shard": shard, "run": manifest.run_id}
    for stage in generating_stages(stages):
        for candidate in _in_stage(stage, "id", row["id"]):
            trace |= {"prompt_passage": candidate["passage"], "raw_answer": candidate["answer"], "stage": stage.name}
    for seed in _in_stage(stages / str(StageName("seeds")), "id", row["seed_id"]):
        trace["seed"] = seed
    if row["adapter"]:
        adapter = next((result for result in manifest.adapters if result.name == row["adapter"]), None)
        trace["adapter"] = adapter and adapter.model_dump()
        trace |= _champion(data, manifest.date, row["adapter"])
    trace["generator"] = asdict(manifest.generator)
    return trace


def _champion(data: DataSet, date: str, adapter: str) -> dict[str, Any]:
    """The variant that the adapter `domain@sha256` belongs to, with the verdict on it; {} if no registry knows it."""
    try:
        verdict = Registry(data.root).variant_by_adapter(adapter.rpartition("@")[2], before=date)
    except StoreError as error:  # the rest of the lineage is not lost with it
        return {"champion": {"error": str(error)}}
    variant = verdict and verdict.challenger
    if not (verdict and variant and variant.adapter):
        return {}
    champion: dict[str, Any] = {
        "variant": variant.id,
        "round": variant.round,
        "verdict": f"{verdict.number} of {verdict.domain}, {verdict.date}: {verdict.status}",
        "reason": verdict.reason,
        "before": verdict.champion.id,
    }
    changes = {"task_weights": variant.task_weights, "prompts": variant.prompts}
    champion |= {name: value for name, value in changes.items() if value}
    return {"adapter": variant.adapter.model_dump(), "champion": champion}


def generating_stages(stages: Path) -> list[Path]:
    """The folders of a run's stages that create candidates."""
    folders = []
    for folder in sorted(stages.glob("*")):
        with suppress(OSError, ValueError):
            if StagePlan.read(folder).kind.creates_candidates:
                folders.append(folder)
    return folders


def _in_stage(folder: Path, column: str, value: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("part-*.parquet")):
        if is_kept_file(path.name):
            with reading(path, f"remove it and {path.name}.json: lineage is then shown without what they recorded"):
                rows = list(_rows(path, column, value))
            yield from rows


def _rows(path: Path, column: str, prefix: str) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as source:
        for group in range(source.num_row_groups):
            hit = pc.starts_with(source.read_row_group(group, [column])[column], prefix)
            if pc.any(hit).as_py():
                yield from source.read_row_group(group).filter(hit).to_pylist()


def _dates(data: DataSet) -> str:
    dates = data.dates()
    return f"{dates[0]} to {dates[-1]}" if dates else "there are none"

"""`gristmill show`: a finished date's manifest, or one row back to the document that it came from."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from configs.errors import InputError, StoreError
from pipeline.store.dataset import DataSet
from stages.storage import snapshot
from stages.storage.records import stage_kind

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

SHORTEST = 8


@contextmanager
def reading(path: Path, mend: str = "run the date again with --force") -> Iterator[None]:
    """Raises StoreError, naming the file and the mend, when it is missing or damaged."""
    try:
        yield
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; {mend}") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path}: damaged ({str(error).splitlines()[0] if str(error) else error!r}); {mend}") from None


def inside(data: DataSet, file: str) -> Path:
    """A file that a manifest names. Raises StoreError when it lies outside of the data set."""
    path = (data.root / file).resolve()
    if not path.is_relative_to(data.root.resolve()):
        raise StoreError(f"{file}: a manifest names it, and it lies outside of {data.root}")
    return path


def show(data: DataSet, what: str, *, as_json: bool) -> int:
    """Prints a date or a row's lineage. Raises InputError when there is neither."""
    manifest = data.manifest(what) if _is_date(what) else None
    if manifest is not None and not as_json:
        from pipeline.report.summary import show as show_manifest

        show_manifest(manifest, str(data.root), [])
        return 0
    found = manifest if manifest is not None else lineage(data, what)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, default=str))
    else:
        _print(found)
    return 0


def lineage(data: DataSet, row_id: str, dates: Sequence[str] | None = None) -> dict[str, Any]:
    """Row, shard, prompt, seed, generator, adapter and scores of a published row; `dates` says where to look for it.

    What lies in the run folder (passage, prompt, raw answer) is left out once that folder is gone.
    """
    if len(row_id) < SHORTEST or not all(c in "0123456789abcdef" for c in row_id):
        raise InputError(f"{row_id!r}: neither a finished date of {data.root} ({_dates(data)}) nor a row's id")
    now = snapshot.read(data.root) or {}
    for date in reversed(data.dates() if dates is None else dates):
        manifest = data.manifest(date) or {}
        for shard in now.get(date, manifest).get("shards", []):
            path = inside(data, shard["file"])
            with reading(path):
                row = next(_rows(path, "id", row_id), None)
            if row is not None:
                return _trace(data, manifest, shard, row)
    raise InputError(f"{row_id}: no row of {data.root} begins so; ids stand in the shards' column `id`")


def _trace(data: DataSet, manifest: dict[str, Any], shard: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    stages = data.run_folder(manifest["date"]) / "stages"
    found: dict[str, Any] = {"row": row, "shard": shard, "run": manifest["run_id"]}
    for stage in sorted(path for path in stages.glob("*") if stage_kind(path.name) == "generate"):
        for candidate in _in_stage(stage, "id", row["id"]):
            found |= {"prompt_passage": candidate["passage"], "raw_answer": candidate["answer"], "stage": stage.name}
    for seed in _in_stage(stages / "seeds", "id", row["seed_id"]):
        found["seed"] = seed
    if row["adapter"]:
        found["adapter"] = next((a for a in manifest["adapters"] if a["name"] == row["adapter"]), None)
    found["generator"] = manifest["generator"]
    return found


def _in_stage(folder: Path, column: str, value: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("part-*.parquet")):
        if path.name.count(".") == 1:  # not a shard's rejects or index
            with reading(path, f"remove it and {path.name}.json: the lineage is shown without it"):
                found = list(_rows(path, column, value))
            yield from found


def _rows(path: Path, column: str, prefix: str) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as source:
        for group in range(source.num_row_groups):
            hit = pc.starts_with(source.read_row_group(group, [column])[column], prefix)
            if pc.any(hit).as_py():
                yield from source.read_row_group(group).filter(hit).to_pylist()


def _is_date(text: str) -> bool:
    return len(text) == 10 and text[4] == text[7] == "-"


def _dates(data: DataSet) -> str:
    dates = data.dates()
    return f"{dates[0]} to {dates[-1]}" if dates else "it has none"


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from pipeline.report.terminal import shown

    console = Console(highlight=False)

    def lines(value: Any, indent: int) -> None:
        for key, item in value.items():
            if isinstance(item, dict):
                console.print(Text(f"{' ' * indent}{key}", style="bold"))
                lines(item, indent + 2)
            else:
                text = "\n".join(f"{m['role']}: {m['content']}" for m in item) if key == "messages" else str(item)
                console.print(Text(shown(f"{' ' * indent}{key}: {text}")), soft_wrap=True)

    lines(found, 0)

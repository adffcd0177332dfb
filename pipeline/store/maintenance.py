"""Looking after a data set: what is published, whether it is whole, what nothing names any more."""

import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import StoreError
from model.weights.adapter import CONFIG, WEIGHTS
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from stages.storage import snapshot
from stages.storage.checksum import sha256_file
from stages.storage.shard import is_kept_file


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not what was published."""

    file: str  # relative to the data set's root
    what: str  # missing, damaged or unreadable
    mend: str


def listing(data: DataSet) -> list[dict[str, Any]]:
    """A row a date: its state, rows, bytes, publications and the run that the current one is of."""
    known = {path.parent.parent.name for path in data.root.glob("history/*/*/manifest.json")}
    rows = []
    for date in sorted({*data.dates(), *known}):
        manifest = data.manifest(date)
        withdrawn = "withdrawn" if data.withdrawn_path(date).exists() else "unfinished"
        rows.append(
            {
                "date": date,
                "state": "published" if manifest else withdrawn,
                "rows": manifest.accepted if manifest else 0,
                "bytes": manifest.bytes if manifest else 0,
                "publication": manifest.publication if manifest else None,
                "publications": data.publications(date),
                "run_id": manifest.run_id if manifest else None,
            }
        )
    return rows


def _manifests(data: DataSet) -> Iterator[tuple[str, str, Manifest]]:
    """Date, folder and manifest of everything that is kept: what is published, and each publication."""
    for manifest in data.finished():
        yield manifest.date, "", manifest
    for folder in sorted(data.root.glob("history/*")):
        for place in data.publications(folder.name):
            yield folder.name, f"{place}/", data.publication(place)


def verify(data: DataSet, threads: int | None = None) -> tuple[int, int, list[Fault]]:
    """Hashes every file that a manifest, a publication or the pointer names, a file with several names once.

    Returns files and bytes read and what is wrong. Raises StoreError when a manifest or the pointer is damaged.
    """
    expected: dict[str, tuple[str, str]] = {}
    adapters: dict[str, str] = {}
    for date, place, manifest in _manifests(data):
        again = f"gristmill run --date {date} --force publishes it again"
        lost = f"remove {place}: this publication cannot be had again"
        current = not place or manifest == data.manifest(date)
        for ref in manifest.published_files:
            expected[f"{place}{ref.file}"] = (ref.sha256, again if current else lost)
        adapters |= {adapter.path: adapter.sha256 or "" for adapter in manifest.adapters if adapter.path}
    for of in (snapshot.read(data.root) or {}).values():
        for shard in of["shards"]:
            expected.setdefault(shard["file"], (shard["sha256"], "run any date with --force: the pointer is made anew"))
    names: dict[tuple[int, int] | str, list[str]] = {}
    size = 0
    for name in expected:
        try:
            found = os.stat(os.path.join(data.root, name))
        except OSError:
            names[name] = [name]
            continue
        same = names.setdefault((found.st_dev, found.st_ino), [])
        size += 0 if same else found.st_size
        same.append(name)
    paths = [os.path.join(data.root, same[0]) for same in names.values()]
    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        hashes = [found for batch in pool.map(_hashes, batches) for found in batch]
    faults = [
        Fault(name, found if found in _WORDS else "damaged", expected[name][1])
        for same, found in zip(names.values(), hashes, strict=True)
        for name in same
        if found != expected[name][0]
    ]
    for path, digest in adapters.items():
        found = _adapter_hash(data.root / path)
        if found != digest:
            mend = "remove it: the run that trained it makes it anew"
            faults.append(Fault(path, found if found in _WORDS else "damaged", mend))
    return len(names) + len(adapters), size, sorted(faults, key=lambda fault: fault.file)


_WORDS = ("missing", "unreadable")
_BATCH = 32  # files a task: a small file takes less than handing it to a thread
_SMALL = 1 << 20  # bytes; hashlib.file_digest would clear a buffer for each file


def _hashes(paths: Iterable[str]) -> list[str]:
    found = []
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as stream:
                start = stream.read(_SMALL)
                if len(start) < _SMALL:
                    found.append(sha256(start).hexdigest())
                    continue
            found.append(sha256_file(Path(path)))
        except OSError as error:
            found.append(_WORDS[not isinstance(error, FileNotFoundError)])
    return found


def _adapter_hash(folder: Path) -> str:
    try:
        return sha256((folder / WEIGHTS).read_bytes() + (folder / CONFIG).read_bytes()).hexdigest()
    except OSError as error:
        return _WORDS[not isinstance(error, FileNotFoundError)]


def garbage(data: DataSet, keep: int | None) -> list[Path]:
    """What nothing names: files of unfinished publications, leftovers of killed writers, adapters of no run.

    With `keep`, of each date also the publications but the current one and the `keep` newest others. The run folders
    are not looked into: what is at work there is not garbage. Raises StoreError when a manifest is damaged.
    """
    wanted: set[Path] = set()
    expired: list[Path] = []
    shown = snapshot.read(data.root) or {}
    for date, place, manifest in _manifests(data):
        published = data.manifest(date)
        current = {published and published.publication, shown.get(date, {}).get("publication")}
        others = [other for other in data.publications(date) if other not in current]
        if place and keep is not None and place.rstrip("/") in others[: len(others) - keep]:
            expired.append(data.root / place)
            continue
        wanted |= {data.root / f"{place}{ref.file}" for ref in manifest.published_files}
        wanted |= {data.root / place / "manifest.json"} if place else set()
        wanted |= {data.root / adapter.path for adapter in manifest.adapters if adapter.path}
    wanted |= {data.root / path for path in _trained(data)}
    wanted |= {*snapshot.files(data.root, shown), *data.root.glob("history/*/withdrawn")}
    found = [path for top in ("data", "index", "used", "history") for path in data.root.glob(f"{top}/**/*")]
    loose = [path for path in found if not path.is_dir() and path not in wanted]
    loose = [path for path in loose if not any(path.is_relative_to(folder) for folder in expired)]
    adapters = [path for path in data.root.glob("adapters/*") if path not in wanted]
    return sorted([*expired, *loose, *adapters, *data.root.glob(".tmp-*"), *data.root.glob("manifests/.tmp-*")])


def _trained(data: DataSet) -> Iterable[str]:
    """Adapters that a run folder names: their date may be unfinished, or made again."""
    for path in data.root.glob("runs/*/stages/adapt/part-*.parquet"):
        if is_kept_file(path.name):
            try:
                yield from (row for row in pq.read_table(path, columns=["path"])["path"].to_pylist() if row)
            except (OSError, pa.ArrowException):
                raise StoreError(f"{path}: damaged; remove it and {path.name}.json before gc") from None


def remove(data: DataSet, paths: Iterable[Path]) -> None:
    """Removes them, a publication's manifest first, and the folders that are empty then."""
    for path in paths:
        if path.is_dir():
            (path / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        parent = path.parent
        while parent != data.root and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent


def size_of(path: Path) -> int:
    """Bytes that removing it frees: files that have another name as well free none."""
    files = [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file()]
    return sum(found.st_size for each in files if (found := each.stat()).st_nlink == 1)

"""Maintenance of a data set on disk: list what is published, verify its files, find and remove garbage."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import StoreError
from model.weights.adapter import CONFIG, WEIGHTS
from pipeline.store import evolve_record
from pipeline.store.dataset import DataSet
from pipeline.store.evolve_record import EvolveRecord
from pipeline.store.manifest import Manifest
from pipeline.store.registry import is_decided
from pipeline.store.registry_files import Registry
from stages.cores import usable_cores
from stages.storage import snapshot
from stages.storage.atomic import TEMPORARY_PREFIX
from stages.storage.checksum import sha256_file
from stages.storage.shard import is_kept_file

FILES_PER_TASK = 32  # handing one small file to a thread takes longer than hashing it
SMALL_FILE_BYTES = 1 << 20  # below this, reading at once is faster: hashlib.file_digest clears a buffer for each file
_UNREAD = ("missing", "unreadable")  # instead of the hash of a file that cannot be read


@dataclass(frozen=True, slots=True)
class Fault:
    """A file whose content is not what was published."""

    file: str  # relative to the data set's root
    what: str  # missing, damaged or unreadable
    fix: str  # what to do about it


def listing(data: DataSet) -> list[dict[str, Any]]:
    """One entry per date: its state, rows and bytes, its publications, and the run that made the current one."""
    dates_with_history = {path.parent.parent.name for path in data.root.glob("history/*/*/manifest.json")}
    rows = []
    for date in sorted({*data.dates(), *dates_with_history}):
        manifest = data.manifest(date)
        unpublished = "withdrawn" if data.withdrawn_path(date).exists() else "unfinished"
        rows.append(
            {
                "date": date,
                "state": "published" if manifest else unpublished,
                "rows": manifest.accepted if manifest else 0,
                "bytes": manifest.bytes if manifest else 0,
                "publication": manifest.publication if manifest else None,
                "publications": data.publications(date),
                "run_id": manifest.run_id if manifest else None,
            }
        )
    return rows


def _manifests(data: DataSet) -> Iterator[tuple[str, str, Manifest]]:
    """Date, folder and manifest of what is published (its folder is "") and of each publication in `history/`."""
    for manifest in data.finished():
        yield manifest.date, "", manifest
    for folder in sorted(data.root.glob("history/*")):
        for place in data.publications(folder.name):
            yield folder.name, f"{place}/", data.publication(place)


def verify(data: DataSet, threads: int | None = None) -> tuple[int, int, list[Fault]]:
    """Hashes every file that a manifest, a publication or `current.json` names. Hard links are read once.

    `threads`: None means one per CPU. Returns the number of files and bytes read, and the faults. Raises StoreError
    when a manifest or `current.json` is damaged.
    """
    expected: dict[str, tuple[str, str]] = {}  # sha256 and fix by file
    adapters: dict[str, str] = {}  # sha256 by folder
    for date, place, manifest in _manifests(data):
        again = f"gristmill run --date {date} --force publishes it again"
        lost = f"remove {place}: this publication cannot be restored"
        current = not place or manifest == data.manifest(date)
        for ref in manifest.published_files:
            expected[f"{place}{ref.file}"] = (ref.sha256, again if current else lost)
        adapters |= {adapter.path: adapter.sha256 or "" for adapter in manifest.adapters if adapter.path}
    for entry in (snapshot.read(data.root) or {}).values():
        for shard in entry["shards"]:
            fix = f"run any date with --force: that writes {snapshot.NAME} again"
            expected.setdefault(shard["file"], (shard["sha256"], fix))
    names: dict[tuple[int, int] | str, list[str]] = {}  # by inode; a missing file by its name
    size = 0
    for name in expected:
        try:
            status = os.stat(os.path.join(data.root, name))
        except OSError:
            names[name] = [name]
            continue
        same = names.setdefault((status.st_dev, status.st_ino), [])
        size += 0 if same else status.st_size
        same.append(name)
    paths = [os.path.join(data.root, same[0]) for same in names.values()]
    batches = [paths[start : start + FILES_PER_TASK] for start in range(0, len(paths), FILES_PER_TASK)]
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        hashes = [digest for batch in pool.map(_hashes, batches) for digest in batch]
    faults = [
        Fault(name, digest if digest in _UNREAD else "damaged", expected[name][1])
        for same, digest in zip(names.values(), hashes, strict=True)
        for name in same
        if digest != expected[name][0]
    ]
    for path, expected_digest in adapters.items():
        digest = _adapter_hash(data.root / path)
        if digest != expected_digest:
            fix = "remove it: the run that trained it trains it again"
            faults.append(Fault(path, digest if digest in _UNREAD else "damaged", fix))
    return len(names) + len(adapters), size, sorted(faults, key=lambda fault: fault.file)


def _hashes(paths: Iterable[str]) -> list[str]:
    """The hex SHA-256 of each file, or a word of _UNREAD."""
    digests = []
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as stream:
                start = stream.read(SMALL_FILE_BYTES)
                if len(start) < SMALL_FILE_BYTES:
                    digests.append(sha256(start).hexdigest())
                    continue
            digests.append(sha256_file(Path(path)))
        except OSError as error:
            digests.append(_problem(error))
    return digests


def _adapter_hash(folder: Path) -> str:
    """The hex SHA-256 of an adapter, or a word of _UNREAD."""
    try:
        return sha256((folder / WEIGHTS).read_bytes() + (folder / CONFIG).read_bytes()).hexdigest()
    except OSError as error:
        return _problem(error)


def _problem(error: OSError) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else "unreadable"


def garbage(data: DataSet, keep: int | None) -> list[Path]:
    """Files and folders that no manifest names: unfinished publications, files of killed writers, unused adapters.

    With `keep`, also old publications (of each date the current one and the `keep` newest others stay) and the folders
    of evolutions that have all their verdicts, but for the `keep` newest, with adapters that only these name. Run
    folders and other evolutions are never garbage: work may be in progress there. Call it with the data set's lock.
    Raises StoreError when a manifest or the registry is damaged.
    """
    wanted: set[Path] = set()
    expired: list[Path] = []
    shown = snapshot.read(data.root) or {}
    for date, place, manifest in _manifests(data):
        published = data.manifest(date)
        current = {published and published.publication, shown.get(date, {}).get("publication")}
        others = [publication for publication in data.publications(date) if publication not in current]
        if place and keep is not None and place.rstrip("/") in others[: len(others) - keep]:
            expired.append(data.root / place)
            continue
        wanted |= {data.root / f"{place}{ref.file}" for ref in manifest.published_files}
        wanted |= {data.root / place / "manifest.json"} if place else set()
        wanted |= {data.root / adapter.path for adapter in manifest.adapters if adapter.path}
    evolutions = _decided_evolutions(data)
    expired += evolutions[: len(evolutions) - keep] if keep is not None and keep < len(evolutions) else []
    wanted |= {data.root / path for path in (*_trained(data, expired), *Registry(data.root).adapter_paths())}
    wanted |= {*snapshot.files(data.root, shown), *data.root.glob("history/*/withdrawn")}
    paths = [path for top in ("data", "index", "used", "answers", "history") for path in data.root.glob(f"{top}/**/*")]
    loose = [path for path in paths if not path.is_dir() and path not in wanted]
    loose = [path for path in loose if not any(path.is_relative_to(folder) for folder in expired)]
    adapters = [path for path in data.root.glob("adapters/*") if path not in wanted]
    temporary = [path for top in (".", "manifests") for path in data.root.glob(f"{top}/{TEMPORARY_PREFIX}*")]
    return sorted([*expired, *loose, *adapters, *temporary])


def _decided_evolutions(data: DataSet) -> list[Path]:
    """The folders of evolutions whose date has its verdicts in each domain, the oldest date first.

    One whose record is missing or cannot be read is left alone.
    """
    registry, folders = Registry(data.root), []
    for path in sorted(data.root.glob(f"evolve/*/{evolve_record.NAME}")):
        with suppress(StoreError):
            record = EvolveRecord.read(path.parent)
            domains = record.pointers if record and record.date == path.parent.name else {}
            if domains and all(is_decided(registry.verdicts_on(domain, path.parent.name)) for domain in domains):
                folders.append(path.parent)
    return folders


def _trained(data: DataSet, expired: Sequence[Path]) -> Iterable[str]:
    """Adapters that the folder of a run or of an evolution names: it may be unfinished, or run again later."""
    for path in (
        *data.root.glob("runs/*/stages/adapt/part-*.parquet"),
        *data.root.glob("evolve/*/stages/fit/part-*.parquet"),
    ):
        if is_kept_file(path.name) and not any(path.is_relative_to(folder) for folder in expired):
            try:
                yield from (row for row in pq.read_table(path, columns=["path"])["path"].to_pylist() if row)
            except (OSError, pa.ArrowException):
                raise StoreError(f"{path}: damaged; remove it and {path.name}.json, then call gc again") from None


def remove(data: DataSet, paths: Iterable[Path]) -> None:
    """Removes files and folders, and parent folders that become empty.

    Of a publication the manifest goes first. Of an evolution the record goes last, so that what a kill leaves of it is
    listed again.
    """
    for path in paths:
        if path.is_dir():
            (path / "manifest.json").unlink(missing_ok=True)
            for folder in path.iterdir() if (path / evolve_record.NAME).exists() else ():
                if folder.is_dir():
                    shutil.rmtree(folder)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        parent = path.parent
        while parent != data.root and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent


def size_of(path: Path) -> int:
    """Bytes that removing a file or folder frees: a file with another hard link frees none."""
    files = [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file()]
    return sum(status.st_size for each in files if (status := each.stat()).st_nlink == 1)

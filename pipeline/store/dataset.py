"""The data set on disk: what is published, which dates are finished, who holds a date.

<out>/README.md                             the data-set card
<out>/data/domain=law/date=2026-11-21/…     published shards: Parquet and nothing else
<out>/manifests/2026-11-21.json             the commit of a date: what is not named there is not published
<out>/index/date=…/  <out>/used/date=…/     dedup keys and used seeds, read by later dates
<out>/adapters/<sha256>/                    LoRA adapters by content
<out>/runs/2026-11-21/                      work in progress and its records
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from configs.errors import StoreError
from stages.storage import snapshot
from stages.storage.atomic import replacing, sync_folder, write_text
from stages.storage.checksum import sha256_file
from stages.storage.records import FileRef, ShardRecord, check_input


class HeldError(StoreError):
    """Another run works on this data set."""


@dataclass(frozen=True, slots=True)
class History:
    """What the other dates leave for one: seeds that it may not use, keys that its rows may not have."""

    used: list[FileRef]
    index: list[FileRef]


@dataclass(frozen=True)
class DataSet:
    root: Path

    @classmethod
    def open(cls, out: str) -> "DataSet":
        return cls(Path(out).absolute())

    def run_folder(self, date: str) -> Path:
        return self.root / "runs" / date

    def manifest_path(self, date: str) -> Path:
        return self.root / "manifests" / f"{date}.json"

    def sweep(self, date: str) -> None:
        """Removes what a driver that was killed had begun to write; nobody else writes while the lock is held."""
        published = (".tmp-*", "manifests/.tmp-*", f"data/*/date={date}/.tmp-*", f"*/date={date}/.tmp-*")
        published += (f"history/{date}/**/.tmp-*",)
        orphans = (path for pattern in published for path in self.root.glob(pattern))
        for orphan in (*orphans, *self.run_folder(date).rglob(".tmp-*")):
            orphan.unlink(missing_ok=True)
        for aside in self.root.glob("adapters/.aside-*"):
            shutil.rmtree(aside, ignore_errors=True)

    def dates(self) -> list[str]:
        """Finished dates, oldest first."""
        return sorted(path.stem for path in (self.root / "manifests").glob("*.json"))

    def begun(self) -> list[str]:
        """Dates with a run folder, finished or not, oldest first."""
        return sorted(path.parent.name for path in self.root.glob("runs/*/run.json"))

    def manifest(self, date: str) -> dict[str, Any] | None:
        """The manifest of a finished date. Raises StoreError when it is damaged."""
        path = self.manifest_path(date)
        try:
            return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise StoreError(f"{path}: damaged manifest; run the date again with --force") from None

    def history(self, date: str) -> History:
        """Of the finished dates used seeds and dedup index; of dates that are begun the seeds that they chose."""
        past = History([], [])
        for other in sorted({*self.dates(), *self.begun()} - {date}):
            if manifest := self.manifest(other):
                past.used.extend(FileRef(*ref) for ref in manifest["used"])
                past.index.extend(FileRef(*ref) for ref in manifest["index"])
            else:
                past.used.extend(self.chosen(other))
        return past

    def chosen(self, date: str) -> list[FileRef]:
        """The seeds that a date's run has chosen: its committed file, none before that."""
        records = sorted(self.run_folder(date).glob("stages/used/part-*.json"))
        return [made for record in records if (made := ShardRecord.read(record).kept)]

    def lock(self, date: str) -> int:
        """An open file descriptor that holds the data set until the last process that has it ends.

        One date at a time: each leaves out what the others used and made. Raises HeldError, naming the holder.
        """
        path = self.root / "runs" / "lock"
        try:
            path.parent.mkdir(0o750, parents=True, exist_ok=True)  # rows before they are masked: not for everyone
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"out: cannot write to {self.root} ({error.strerror}); set out to a folder you may write"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = path.read_text("utf-8").strip() or "another process is at work"
            os.close(handle)
            raise HeldError(
                f"{date}: {holder} in {self.root}; a data set makes one date at a time: wait for it, or stop it first"
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {os.uname().nodename} works on {date}".encode())
        os.set_inheritable(handle, True)
        return handle

    def publications(self, date: str) -> list[str]:
        """Folders of a date's publications, oldest first; one without manifest was never finished."""
        found = self.root.glob(f"history/{date}/[0-9]*/manifest.json")
        return sorted(str(path.parent.relative_to(self.root)) for path in found)

    def publication(self, place: str) -> dict[str, Any]:
        """The manifest of a publication. Raises StoreError when it is damaged."""
        path = self.root / place / "manifest.json"
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise StoreError(f"{path}: damaged; remove its folder: this publication cannot be had again") from None

    def publish(self, date: str, files: dict[str, FileRef], manifest: dict[str, Any]) -> None:
        """Links committed files into a folder of their own under `history/`, then points to it: that is the commit.

        `files`: published name relative to root -> committed file. A publication that names the same files as the
        last one takes its place. Raises InputError when a committed file is damaged.
        """
        known = self.publications(date)
        place = known[-1] if known else f"history/{date}/0000"
        if not known or named(self.publication(place)) != named(manifest):
            place = f"history/{date}/{int(Path(place).name) + 1:04d}"
        manifest = manifest | {"publication": place}
        for name, ref in files.items():
            self._put(f"{place}/{name}", ref)
        self._sync(place, files)
        write_text(self.root / place / "manifest.json", _json(manifest))
        self.point(date, manifest)

    def point(self, date: str, manifest: dict[str, Any]) -> None:
        """Makes a publication the date's: for readers of `current.json`, then for the engine and for listings.

        What another publication of the date had in `data/`, `index/` and `used/` is removed afterwards.
        """
        place, refs = manifest["publication"], named(manifest)
        for ref in refs:
            self._put(ref.file, ref._replace(file=f"{place}/{ref.file}"))
        self._sync("", [ref.file for ref in refs])
        self._show(date, manifest)
        write_text(self.manifest_path(date), _json(manifest))
        self.withdrawn_path(date).unlink(missing_ok=True)
        self._sweep(date, [ref.file for ref in refs])

    def rollback(self, date: str) -> dict[str, Any] | None:
        """Points a date to the publication before; None where there is none: it is withdrawn, and kept in `history/`.

        Raises StoreError when the date is not finished or the earlier publication is damaged.
        """
        manifest = self.manifest(date)
        if manifest is None:
            raise StoreError(
                f"{date}: not published in {self.root}; gristmill store list --out {self.root} has what is"
            )
        if "publication" not in manifest:  # of an older version: it is kept first
            self.publish(date, {ref.file: ref for ref in named(manifest)}, manifest)
            manifest = self.manifest(date) or manifest
        before = [place for place in self.publications(date) if place < manifest["publication"]]
        if before:
            manifest = self.publication(before[-1])
            self.point(date, manifest)
            return manifest
        write_text(self.withdrawn_path(date), "")
        self._show(date, None)
        self.manifest_path(date).unlink()
        sync_folder(self.manifest_path(date).parent)
        self._sweep(date, ())
        return None

    def withdrawn_path(self, date: str) -> Path:
        """Stands while a date is rolled back to nothing: it is not caught up."""
        return self.root / "history" / date / "withdrawn"

    def _show(self, date: str, manifest: dict[str, Any] | None) -> None:
        dates = {other: made for other in self.dates() if other != date and (made := self.manifest(other))}
        if manifest is not None:
            dates[date] = manifest
        write_text(self.root / snapshot.NAME, snapshot.text({day: _entry(made) for day, made in dates.items()}))

    def _put(self, name: str, ref: FileRef) -> None:
        target = self.root / name
        if target.exists() and sha256_file(target) == ref.sha256:
            return
        with replacing(target, durable=False) as temporary:
            _link(check_input(str(self.root), ref), temporary)

    def _sync(self, place: str, names: Iterable[str]) -> None:
        for folder in {(self.root / place / name).parent for name in names}:
            sync_folder(folder)

    def _sweep(self, date: str, named: Iterable[str]) -> None:
        keep = {self.root / name for name in named}
        folders = [
            *self.root.glob(f"data/domain=*/date={date}"),
            self.root / f"index/date={date}",
            self.root / f"used/date={date}",
        ]
        for folder in folders:
            for path in folder.glob("*") if folder.is_dir() else ():
                if path not in keep:
                    path.unlink()
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def named(manifest: dict[str, Any]) -> list[FileRef]:
    """The published files that a manifest names, under their names in `data/`, `index/` and `used/`."""
    shards = [FileRef(shard["file"], shard["sha256"], shard["rows"], shard["bytes"]) for shard in manifest["shards"]]
    return [*shards, *(FileRef(*ref) for key in ("index", "used") for ref in manifest[key])]


def _entry(manifest: dict[str, Any]) -> dict[str, Any]:
    """A date in `current.json`."""
    place = manifest.get("publication")  # none: of an older version
    shards = [shard | {"file": f"{place}/{shard['file']}" if place else shard["file"]} for shard in manifest["shards"]]
    return {"publication": place, "digest": manifest["digest"], "rows": manifest["accepted"], "shards": shards}


def _json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=1, ensure_ascii=False)


def content_digest(refs: Iterable[FileRef]) -> str:
    """One hash over published files: equal for equal data, whatever runner or number of restarts made it."""
    text = "\n".join(sorted(f"{ref.sha256} {ref.rows}" for ref in refs))
    return sha256(text.encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as stream:
            os.fsync(stream.fileno())

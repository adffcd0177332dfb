"""The data set on disk: its published files, its finished dates, and the lock that one run at a time has.

<out>/README.md                             the data-set card
<out>/data/shard_domain=law/shard_date=…/   published shards: Parquet and nothing else
<out>/manifests/2026-11-21.json             the commit of a date: a file that it does not name is not published
<out>/index/date=…/  <out>/used/date=…/     dedup keys and used seeds, read by later dates
<out>/answers/date=…/                       answers to passages that got several, for training
<out>/adapters/<sha256>/                    LoRA adapters by content
<out>/audits/2026-11-21/<digest>/           which rows people read, and their labels
<out>/registry/law.json                     which generator writes a domain's rows
<out>/runs/2026-11-21/                      work in progress and its records
"""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import StoreError
from pipeline.store.folder import folder_of
from pipeline.store.manifest import Attribution, AuditFigures, Manifest
from stages.storage import atomic, snapshot
from stages.storage.atomic import replacing, sync, sync_folder, write_text
from stages.storage.checksum import sha256_file
from stages.storage.inputs import check_input
from stages.storage.lock import HeldError, take_named_lock
from stages.storage.records import FileRef, ShardRecord
from stages.storage.stage import StageName


@dataclass(frozen=True, slots=True)
class OtherDates:
    """What a date must not repeat: the passages that other dates used, and the dedup keys of their rows."""

    used: list[FileRef]
    index: list[FileRef]


@dataclass(frozen=True)
class DataSet:
    """A data set's folder, `root`. Methods that change it are called by the run that has the `lock`."""

    root: Path

    @classmethod
    def open(cls, out: str) -> "DataSet":
        """The data set in the folder `out`, which need not exist yet. Raises ConfigError for what can be no folder."""
        return cls(folder_of(out))

    def run_folder(self, date: str) -> Path:
        return self.root / "runs" / date

    def manifest_path(self, date: str) -> Path:
        return self.root / "manifests" / f"{date}.json"

    def sweep(self, date: str) -> None:
        """Removes temporary files of killed drivers. Call it with the lock taken: then nobody else is writing."""
        folders = ("", "manifests/", "evolve/", f"data/*/*date={date}/", f"*/date={date}/")
        folders += tuple(f"{top}/{date}/**/" for top in ("history", "evolve", "runs"))
        for folder in folders:
            for orphan in self.root.glob(f"{folder}{atomic.TEMPORARY_PREFIX}*"):
                orphan.unlink(missing_ok=True)
        for aside in self.root.glob(f"adapters/{atomic.TEMPORARY_FOLDER_PREFIX}*"):
            shutil.rmtree(aside, ignore_errors=True)

    def dates(self) -> list[str]:
        """Finished dates, oldest first."""
        return sorted(path.stem for path in (self.root / "manifests").glob("*.json"))

    def started(self) -> list[str]:
        """Dates with a run folder, finished or not, oldest first."""
        return sorted(path.parent.name for path in self.root.glob("runs/*/run.json"))

    def manifest(self, date: str) -> Manifest | None:
        """The manifest of a date; None if the date is not finished. Raises StoreError when it is damaged."""
        path = self.manifest_path(date)
        try:
            return Manifest.from_json(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(f"{path}: damaged manifest ({error}); run the date again with --force") from None

    def finished(self, dates: Iterable[str] | None = None) -> list[Manifest]:
        """The manifests of the finished ones among these dates; None means all dates."""
        return [manifest for date in (self.dates() if dates is None else dates) if (manifest := self.manifest(date))]

    def other_dates(self, date: str) -> OtherDates:
        """Used passages and dedup keys of the other finished dates, and the passages that unfinished dates reserved."""
        others = OtherDates([], [])
        for other_date in sorted({*self.dates(), *self.started()} - {date}):
            if manifest := self.manifest(other_date):
                others.used.extend(manifest.used)
                others.index.extend(manifest.index)
            else:
                others.used.extend(self.reserved(other_date))
        return others

    def reserved(self, date: str) -> list[FileRef]:
        """The committed files of passages that a date's run uses; an empty list before it has chosen them."""
        records = sorted(self.run_folder(date).glob(f"stages/{StageName('used')}/part-*.json"))
        return [kept for record in records if (kept := ShardRecord.read(record).kept)]

    def release(self, date: str) -> None:
        """Frees the passages that an unfinished date has chosen: other dates may use them, and it chooses again."""
        for record in self.run_folder(date).glob(f"stages/{StageName('used')}/part-*.json"):
            record.unlink()

    def lock(self, date: str) -> int:
        """Locks the data set until the last process that has the returned file descriptor ends.

        Only one date is run at a time, since each date must not repeat the others. Raises HeldError, which names the
        process that has the lock, and StoreError when the folder cannot be written. On a file system without locks
        the log says that nothing keeps a second run away.
        """
        path = self.root / "runs" / "lock"
        try:
            path.parent.mkdir(  # rows in it may have personal data that is not masked yet
                0o750, parents=True, exist_ok=True
            )
            return take_named_lock(path, date)
        except HeldError as error:
            raise HeldError(
                f"{date}: {error.holder} in {self.root}; only one date at a time: wait for that run, or stop it first"
            ) from None
        except OSError as error:
            raise StoreError(
                f"out: cannot write to {self.root} ({error.strerror}); set out to a folder that you may write to"
            ) from None

    def publications(self, date: str) -> list[str]:
        """Folders of a date's complete publications, relative to root, oldest first."""
        manifests = self.root.glob(f"history/{date}/[0-9]*/manifest.json")
        return sorted(str(path.parent.relative_to(self.root)) for path in manifests)

    def publication(self, place: str) -> Manifest:
        """The manifest of a publication, which is in the folder `place`. Raises StoreError when it is damaged."""
        path = self.root / place / "manifest.json"
        try:
            return Manifest.from_json(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise StoreError(
                f"{path}: damaged or missing; remove its folder: this publication cannot be restored"
            ) from None

    def publish(self, date: str, files: dict[str, FileRef], manifest: Manifest) -> None:
        """Links committed files into a new folder below `history/`, then points the date to it: this is the commit.

        `files`: published name relative to root -> committed file. A publication with the same files as the last one
        replaces it, also when the answers of that one were removed. Raises InputError when a committed file is damaged.
        """
        known = self.publications(date)
        place = known[-1] if known else f"history/{date}/0000"
        if not known or not self.publication(place).has_the_rows_of(manifest):
            place = f"history/{date}/{int(Path(place).name) + 1:04d}"
        manifest = manifest.model_copy(update={"publication": place})
        for name, ref in files.items():
            self._place(f"{place}/{name}", ref)
        self._sync(place, files)
        write_text(self.root / place / "manifest.json", manifest.to_json())
        self.point(date, manifest)

    def point(self, date: str, manifest: Manifest) -> None:
        """Makes a publication the current one, first for readers of `current.json`, then for later runs and listings.

        Files of the date's other publications in `data/`, `index/`, `used/` and `answers/` are removed afterwards.
        """
        place, refs = manifest.publication, manifest.published_files
        for ref in refs:
            self._place(ref.file, ref._replace(file=f"{place}/{ref.file}"))
        self._sync("", [ref.file for ref in refs])
        self._write_snapshot(date, manifest)
        write_text(self.manifest_path(date), manifest.to_json())
        self.withdrawn_path(date).unlink(missing_ok=True)
        self._remove_other_files(date, [ref.file for ref in refs])

    def rename_shards(self, date: str, rename: Callable[[str], str]) -> None:
        """Gives the shards of a finished date other names below `data/`, in all its publications.

        The old names in `history/` stay until `store gc`: somebody may be reading them. Raises InputError and
        StoreError when a file or a manifest is damaged; the date is then as before.
        """
        manifest = self.manifest(date)
        assert manifest is not None
        for place in self.publications(date):
            publication = self.publication(place)
            renamed = publication.with_shards_renamed(rename)
            for before, after in zip(publication.shards, renamed.shards, strict=True):
                self._place(f"{place}/{after.file}", before.ref._replace(file=f"{place}/{before.file}"))
            self._sync(place, [shard.file for shard in renamed.shards])
            write_text(self.root / place / "manifest.json", renamed.to_json())
        renamed = manifest.with_shards_renamed(rename)
        if manifest.publication is None:  # published before there was a history
            names = [ref.file for ref in renamed.published_files]
            self.publish(date, dict(zip(names, manifest.published_files, strict=True)), renamed)
        else:
            self.point(date, renamed)

    def set_audit(self, date: str, audit: AuditFigures | None) -> None:
        """Writes the figures of an audit into a date's manifest and that of its publication. Rows and digest stay."""
        self._set_figures(date, {"audit": audit})

    def set_attribution(self, date: str, attribution: Attribution) -> None:
        """Writes an attribution as `set_audit` does the figures of an audit."""
        self._set_figures(date, {"attribution": attribution})

    def _set_figures(self, date: str, figures: dict[str, Any]) -> None:
        manifest = self.manifest(date)
        if manifest is None:
            raise StoreError(f"{date}: not published in {self.root}; see gristmill store list --out {self.root}")
        manifest = manifest.model_copy(update=figures)
        if manifest.publication:  # first: a rollback to it writes it to the other place
            write_text(self.root / manifest.publication / "manifest.json", manifest.to_json())
        write_text(self.manifest_path(date), manifest.to_json())

    def rollback(self, date: str) -> Manifest | None:
        """Points a date to its earlier publication and returns that one's manifest.

        Without an earlier one it returns None and the date is withdrawn: no longer published, but kept in `history/`.

        Raises StoreError when the date is not finished or the earlier publication is damaged.
        """
        manifest = self.manifest(date)
        if manifest is None:
            raise StoreError(f"{date}: not published in {self.root}; see gristmill store list --out {self.root}")
        if manifest.publication is None:  # published before there was a history: it becomes the first publication
            self.publish(date, {ref.file: ref for ref in manifest.published_files}, manifest)
            manifest = self.manifest(date) or manifest
        earlier = [place for place in self.publications(date) if place < (manifest.publication or "")]
        if earlier:
            manifest = self.publication(earlier[-1])
            self.point(date, manifest)
            return manifest
        write_text(self.withdrawn_path(date), "")
        self._write_snapshot(date, None)
        self.manifest_path(date).unlink()
        sync_folder(self.manifest_path(date).parent)
        self._remove_other_files(date, ())
        return None

    def withdrawn_path(self, date: str) -> Path:
        """A file that exists while the date is withdrawn: `run --catch-up` does not make such a date again."""
        return self.root / "history" / date / "withdrawn"

    def _write_snapshot(self, date: str, manifest: Manifest | None) -> None:
        others = self.finished(finished_date for finished_date in self.dates() if finished_date != date)
        entries = {each.date: _entry(each) for each in (*others, *([manifest] if manifest else []))}
        write_text(self.root / snapshot.NAME, snapshot.to_json(entries))

    def _place(self, name: str, ref: FileRef) -> None:
        target = self.root / name
        if target.exists() and sha256_file(target) == ref.sha256:
            return
        with replacing(target, durable=False) as temporary:
            _link(check_input(str(self.root), ref), temporary)

    def _sync(self, place: str, names: Iterable[str]) -> None:
        for folder in {(self.root / place / name).parent for name in names}:
            sync_folder(folder)

    def _remove_other_files(self, date: str, names: Iterable[str]) -> None:
        keep = {self.root / name for name in names}
        folders = [
            *self.root.glob(f"data/*domain=*/*date={date}"),
            self.root / f"index/date={date}",
            self.root / f"used/date={date}",
            self.root / f"answers/date={date}",
        ]
        for folder in folders:
            for path in folder.glob("*") if folder.is_dir() else ():
                if path not in keep:
                    path.unlink()
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _entry(manifest: Manifest) -> snapshot.DateEntry:
    """A date's entry in `current.json`."""
    prefix = f"{manifest.publication}/" if manifest.publication else ""
    shards: Any = [shard.model_dump() | {"file": f"{prefix}{shard.file}"} for shard in manifest.shards]
    return {
        "publication": manifest.publication,
        "digest": manifest.digest,
        "rows": manifest.accepted,
        "shards": shards,
    }


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as stream:
            sync(stream.fileno())

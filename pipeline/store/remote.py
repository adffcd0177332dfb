"""A data set on an object store: finished dates of one or many local data sets, behind one pointer, `current.json`.

<url>/current.json                               the shards of every date, and each date's publications, oldest first
<url>/history/2026-11-21/<time>-<digest>.json    the manifest of a publication
<url>/data/shard_domain=law/shard_date=2026-11-21/<time>-<sha256>.parquet

Objects are written once and never changed. The only exception is `current.json`: it is replaced on condition that it
is still the version that was read (`stages.storage.bucket`). Of two publishers at once the second one fails, reads it
again and adds its date to the first one's.

The time in a name is the time of the upload, in UTC. A shard that was uploaded less than REUSE_PERIOD ago is used again
instead of being uploaded a second time. `store gc` removes nothing that is younger than GRACE_PERIOD, which is twice
as long. So what a publisher names cannot be removed at the same time, if it ends within REUSE_PERIOD.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from configs.errors import StoreError
from pipeline.store.audit_figures import shortfall
from pipeline.store.dataset import DataSet
from pipeline.store.layout import shard_folder
from pipeline.store.manifest import Manifest, PublishedShard
from pipeline.store.remote_pointer import Pointer, PublicationEntry, change, read
from stages.storage import snapshot
from stages.storage.bucket import Bucket, as_json
from stages.storage.inputs import check_input
from stages.storage.records import FileRef
from stages.storage.snapshot import DateEntry, ShardEntry

GRACE_PERIOD = timedelta(hours=24)
REUSE_PERIOD = GRACE_PERIOD / 2
PARALLEL_UPLOADS = 2  # files; several parts of each are sent at once
_TIME_FORMAT = "%Y%m%dT%H%M%S%fZ"

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time. Functions that need it take a `clock`, so that tests can pass another one."""
    return datetime.now(UTC)


def publish(
    bucket: Bucket, data: DataSet, clock: Clock = utc_now, *, min_rightness: float | None = None
) -> tuple[list[str], list[str]]:
    """Publishes each finished date that the bucket has never had. Returns these dates, and notes on the others.

    A date stays here until its audit shows at least `min_rightness`; None means what its own manifest asks for.

    A publication that the bucket had earlier, but no longer shows, is not published again: it was rolled back there, or
    another publisher replaced it. Safe to call again after a crash at any point, and while other publishers run. If
    there is nothing to publish it costs one read.
    """
    local = snapshot.read(data.root) or {}
    pointer = read(bucket, to_change=False)
    unknown_dates = [date for date, entry in sorted(local.items()) if not pointer.knows(date, entry["digest"])]
    reasons = {date: reason for date in unknown_dates if (reason := held_back(data, date, min_rightness))}
    new_dates = [date for date in unknown_dates if date not in reasons]
    for date in new_dates:
        publish_date(bucket, data, date, clock, again=False, probe=date == new_dates[0])
    differ = [date for date, entry in local.items() if pointer.dates.get(date, {}).get("digest") != entry["digest"]]
    return new_dates, [
        *(
            f"{date}: not copied to {bucket.url}: {reason}; read its rows (gristmill audit {date} --out {data.root}), "
            f"then gristmill store publish --out {data.root} --to {bucket.url}"
            for date, reason in reasons.items()
        ),
        *(
            f"{date}: {bucket.url} had this publication and now shows another one, or none; to show it again: "
            f"gristmill store publish {date} --out {data.root} --to {bucket.url}"
            for date in sorted(set(differ) - set(unknown_dates))
        ),
    ]


def held_back(data: DataSet, date: str, min_rightness: float | None = None) -> str:
    """Why a date may not be copied to a bucket yet; empty if it may. `min_rightness`: as for `publish`."""
    manifest = data.manifest(date)
    return shortfall(manifest, min_rightness or manifest.min_rightness) if manifest else ""


def publish_date(
    bucket: Bucket, data: DataSet, date: str, clock: Clock = utc_now, *, again: bool = True, probe: bool = True
) -> None:
    """Publishes a date.

    With `again`, also one that the bucket has had; shards that it still stores are then hashed before they are used
    again. `probe`: first check that the bucket honours conditional puts. Raises StoreError when the date is not
    finished, InputError when a local file is damaged.
    """
    entry = (snapshot.read(data.root) or {}).get(date)
    if entry is None:
        raise StoreError(f"{date}: not published in {data.root}; see gristmill store list --out {data.root}")
    started = clock()
    if probe:
        bucket.probe(stamp(started))
    name = f"history/{date}/{stamp(started)}-{entry['digest'][:16]}.json"
    manifest = data.publication(entry["publication"]) if entry["publication"] else data.manifest(date)
    if manifest is None:
        raise StoreError(
            f"{data.manifest_path(date)}: missing, although {snapshot.NAME} names the date; run the date with --force"
        )
    sources = [FileRef(shard["file"], shard["sha256"], shard["rows"], shard["bytes"]) for shard in entry["shards"]]

    def edit(pointer: Pointer) -> Pointer | None:
        known = pointer.history.get(date, [])
        if name in [publication["publication"] for publication in known]:
            return None  # an earlier put was stored, although its response was lost
        if not again and pointer.knows(date, entry["digest"]):
            return None  # another publisher was faster
        start = clock()
        shards = _upload(bucket, data.root, date, entry["shards"], sources, pointer, clock, check=again)
        bucket.write(name, as_json(_remote_manifest(manifest, name, shards).to_dict()))
        if clock() - start > REUSE_PERIOD:
            raise StoreError(
                f"{date}: publishing took more than {REUSE_PERIOD}; run the same command again: it goes on from here"
            )
        publication: PublicationEntry = {
            "publication": name,
            "digest": entry["digest"],
            "rows": entry["rows"],
            "bytes": sum(shard["bytes"] for shard in shards),
            "run_id": manifest.run_id,
        }
        shown: DateEntry = {**entry, "publication": name, "shards": shards}
        return pointer.with_date(date, shown, [*known, publication])

    change(bucket, edit)


def _upload(
    bucket: Bucket,
    root: Path,
    date: str,
    shards: list[ShardEntry],
    sources: list[FileRef],
    pointer: Pointer,
    clock: Clock,
    *,
    check: bool,
) -> list[ShardEntry]:
    """The shards' entries with their names in the bucket. Uploads those that it does not have.

    `check`: hash a stored shard before it is used instead of an upload.
    """
    shown = {shard["file"] for shard in pointer.dates.get(date, {}).get("shards", ())}
    stored: dict[tuple[str, str, int], str] = {}  # by domain, sha256 and bytes
    for domain in sorted({shard["domain"] for shard in shards}):
        for name, size in bucket.names(shard_folder(domain, date)).items():
            sent = uploaded(name)
            if name in shown or (sent is not None and clock() - sent < REUSE_PERIOD):
                stored[domain, _sha256(name), size] = name

    def place(shard: ShardEntry, source: FileRef) -> ShardEntry:
        name = stored.get((shard["domain"], shard["sha256"], shard["bytes"]))
        if name is None or (check and bucket.sha256(name) != (shard["sha256"], shard["bytes"])):
            name = f"{shard_folder(shard['domain'], date)}/{stamp(clock())}-{shard['sha256']}.parquet"
            bucket.upload(check_input(str(root), source), name)
        return {**shard, "file": name}

    with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
        return list(pool.map(place, shards, sources))


def _remote_manifest(manifest: Manifest, name: str, shards: list[ShardEntry]) -> Manifest:
    """A date's manifest for a bucket, which gets no dedup keys, used passages, collected answers and
    adapters: they stay on local disk."""
    changes = {
        "publication": name,
        "shards": [PublishedShard(**shard) for shard in shards],
        "index": [],
        "used": [],
        "answers": [],
        "adapters": [adapter.model_copy(update={"path": ""}) for adapter in manifest.adapters],
    }
    return manifest.model_copy(update=changes)


def rollback(bucket: Bucket, date: str, clock: Clock = utc_now) -> Manifest | None:
    """Points a date to its earlier publication and returns that one's manifest.

    Without an earlier one it returns None and the date is withdrawn: no longer published, but kept in the history.
    Raises StoreError when the date is not published or the earlier manifest is damaged.
    """
    bucket.probe(stamp(clock()))
    shown: list[Manifest | None] = []

    def edit(pointer: Pointer) -> Pointer:
        if date not in pointer.dates:
            raise StoreError(f"{date}: not published at {bucket.url}; see gristmill store list --out {bucket.url}")
        names = [entry["publication"] for entry in pointer.kept(date)]
        place = names.index(pointer.dates[date]["publication"] or "")
        manifest = manifest_of(bucket, names[place - 1]) if place else None
        shown[:] = [manifest]
        if manifest is None:
            return pointer.with_date(date, None, pointer.history[date])
        shards: Any = [shard.model_dump() for shard in manifest.shards]
        entry: DateEntry = {
            "publication": names[place - 1],
            "digest": manifest.digest,
            "rows": manifest.accepted,
            "shards": shards,
        }
        return pointer.with_date(date, entry, pointer.history[date])

    change(bucket, edit)
    return shown[0]


def manifest_of(bucket: Bucket, publication: str) -> Manifest:
    """The manifest of a publication. Raises StoreError when it is missing or damaged."""
    text = bucket.read(publication)
    try:
        return Manifest.from_json((text or b"").decode())
    except ValueError:
        raise StoreError(
            f"{bucket.url}/{publication}: {'missing' if text is None else 'damaged'}; restore an earlier version "
            "of the object, or publish its date again (gristmill store publish DATE) and remove this publication "
            "(gristmill store gc --keep 0 --delete)"
        ) from None


def stamp(when: datetime) -> str:
    """A time as it is written in the names of objects."""
    return when.strftime(_TIME_FORMAT)


def uploaded(name: str) -> datetime | None:
    """When an object was uploaded, by its name; None if the name is not one that `publish` gives."""
    try:
        return datetime.strptime(name.rpartition("/")[2].partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _sha256(name: str) -> str:
    """The hash in the name of a shard's object."""
    return name.rpartition("/")[2].partition("-")[2].removesuffix(".parquet")

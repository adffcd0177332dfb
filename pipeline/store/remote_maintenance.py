"""Maintenance of a data set on an object store: list what is published, verify its objects, remove garbage."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from configs.errors import ConfigError, StoreError
from pipeline.store.maintenance import Fault
from pipeline.store.remote import GRACE_PERIOD, Clock, manifest_of, stamp, uploaded, utc_now
from pipeline.store.remote_pointer import Pointer, PublicationEntry, read
from stages.storage import snapshot
from stages.storage.bucket import Bucket, Conflict

PARALLEL_REQUESTS = 8


def listing(bucket: Bucket) -> list[dict[str, Any]]:
    """As `pipeline.store.maintenance.listing`, by one request. Raises ConfigError if nothing was ever published."""
    pointer = _pointer(bucket)
    rows = []
    for date in sorted(pointer.history):
        known = pointer.kept(date)
        shown = pointer.dates.get(date, {}).get("publication")
        figures = next((entry for entry in known if entry["publication"] == shown), {})
        rows.append(
            {
                "date": date,
                "state": "published" if figures else "withdrawn",
                "rows": figures.get("rows", 0),
                "bytes": figures.get("bytes", 0),
                "publication": shown,
                "publications": [entry["publication"] for entry in known],
                "run_id": figures.get("run_id"),
            }
        )
    return rows


def verify(bucket: Bucket) -> tuple[int, int, list[Fault]]:
    """Hashes every object that the pointer or a publication names, several at once, with one block of each in memory.

    Returns the number of objects and bytes read, and the faults. Raises StoreError when the pointer is damaged.
    """
    pointer = _pointer(bucket)
    faults: list[Fault] = []
    expected: dict[str, tuple[str, int, str]] = {}  # sha256, bytes and fix by name
    for date in pointer.history:
        publish_again = f"upload it again: gristmill store publish {date} --out DIR --to {bucket.url}"
        shown = pointer.dates.get(date, {"publication": None, "shards": []})
        for entry in pointer.kept(date):
            place, shards = entry["publication"], shown["shards"]
            fix = "remove its publication: gristmill store gc --keep 0 --delete"
            if place == shown["publication"]:
                fix = publish_again
            try:
                shards = [shard.model_dump() for shard in manifest_of(bucket, place).shards]
            except StoreError as error:
                faults.append(Fault(place, "missing" if "missing" in str(error) else "damaged", fix))
            for shard in shards:
                if shard["file"] not in expected or fix == publish_again:
                    expected[shard["file"]] = (shard["sha256"], shard["bytes"], fix)
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        hashes = list(pool.map(bucket.sha256, expected))
    for (name, (digest, size, fix)), stored in zip(expected.items(), hashes, strict=True):
        if stored != (digest, size):
            faults.append(Fault(name, "missing" if stored is None else "damaged", fix))
    read_bytes = sum(stored[1] for stored in hashes if stored)
    return len(expected), read_bytes, sorted(faults, key=lambda fault: fault.file)


def collect(bucket: Bucket, keep: int | None, *, delete: bool, clock: Clock = utc_now) -> tuple[list[str], int]:
    """Lists objects that no manifest names and that are older than GRACE_PERIOD; removes them with `delete`.

    With `keep`, also old publications: of each date the one shown and the `keep` newest others stay. The pointer
    marks a publication as gone before its files are removed. Manifests that no history names are then removed as well.
    Objects whose names `publish` did not give are never touched.

    Returns the names and the sum of their bytes. Raises StoreError when a manifest is damaged, or when another
    publisher changes the pointer at the same time.
    """
    now = clock()
    objects = {name: size for top in ("data", "history", "probe") for name, size in bucket.names(top).items()}
    old = {name for name in objects if (sent := uploaded(name)) is not None and now - sent > GRACE_PERIOD}
    pointer = _pointer(bucket)
    kept = pointer if keep is None else replace(pointer, history=_newest(pointer, keep))
    manifests, listed = (
        {e["publication"] for date in each.history for e in each.kept(date)} for each in (kept, pointer)
    )
    unlisted = {name for name in objects if name.startswith("history/")} - listed
    manifests |= unlisted if keep is None else unlisted - old  # a publisher may be about to point to it
    wanted = {shard["file"] for entry in pointer.dates.values() for shard in entry["shards"]}
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        for manifest in pool.map(lambda name: manifest_of(bucket, name), sorted(manifests)):
            wanted |= {shard.file for shard in manifest.shards}
    expired = listed - manifests
    garbage = [name for name in objects if name in expired or (name in old and name not in wanted | manifests)]
    if delete and garbage:
        _forget(bucket, pointer, kept, stamp(now))
        garbage.sort(key=lambda name: not name.startswith("history/"))  # manifests first: none names a removed shard
        for top in (True, False):
            with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
                list(pool.map(bucket.remove, [name for name in garbage if name.startswith("history/") is top]))
    return sorted(garbage), sum(objects[name] for name in garbage)


def _newest(pointer: Pointer, keep: int) -> dict[str, list[PublicationEntry]]:
    """The history with all publications marked as gone except the one shown and the `keep` newest others of a date."""
    history = {}
    for date, known in pointer.history.items():
        shown = pointer.dates.get(date, {}).get("publication")
        others = [entry["publication"] for entry in pointer.kept(date) if entry["publication"] != shown]
        gone = others[: max(len(others) - keep, 0)]
        history[date] = [entry | {"gone": True} if entry["publication"] in gone else entry for entry in known]
    return history


def _forget(bucket: Bucket, pointer: Pointer, kept: Pointer, now: str) -> None:
    if kept.history == pointer.history:
        return
    bucket.probe(now)
    try:
        bucket.put(snapshot.NAME, kept.content(), pointer.version)
    except Conflict:
        raise StoreError(
            f"{bucket.url}: another publisher changed {snapshot.NAME} at the same time; call gc again"
        ) from None


def _pointer(bucket: Bucket) -> Pointer:
    pointer = read(bucket)
    if pointer.version is None:
        raise ConfigError(
            f"{bucket.url}: no {snapshot.NAME}, so nothing is published there; give the URL of the config's `publish`"
        )
    return pointer

"""A data set on an object store: finished dates of one or many local data sets, by one pointer.

<url>/current.json                               every date's shards, and by date its publications, oldest first
<url>/history/2026-11-21/<time>-<digest>.json    the manifest of a publication
<url>/data/domain=law/date=2026-11-21/<time>-<sha256>.parquet

Objects are written once and never changed, but for `current.json`, which is put on condition that it is what was read
(`stages.storage.bucket`): of two publishers the second reads anew and adds its date to the first one's. A time is
that of the
upload in UTC. What lies there for less than REUSE is taken for one's own upload by an earlier attempt; nothing younger
than GRACE is ever removed. So a publisher that ends within REUSE never names what `store gc` has its eyes on.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from configs.errors import StoreError
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest, PublishedShard
from stages.storage import snapshot
from stages.storage.bucket import Bucket, Conflict, as_json
from stages.storage.inputs import check_input
from stages.storage.records import FileRef

GRACE = timedelta(hours=24)
REUSE = GRACE / 2
TRIES = 30
_FORMAT = "%Y%m%dT%H%M%S%fZ"
_AT_ONCE = 2  # files; each is sent in several parts at once

Clock = Callable[[], datetime]
Entry = dict[str, Any]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Pointer:
    """`current.json` as it was read."""

    dates: dict[str, Entry]  # as stages.storage.snapshot
    # by date publications, oldest first: publication, digest, rows, bytes, run_id, and `gone` where gc took its files:
    # it is still known, or the next run would publish again what was rolled back
    history: dict[str, list[Entry]]
    version: str | None  # None: there is none yet

    def knows(self, date: str, digest: str) -> bool:
        return any(entry["digest"] == digest for entry in self.history.get(date, ()))

    def kept(self, date: str) -> list[Entry]:
        return [entry for entry in self.history.get(date, ()) if not entry.get("gone")]

    def with_date(self, date: str, entry: Entry | None, history: list[Entry]) -> "Pointer":
        others = {other: of for other, of in self.dates.items() if other != date}
        dates = others if entry is None else others | {date: entry}
        return replace(self, dates=dates, history=self.history | {date: history})


def read(bucket: Bucket, *, to_change: bool = True) -> Pointer:
    """Raises StoreError when it is damaged. One read, or two where it is to be changed."""
    found = bucket.read_versioned(snapshot.NAME) if to_change else (bucket.read(snapshot.NAME), "")
    if found is None or found[0] is None:
        return Pointer({}, {}, None)
    value = snapshot.parsed(found[0])
    if value is None or not isinstance(value.get("history"), dict):
        raise StoreError(
            f"{bucket.url}/{snapshot.NAME}: damaged, or not written by `publish`; put back an earlier version of it"
        )
    return Pointer(value["dates"], value["history"], found[1])


def change(bucket: Bucket, edit: Callable[[Pointer], Pointer | None]) -> None:
    """Replaces the pointer by what `edit` makes of it, None being no change; again where another's put landed first."""
    for attempt in range(TRIES):
        pointer = read(bucket)
        edited = edit(pointer)
        if edited is None:
            return
        value = {"version": 1, "dates": dict(sorted(edited.dates.items())), "history": edited.history}
        try:
            return bucket.put(snapshot.NAME, as_json(value), pointer.version)
        except Conflict:
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
    raise StoreError(
        f"{bucket.url}/{snapshot.NAME}: changed by others {TRIES} times in a row; run the same command again"
    )


def publish(bucket: Bucket, data: DataSet, clock: Clock = utc_now) -> tuple[list[str], list[str]]:
    """Publishes each finished date that the bucket has never had: their names, and notes on dates that differ.

    What was published once and shows no more was rolled back there, or another publisher's came after it: it is left
    alone. Safe to call again after a crash at any point, and at once with others. A no-op costs one read.
    """
    local = snapshot.read(data.root) or {}
    pointer = read(bucket, to_change=False)
    made = [date for date, entry in sorted(local.items()) if not pointer.knows(date, entry["digest"])]
    for date in made:
        publish_date(bucket, data, date, clock, again=False, probe=date == made[0])
    differ = [date for date, entry in local.items() if pointer.dates.get(date, {}).get("digest") != entry["digest"]]
    return made, [
        f"{date}: {bucket.url} shows another publication, or none, after this one; "
        f"gristmill store publish {date} --out {data.root} --to {bucket.url} shows this one again"
        for date in sorted(set(differ) - set(made))
    ]


def publish_date(
    bucket: Bucket, data: DataSet, date: str, clock: Clock = utc_now, *, again: bool = True, probe: bool = True
) -> None:
    """Publishes a date. With `again` also one that the bucket has had, and no stored shard is trusted unread.

    Raises StoreError when it is not finished, InputError when a local file is damaged.
    """
    entry = (snapshot.read(data.root) or {}).get(date)
    if entry is None:
        raise StoreError(f"{date}: not published in {data.root}; gristmill store list --out {data.root} has what is")
    begun = clock()
    if probe:
        bucket.probe(stamp(begun))
    name = f"history/{date}/{stamp(begun)}-{entry['digest'][:16]}.json"
    manifest = data.publication(entry["publication"]) if entry["publication"] else data.manifest(date)
    if manifest is None:
        raise StoreError(
            f"{data.manifest_path(date)}: missing, although {snapshot.NAME} names the date; run it with --force"
        )
    sources = [FileRef(shard["file"], shard["sha256"], shard["rows"], shard["bytes"]) for shard in entry["shards"]]

    def edit(pointer: Pointer) -> Pointer | None:
        known = pointer.history.get(date, [])
        if any(of["publication"] == name for of in known) or (not again and pointer.knows(date, entry["digest"])):
            return None  # landed, although its answer was lost
        start = clock()
        shards = _upload(bucket, data.root, date, entry["shards"], sources, pointer, clock, check=again)
        bucket.write(name, as_json(_remote_manifest(manifest, name, shards).to_dict()))
        if clock() - start > REUSE:
            raise StoreError(f"{date}: publishing took more than {REUSE}; run the same command again, it goes on")
        shown = {"publication": name, "digest": entry["digest"], "rows": entry["rows"]}
        size = sum(shard["bytes"] for shard in shards)
        history = [*known, shown | {"bytes": size, "run_id": manifest.run_id}]
        return pointer.with_date(date, shown | {"shards": shards}, history)

    change(bucket, edit)


def _upload(
    bucket: Bucket,
    root: Path,
    date: str,
    shards: list[Entry],
    sources: list[FileRef],
    pointer: Pointer,
    clock: Clock,
    *,
    check: bool,
) -> list[Entry]:
    """The shards under their names in the bucket; those that it lacks are sent."""
    shown = {shard["file"] for shard in pointer.dates.get(date, {}).get("shards", ())}
    there: dict[tuple[str, str, int], str] = {}
    for domain in sorted({shard["domain"] for shard in shards}):
        for name, size in bucket.names(f"data/domain={domain}/date={date}").items():
            sent = uploaded(name)
            if name in shown or (sent is not None and clock() - sent < REUSE):
                there[domain, _sha256(name), size] = name

    def place(shard: Entry, source: FileRef) -> Entry:
        name = there.get((shard["domain"], shard["sha256"], shard["bytes"]))
        if name is None or (check and bucket.sha256(name) != (shard["sha256"], shard["bytes"])):
            name = f"data/domain={shard['domain']}/date={date}/{stamp(clock())}-{shard['sha256']}.parquet"
            bucket.upload(check_input(str(root), source), name)
        return shard | {"file": name}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(place, shards, sources))


def _remote_manifest(manifest: Manifest, name: str, shards: list[Entry]) -> Manifest:
    """A date's manifest as a bucket has it: dedup keys, used passages and adapters stay on the engine's disk."""
    changes = {
        "publication": name,
        "shards": [PublishedShard(**shard) for shard in shards],
        "index": [],
        "used": [],
        "adapters": [adapter.model_copy(update={"path": ""}) for adapter in manifest.adapters],
    }
    return manifest.model_copy(update=changes)


def rollback(bucket: Bucket, date: str, clock: Clock = utc_now) -> Manifest | None:
    """Points a date to the publication before, and returns its manifest; None where there is none: it is withdrawn.

    Raises StoreError when the date is not published or the earlier manifest is damaged.
    """
    bucket.probe(stamp(clock()))
    shown: list[Manifest | None] = []

    def edit(pointer: Pointer) -> Pointer:
        if date not in pointer.dates:
            raise StoreError(
                f"{date}: not published at {bucket.url}; gristmill store list --out {bucket.url} has what is"
            )
        names = [entry["publication"] for entry in pointer.kept(date)]
        place = names.index(pointer.dates[date]["publication"])
        manifest = manifest_of(bucket, names[place - 1]) if place else None
        shown[:] = [manifest]
        if manifest is None:
            return pointer.with_date(date, None, pointer.history[date])
        entry = {"publication": names[place - 1], "digest": manifest.digest, "rows": manifest.accepted}
        shards = [shard.model_dump() for shard in manifest.shards]
        return pointer.with_date(date, entry | {"shards": shards}, pointer.history[date])

    change(bucket, edit)
    return shown[0]


def manifest_of(bucket: Bucket, publication: str) -> Manifest:
    """Raises StoreError when it is missing or damaged."""
    text = bucket.read(publication)
    try:
        return Manifest.from_json((text or b"").decode())
    except ValueError:
        raise StoreError(
            f"{bucket.url}/{publication}: {'missing' if text is None else 'damaged'}; put back an earlier version, "
            "or publish its date again (gristmill store publish DATE) and let gc --keep 0 forget it"
        ) from None


def stamp(when: datetime) -> str:
    return when.strftime(_FORMAT)


def uploaded(name: str) -> datetime | None:
    """When an object was sent, by its name; None for one that `publish` did not name."""
    try:
        return datetime.strptime(name.rpartition("/")[2].partition("-")[0], _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _sha256(name: str) -> str:
    return name.rpartition("/")[2].partition("-")[2].removesuffix(".parquet")

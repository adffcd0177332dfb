"""`current.json`: the pointer to a data set's files. It names all published files of every date.

It is replaced by one rename, so a reader sees a date either before or after it was published. The files that it names
are in `history/`, in a folder for each publication of a date. They stay there when the date is published again, until
`gristmill store gc --keep` removes them: readers of the previous pointer are not disturbed.

On an object store (pipeline/store/remote_pointer.py) it has `history` as well as `dates`, and is replaced by a
conditional put.
"""

import json
import re
from pathlib import Path
from typing import Any, TypedDict

from configs.errors import InputError, StoreError
from stages.storage.atomic import replacing
from stages.storage.bucket import Bucket
from stages.storage.checksum import sha256_file
from stages.storage.packages import cache_folder, using_cache

NAME = "current.json"


class ShardEntry(TypedDict):
    """A published shard. `file` is relative to the folder or the bucket that has the pointer."""

    file: str
    domain: str
    rows: int
    bytes: int
    sha256: str


class DateEntry(TypedDict):
    """What a date shows at present."""

    publication: str | None  # its folder, on a bucket its manifest; None: published before there was a history
    digest: str  # of the rows
    rows: int
    shards: list[ShardEntry]


def read(root: Path) -> dict[str, DateEntry] | None:
    """The dates that are published; None before the first publication.

    Raises StoreError when the file is damaged.
    """
    path = root / NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if (pointer := parsed(content)) is None:
        raise StoreError(f"{path}: damaged; remove it and run any date of the data set with --force")
    return pointer["dates"]


def parsed(content: bytes) -> dict[str, Any] | None:
    """The pointer, from the file's content; None when it is damaged."""
    try:
        pointer = json.loads(content)
        shards = [shard for entry in pointer["dates"].values() for shard in entry["shards"]]
        assert all(isinstance(shard["file"], str) for shard in shards)
        return pointer
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        return None


def to_json(dates: dict[str, DateEntry]) -> str:
    """The content of `current.json` on disk."""
    return json.dumps({"version": 1, "dates": dict(sorted(dates.items()))}, indent=1, ensure_ascii=False)


def files(root: Path, dates: dict[str, DateEntry]) -> list[Path]:
    """The paths of all dates' shards, oldest date first."""
    return [root / shard["file"] for date in sorted(dates) for shard in dates[date]["shards"]]


def fetch(url: str) -> list[Path]:
    """Downloads the shards that an object store's pointer names to the cache, unless they are there already.

    Returns their paths, oldest date first. Raises InputError when nothing is published there or a shard is damaged,
    ConfigError and StoreError as `Bucket`.
    """
    bucket = Bucket.open(url)
    content = bucket.read(NAME)
    if content is None:
        raise InputError(f"{url}: no {NAME}, so nothing is published there; give the URL of the config's `publish`")
    if (pointer := parsed(content)) is None:
        raise StoreError(f"{url}/{NAME}: damaged; restore an earlier version of the object")
    dates: dict[str, DateEntry] = pointer["dates"]
    shards = [shard for date in sorted(dates) for shard in dates[date]["shards"]]
    if not shards:
        raise InputError(f"{url}: no date is published there; publish one first (gristmill store publish)")
    folder = cache_folder() / "shards"
    with using_cache():
        folder.mkdir(parents=True, exist_ok=True)
    return [_cached(bucket, shard, folder) for shard in shards]


@using_cache()
def _cached(bucket: Bucket, shard: ShardEntry, folder: Path) -> Path:
    if not re.fullmatch("[0-9a-f]{64}", shard["sha256"]):  # it becomes a file name
        raise StoreError(f"{bucket.url}/{NAME}: damaged; restore an earlier version of the object")
    target = folder / f"{shard['sha256']}.parquet"
    if target.exists() and target.stat().st_size == shard["bytes"]:
        return target
    with replacing(target, durable=False) as temporary:
        bucket.download(shard["file"], temporary)
        if sha256_file(temporary) != shard["sha256"]:
            raise InputError(
                f"{bucket.url}/{shard['file']}: damaged; gristmill store verify --out {bucket.url} says what to do"
            )
    return target

"""`current.json`: the one pointer by which a data set is read. It names the files of every date, whole or not at all.

It is replaced by one rename. What it names lies under `history/`, a folder for each publication of a date, and stays
there when the date is published again, until `gristmill store gc --keep` removes it: a reader that has read the pointer
reads on undisturbed.

On an object store (pipeline/store/remote.py) it has a `history` beside `dates`, and is replaced by a conditional put.
"""

import json
import re
from pathlib import Path
from typing import Any

from configs.errors import InputError, StoreError
from stages.storage.atomic import replacing
from stages.storage.bucket import Bucket
from stages.storage.checksum import sha256_file
from stages.storage.packages import cache_folder

NAME = "current.json"


def read(root: Path) -> dict[str, dict[str, Any]] | None:
    """By date `publication`, `digest`, `rows` and `shards`; None before the first publication.

    Raises StoreError when it is damaged.
    """
    path = root / NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    if (found := parsed(text)) is None:
        raise StoreError(f"{path}: damaged; remove it and run any date of the data set with --force")
    return found["dates"]


def parsed(text: bytes) -> dict[str, Any] | None:
    """The pointer's content; None when it is damaged."""
    try:
        found = json.loads(text)
        assert all(isinstance(shard["file"], str) for of in found["dates"].values() for shard in of["shards"])
        return found
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        return None


def text(dates: dict[str, dict[str, Any]]) -> str:
    return json.dumps({"version": 1, "dates": dict(sorted(dates.items()))}, indent=1, ensure_ascii=False)


def files(root: Path, dates: dict[str, dict[str, Any]]) -> list[Path]:
    """The shards of all dates, oldest date first."""
    return [root / shard["file"] for date in sorted(dates) for shard in dates[date]["shards"]]


def fetch(url: str) -> list[Path]:
    """The shards that an object store's pointer names, oldest date first, as files in the cache: each is read once.

    Raises InputError when nothing is published there or a shard is not what was published, StoreError as `Bucket`.
    """
    bucket = Bucket.open(url)
    text = bucket.read(NAME)
    if text is None:
        raise InputError(f"{url}: no {NAME}, so nothing is published there; name what `publish` names")
    if (found := parsed(text)) is None:
        raise StoreError(f"{url}/{NAME}: damaged; put back an earlier version of the object")
    shards = [shard for date in sorted(found["dates"]) for shard in found["dates"][date]["shards"]]
    if not shards:
        raise InputError(f"{url}: no date is published there")
    folder = cache_folder() / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    return [_cached(bucket, shard, folder) for shard in shards]


def _cached(bucket: Bucket, shard: dict[str, Any], folder: Path) -> Path:
    if not re.fullmatch("[0-9a-f]{64}", shard["sha256"]):  # it is to be a file's name
        raise StoreError(f"{bucket.url}/{NAME}: damaged; put back an earlier version of the object")
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

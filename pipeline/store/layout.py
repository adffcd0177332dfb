"""Names of published shards below `data/`, and the change to them of dates that earlier versions published.

The folders are Hive partitions, so that Spark finds the files in them and readers can skip folders. Their keys must not
be columns of the files: readers infer the type of a key (text, a date, a dictionary), and many refuse a column that has
two types. Earlier versions named the folders `domain=law/date=2026-11-21`.
"""

import logging
from contextlib import suppress

from configs.errors import GristmillError
from pipeline.store.dataset import DataSet

_FORMER_PREFIX = "data/domain="


def shard_folder(domain: str, date: str) -> str:
    """The folder of a domain's shards of a date, relative to the data set or bucket."""
    return f"data/shard_domain={domain}/shard_date={date}"


def move_former_shards(data: DataSet) -> None:
    """Moves the shards of finished dates from the folders of earlier versions. Call it with the lock taken.

    Readers that open `data/` as one table need the same keys in all paths. A date whose files are damaged stays where
    it is; the log says why.
    """
    for manifest in data.finished():
        if any(shard.file.startswith(_FORMER_PREFIX) for shard in manifest.shards):
            try:
                data.rename_shards(manifest.date, lambda name, date=manifest.date: _renamed(name, date))
            except (GristmillError, OSError) as error:
                logging.getLogger(__name__).warning(
                    "%s: its shards stay in the folders of an earlier version: %s", manifest.date, error
                )

    for folder in data.root.glob(f"{_FORMER_PREFIX}*"):
        with suppress(OSError):  # not empty: files that somebody else has put there
            folder.rmdir()


def _renamed(name: str, date: str) -> str:
    if not name.startswith(_FORMER_PREFIX):
        return name
    domain, _, file = name.removeprefix(_FORMER_PREFIX).split("/", 2)
    return f"{shard_folder(domain, date)}/{file}"

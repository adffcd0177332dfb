"""`current.json`: the one pointer by which a data set is read. It names the files of every date, whole or not at all.

It is replaced by one rename. What it names lies under `history/`, a folder for each publication of a date, and stays
there when the date is published again, until `gristmill store gc --keep` removes it: a reader that has read the pointer
reads on undisturbed.
"""

import json
from pathlib import Path
from typing import Any

from configs.errors import StoreError

NAME = "current.json"


def read(root: Path) -> dict[str, dict[str, Any]] | None:
    """By date `publication`, `digest`, `rows` and `shards`; None before the first publication.

    Raises StoreError when it is damaged.
    """
    path = root / NAME
    try:
        found = json.loads(path.read_text("utf-8"))["dates"]
        assert all(isinstance(shard["file"], str) for of in found.values() for shard in of["shards"])
        return found
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        raise StoreError(f"{path}: damaged; remove it and run any date of the data set with --force") from None


def text(dates: dict[str, dict[str, Any]]) -> str:
    return json.dumps({"version": 1, "dates": dict(sorted(dates.items()))}, indent=1, ensure_ascii=False)


def files(root: Path, dates: dict[str, dict[str, Any]]) -> list[Path]:
    """The shards of all dates, oldest date first."""
    return [root / shard["file"] for date in sorted(dates) for shard in dates[date]["shards"]]

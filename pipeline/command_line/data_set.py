"""The data set that a `store` command works on: a folder, or one that is published at a URL."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.store.dataset import DataSet
    from stages.storage.bucket import Bucket


def open_bucket(out: str) -> "Bucket | None":
    """The bucket, if `out` is a URL. Raises ConfigError for a URL of no known kind."""
    from stages.storage.bucket import Bucket, is_url

    return Bucket.open(out) if is_url(out) else None


def open_data_set(out: str) -> "DataSet":
    """The data set in a folder. Raises ConfigError if there is none."""
    from configs.errors import ConfigError
    from pipeline.store.dataset import DataSet

    data = DataSet.open(out)
    if not any((data.root / name).is_dir() for name in ("manifests", "runs")):
        raise ConfigError(f"--out: {out!r} is no data set; name the folder that gristmill run wrote")
    return data


def parse_date(text: str) -> str:
    """A DATE argument as YYYY-MM-DD. Raises ConfigError."""
    from datetime import UTC, datetime

    from pipeline.run.dates import day

    return day(text, "DATE", datetime.now(UTC))


def write_dataset_card(data: "DataSet") -> None:
    """Writes the data set's README.md again, by the config of the newest date whose run folder is still there."""
    from configs.load import load
    from pipeline.report.dataset_card import dataset_card
    from stages.storage.atomic import write_text

    manifests = data.finished()
    configs = [path for date in data.dates() if (path := data.run_folder(date) / "config.yaml").exists()]
    if manifests and configs:
        write_text(data.root / "README.md", dataset_card(load(str(configs[-1])), manifests))

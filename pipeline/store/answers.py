"""The answers that dates keep for the training of better generators, and how long."""

from datetime import date, timedelta
from pathlib import Path

from pipeline.store.dataset import DataSet
from pipeline.store.maintenance import remove
from pipeline.store.manifest import Manifest
from stages.storage.atomic import write_text
from stages.storage.records import FileRef


def collected_answers(data: DataSet, up_to: str) -> list[tuple[str, str, list[FileRef]]]:
    """Date, digest of its rows, and files of answers of each published date up to `up_to` that has some, oldest first.

    Raises StoreError when a manifest is damaged.
    """
    manifests = data.finished(known for known in data.dates() if known <= up_to)
    return [(manifest.date, manifest.digest, manifest.answers) for manifest in manifests if manifest.answers]


def remove_old_answers(data: DataSet, today: str, keep_days: int) -> list[str]:
    """Removes the answers of dates more than `keep_days` before `today`, in all their publications.

    Call it with the data set's lock. Manifests are written first: what they name is always there. Rows and digests
    stay. Returns the dates. Raises StoreError when a manifest is damaged.
    """
    oldest = (date.fromisoformat(today) - timedelta(days=keep_days)).isoformat()
    known = {*data.dates(), *(path.name for path in data.root.glob("history/*"))}
    changed = []
    for old_date in sorted(each for each in known if each < oldest):
        for place in data.publications(old_date):
            _write_without_answers(data.root / place / "manifest.json", data.publication(place))
        if manifest := data.manifest(old_date):
            _write_without_answers(data.manifest_path(old_date), manifest)
        folders = [*data.root.glob(f"history/{old_date}/*/answers"), data.root / f"answers/date={old_date}"]
        folders = [folder for folder in folders if folder.is_dir()]
        remove(data, folders)
        changed += [old_date] if folders else []
    return changed


def _write_without_answers(path: Path, manifest: Manifest) -> None:
    if manifest.answers:
        write_text(path, manifest.model_copy(update={"answers": []}).to_json())

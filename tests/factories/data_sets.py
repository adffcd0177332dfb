"""Data sets: one that the command line finished, and small ones of text files, published without a run."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.store.manifest import Manifest, PublishedShard, content_digest
from stages.storage.atomic import write_text
from stages.storage.records import FileRef
from tests.factories.command_line import DATE, CommandResult
from tests.factories.manifests import manifest_of

NEXT_DATE = "2026-01-03"


def publish_texts(data, date, texts, index=("keys",)):
    """Publishes one file a text; returns the shards' texts in order."""
    files = {}
    for folder, each in ((f"data/domain=law/date={date}", texts), (f"index/date={date}", index)):
        for text in each:
            source = f"runs/{date}/stages/{text}.parquet"
            write_text(data.root / source, text)
            files[f"{folder}/{text}.parquet"] = FileRef(source, sha256(text.encode()).hexdigest(), 1, len(text))
    refs = {name: ref._replace(file=name) for name, ref in files.items()}
    shards = [ref for name, ref in refs.items() if name.startswith("data/")]
    manifest = manifest_of(
        date=date,
        accepted=len(texts),
        bytes=1,
        run_id=f"run of {texts}",
        digest=content_digest(shards),
        shards=[PublishedShard(file=r.file, domain="law", rows=1, bytes=r.bytes, sha256=r.sha256) for r in shards],
        index=[ref for name, ref in refs.items() if name.startswith("index/")],
    )
    data.publish(date, files, manifest)


class Killed(BaseException):
    """The process is gone at this call."""


def kill_at(monkeypatch: pytest.MonkeyPatch, calls: Iterable[tuple[Any, str]]) -> list[int]:
    """Raises Killed at the nth of these calls, (owner, name) each, once the returned list is set to [n]."""
    left = [10**9]

    def counting(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*arguments, **options)

        return call

    for owner, name in calls:
        monkeypatch.setattr(owner, name, counting(getattr(owner, name)))
    return left


@dataclass(frozen=True)
class FinishedDate:
    config: Path
    out: Path
    documents: Path
    result: CommandResult

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.out / "manifests" / f"{DATE}.json").read_text("utf-8"))

    @property
    def parsed_manifest(self) -> Manifest:
        return Manifest.model_validate(self.manifest)


def files_with(folder: Path, *secrets: str) -> list[str]:
    """The files of a folder that have one of these texts, Parquet read column by column."""
    leaks = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        text = str(pq.read_table(path).to_pydict()) if path.suffix == ".parquet" else path.read_text("utf-8", "replace")
        leaks += [str(path.relative_to(folder)) for secret in secrets if secret in text]
    return leaks


def copied(config: Path, folder: Path) -> Path:
    """Copies the folder of a config, with its documents and its data set. Returns the copy of the config."""
    shutil.copytree(config.parent, folder, dirs_exist_ok=True)
    copy = folder / config.name
    copy.write_text(config.read_text("utf-8").replace(str(config.parent), str(folder)), "utf-8")
    return copy

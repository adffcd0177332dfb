"""The user's own files: listed, opened and hashed wherever fsspec reaches (paths, `memory://`, `s3://`, …)."""

import hashlib
from dataclasses import dataclass
from typing import IO, Any, cast

from configs.errors import InputError

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".txt", ".md")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source. `name` is relative to the source's path, and goes into lineage."""

    url: str
    bytes: int
    name: str


def list_files(path: str) -> list[SourceFile]:
    """The files behind a path, folder (recursive), glob or URL, sorted by name.

    Raises InputError when there is none, or when one file is named whose suffix no reader knows.
    """
    fs, root = _filesystem(path)
    try:
        if fs.isdir(root):
            found, base = fs.find(root), root.rstrip("/")
        elif fs.exists(root):
            found, base = [root], root.rpartition("/")[0]
        elif any(mark in root for mark in "*?["):
            found, base = fs.glob(root), root[: min(root.find(mark) % (1 << 30) for mark in "*?[")].rpartition("/")[0]
        else:
            raise InputError(f"no such file {path!r}")
        names = {file: file.removeprefix(base).lstrip("/") for file in found}
        known = [
            file
            for file, name in names.items()
            if suffix(file) in SUFFIXES and (file == root or not any(p.startswith((".", "_")) for p in name.split("/")))
        ]
        if not known:
            raise InputError(f"{path!r} holds no file that can be read; there are readers for {', '.join(SUFFIXES)}")
        return [SourceFile(fs.unstrip_protocol(file), fs.size(file) or 0, names[file]) for file in sorted(known)]
    except OSError as error:
        raise InputError(f"{path!r}: cannot be listed ({error}); check its permissions and credentials") from error


def file_sha256(url: str) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with open_file(url) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _filesystem(path: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise InputError(f"{path!r}: {error}") from None


def open_file(url: str, compression: str | None = None) -> IO[bytes]:
    """The file's bytes, decompressed. Raises InputError naming the file."""
    import fsspec

    try:
        return cast(fsspec.core.OpenFile, fsspec.open(url, "rb", compression=compression)).open()
    except FileNotFoundError:
        raise InputError(f"{url}: no such file; it was there when the files were listed") from None
    except (OSError, ImportError, ValueError) as error:
        raise InputError(f"{url}: cannot be opened ({error})") from error


def suffix(url: str) -> str:
    """`.jsonl` of `…/a.JSONL.gz`."""
    return "." + url.removesuffix(".gz").rpartition("/")[2].rpartition(".")[2].lower()

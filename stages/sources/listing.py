"""Lists, opens and hashes the user's files, on any file system that fsspec supports (paths, `s3://`, …)."""

import hashlib
import re
from dataclasses import dataclass
from typing import IO, Any, cast

from configs.errors import InputError

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".txt", ".md")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source. `name` is relative to the source's path and is recorded in lineage."""

    url: str
    bytes: int
    name: str


def list_files(path: str) -> list[SourceFile]:
    """The readable files of a path, folder (recursive), glob or URL, sorted by name.

    In a folder, files with other suffixes and hidden files (`.name`, `_name`) are skipped. Raises InputError when no
    file is left.
    """
    fs, root = _filesystem(path)
    try:
        if fs.isdir(root):
            files, base = fs.find(root), root.rstrip("/")
        elif fs.exists(root):
            files, base = [root], root.rpartition("/")[0]
        elif any(mark in root for mark in "*?["):
            files, base = fs.glob(root), re.split(r"[*?[]", root)[0].rpartition("/")[0]
        else:
            raise InputError(f"no such file {path!r}")
        names = {file: file.removeprefix(base).lstrip("/") for file in files}
        readable = [
            file
            for file, name in names.items()
            if suffix(file) in SUFFIXES and (file == root or not any(p.startswith((".", "_")) for p in name.split("/")))
        ]
        if not readable:
            raise InputError(f"{path!r}: no readable file; the suffixes that can be read are {', '.join(SUFFIXES)}")
        return [SourceFile(fs.unstrip_protocol(file), fs.size(file) or 0, names[file]) for file in sorted(readable)]
    except OSError as error:
        raise InputError(f"{path!r}: cannot be listed ({error}); check its permissions and credentials") from error


def file_sha256(url: str) -> str:
    """The SHA-256 of a file as hex digits; the file is read in blocks."""
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
    """Opens a file for reading bytes, decompressed. Raises InputError with the file's name."""
    import fsspec

    try:
        return cast(fsspec.core.OpenFile, fsspec.open(url, "rb", compression=compression)).open()
    except FileNotFoundError:
        raise InputError(f"{url}: no such file; it was removed after the files were listed") from None
    except (OSError, ImportError, ValueError) as error:
        raise InputError(f"{url}: cannot be opened ({error})") from error


def suffix(url: str) -> str:
    """The suffix in lower case and without `.gz`: `.jsonl` for `…/a.JSONL.gz`."""
    return "." + url.removesuffix(".gz").rpartition("/")[2].rpartition(".")[2].lower()

"""Lists and hashes the user's files, on any file system that fsspec supports (paths, `s3://`, `zip://…::a.zip`, …)."""

import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import InputError
from stages.sources import formats
from stages.sources.opening import cause_of, filesystem, is_local, local_path, open_bytes, without_secrets
from stages.storage.activity import working_on

# What a data set's folder holds, where its documents lie in the same folder.
OUTPUT_NAMES = {
    "adapters",
    "audits",
    "current.json",
    "data",
    "history",
    "index",
    "manifests",
    "README.md",
    "runs",
    "used",
}
_CACHING = {"simplecache", "filecache", "blockcache", "cached"}  # file systems whose paths are those of the next one


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source, or one part of a large file.

    `name` is relative to the source's path and is recorded in lineage. A part is bytes `start` to `stop` (of Parquet:
    row groups), comes after `rows_before` rows, and has the file's first `header_bytes` before it. `stop` 0: all of it.
    """

    url: str
    bytes: int
    name: str
    start: int = 0
    stop: int = 0
    rows_before: int = 0
    header_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a source that can be read, and how many others there are, by what they are."""

    files: list[SourceFile] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def note(self) -> str:
        """What was passed over and what to do about it; empty if nothing was."""
        return formats.describe(self.passed_over.items())


def list_files(path: str) -> list[SourceFile]:
    """The readable files of a path, folder (recursive), glob or URL, sorted by name.

    Raises InputError when no file is left.
    """
    return list_source(path).files


def list_source(path: str, out: str = "") -> Listing:
    """The readable files of a path, folder (recursive), glob or URL, sorted by name.

    In a folder, hidden files (`.name`, `_name`) are skipped, linked folders are followed, and data sets of Gristmill
    are passed over: that of the run, in the folder `out`, and others. Raises InputError when no file is left.
    """
    working_on(f"listing {without_secrets(path, path)}", at_once=True)
    try:
        listing = _local(path, out) if is_local(path) else _remote(path)
    except InputError:
        raise
    except Exception as error:  # remote file systems raise what they like
        shown = without_secrets(path, path)
        raise InputError(
            f"{shown!r}: cannot be listed ({cause_of(error, path)}); check its permissions and credentials"
        ) from None
    if not listing.files:
        others = f"; passed over: {listing.note()}" if listing.passed_over else ""
        shown = without_secrets(path, path)
        raise InputError(
            f"{shown!r}: no readable file; the suffixes that can be read are {formats.readable_suffixes()}{others}"
        )
    return listing


def file_sha256(url: str) -> str:
    """The SHA-256 of a file as hex digits; the file is read in blocks."""
    digest = hashlib.sha256()
    with open_bytes(url) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _local(path: str, out: str) -> Listing:
    root = _on_disk(local_path(path))
    listing = Listing()
    if os.path.isdir(root):
        paths, base = _walk(root, out, listing.passed_over), root
    elif os.path.exists(root):
        paths, base = iter([root]), os.path.dirname(root)
    elif any(mark in root for mark in "*?["):
        from fsspec.utils import glob_translate

        base = re.split(r"[*?[]", root)[0].rpartition("/")[0]
        depth = None if "**" in root else root.count("/") - base.count("/")
        pattern = re.compile(glob_translate(_composed(root)))

        def matches(file: str) -> bool:
            return pattern.match(_composed(file)) is not None

        base = _on_disk(base)
        paths = (file for file in _walk(base or "/", out, listing.passed_over, depth, matches) if matches(file))
    else:
        raise InputError(f"no such file {path!r}; fix the path")
    for file in sorted(paths):
        name = file.removeprefix(base).lstrip("/")
        if file != root and any(part.startswith(formats.HIDDEN) for part in name.split("/")):
            continue
        what, size = formats.passed_over_as(file) if formats.reader_name(file) is None else "", 0
        try:
            status = os.stat(file)
            what, size = what if stat.S_ISREG(status.st_mode) else formats.SPECIAL, status.st_size
        except OSError:
            if not os.path.islink(file):
                raise
            what = formats.DANGLING
        if what:
            listing.passed_over[what] += 1
        else:
            listing.files.append(SourceFile(f"file://{file}", size, name))
    return listing


def _composed(path: str) -> str:
    """The path with one character for a letter and its accent, which macOS and others write as two."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _on_disk(path: str) -> str:
    """The path as the file system spells it, where it is there with other characters for the same letters."""
    if path.isascii() or os.path.lexists(path):
        return path
    folder, name = os.path.split(path)
    if not name:
        return path
    folder = _on_disk(folder)
    try:
        spelled = next((entry for entry in sorted(os.listdir(folder)) if _composed(entry) == _composed(name)), name)
    except OSError:
        spelled = name
    return os.path.join(folder, spelled)


def _walk(
    root: str, out: str, passed_over: Counter[str], depth: int | None = None, matches: Any = None
) -> Iterator[str]:
    """The files below a folder, in linked folders too; each folder once, whatever links to it.

    Real folders come before links, so that files have the name of the place where they are. `matches`: whether a
    file's path is asked for; only then is a data set worth a word.
    """
    own = os.path.realpath(out) if out else ""
    real_root = os.path.realpath(root)
    visited: set[str] = set()
    waiting = [(root, 0)]
    links: list[tuple[str, int]] = []
    while waiting or links:
        folder, level = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        is_own = real == own
        if real != real_root and (is_own or _is_data_set(real)):
            if matches is None:
                passed_over[formats.OWN_OUTPUT if is_own else formats.DATA_SETS] += 1
            continue
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_own and entry.name in OUTPUT_NAMES:
                    continue
                if not os.path.isdir(entry.path):  # False for links that lead nowhere or to themselves
                    yield entry.path
                elif not entry.name.startswith(formats.HIDDEN) and (depth is None or level + 1 < depth):
                    (links if entry.is_symlink() else waiting).append((entry.path, level + 1))


def _is_data_set(folder: str) -> bool:
    return Path(folder, "manifests").is_dir() and Path(folder, "current.json").is_file()


def _remote(path: str) -> Listing:
    fs, root = filesystem(path)
    bits = path.split("::")
    place = next((number for number, bit in enumerate(bits) if bit.partition("://")[0] not in _CACHING), 0)
    if bits[place].startswith(("http://", "https://")) and not re.search(r"\*|/(\?|$)", bits[place].partition("?")[0]):
        files, base = {root: fs.info(root)}, root.partition("?")[0].rpartition("/")[0]
    elif fs.isdir(root):
        files, base = fs.find(root, detail=True), root.rstrip("/")
    elif fs.exists(root):
        files, base = {root: fs.info(root)}, root.rpartition("/")[0]
    elif any(mark in root for mark in "*?["):
        files, base = fs.glob(root, detail=True), re.split(r"[*?[]", root)[0].rpartition("/")[0]
    else:
        raise InputError(f"no such file {without_secrets(path, path)!r}; fix the path")
    listing = Listing()
    for file in sorted(files):
        name = formats.file_name(file) if file == root else file.removeprefix(base).lstrip("/")
        if files[file].get("type") == "directory" or (
            file != root and any(part.startswith(formats.HIDDEN) for part in name.split("/"))
        ):
            continue
        url = path if file == root else _url(fs, bits, place, file)
        if formats.reader_name(url) is None:
            listing.passed_over[formats.passed_over_as(url)] += 1
        else:
            listing.files.append(SourceFile(url, files[file].get("size") or 0, name))
    return listing


def _url(fs: Any, bits: list[str], place: int, file: str) -> str:
    """The URL of a file of a listed file system; archives and caches before and after it stay in the chain."""
    if len(bits) == 1:
        return fs.unstrip_protocol(file)
    protocol = bits[place].partition("://")[0]
    if file.startswith(f"{protocol}://"):
        return "::".join([*bits[:place], file, *bits[place + 1 :]])
    return "::".join([*bits[:place], f"{protocol}://{file}", *bits[place + 1 :]])

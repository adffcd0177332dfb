"""An object store behind a URL, through fsspec: objects by name, and conditional puts.

A conditional put succeeds only if nobody else has changed the object. fsspec has no function for it, and each store its
own header: S3 `If-Match` and `If-None-Match`, Google a generation to match, Azure `If-Match`. Credentials and endpoints
come from where fsspec's file systems look for them: the environment, their own files, fsspec's configuration.
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

READ_BLOCK_BYTES = 8 << 20
UPLOAD_PART_BYTES = 16 << 20  # files of two parts or more are sent in parts


class Conflict(Exception):
    """The object was changed by another writer first."""


def _replace_s3(fs: Any, path: str, data: bytes, version: str) -> None:
    fs.pipe_file(path, data, IfMatch=version)


def _replace_gs(fs: Any, path: str, data: bytes, version: str) -> None:
    bucket, key, _ = fs.split_path(path)
    # as in gcsfs' own upload, which supports only mode=create
    place = f"{fs._location}/upload/storage/v1/b/{quote(bucket)}/o"
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

    package: str  # with fsspec's file system
    extra: str  # of gristmill, which installs the package
    version: str  # the key of fsspec's `info` whose value changes with each put
    replace: Callable[[Any, str, bytes, str], None]
    credentials: str  # the environment variables to set
    upload: dict[str, Any] = field(default_factory=dict)  # arguments of `put_file`
    get: dict[str, Any] = field(default_factory=dict)  # arguments of `cat_file`


_S3 = _Kind(
    "s3fs",
    "s3",
    "ETag",
    _replace_s3,
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role, and AWS_ENDPOINT_URL where it is not AWS",
    upload={"chunksize": UPLOAD_PART_BYTES, "max_concurrency": 4},
    get={"max_concurrency": 1},  # one request, so that all bytes are of one version
)
_GS = _Kind("gcsfs", "gs", "generation", _replace_gs, "GOOGLE_APPLICATION_CREDENTIALS")
_AZ = _Kind("adlfs", "az", "etag", _replace_az, "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME")
_KINDS = {"s3": _S3, "gs": _GS, "gcs": _GS, "az": _AZ, "abfs": _AZ}


def is_url(place: str) -> bool:
    """Whether `place` is the URL of an object store, not a folder."""
    return "://" in place and not place.startswith("file://")


@dataclass(frozen=True)
class Bucket:
    """Objects under a URL, `s3://bucket/prefix`. Names are relative to it.

    Every method raises StoreError, which names the URL and the fix, when the store cannot be reached or denies access.
    """

    url: str
    _fs: Any
    _root: str
    _kind: _Kind

    @classmethod
    def open(cls, url: str) -> "Bucket":
        """The bucket at a URL; sends no request yet.

        Raises ConfigError when the URL is not that of a supported store or the store's package is not installed.
        """
        kind = _KINDS.get(url.partition("://")[0])
        if kind is None or not url.partition("://")[2].strip("/"):
            raise ConfigError(
                f"{url}: not a bucket; write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            )
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError:
            raise ConfigError(
                f"{url}: {kind.package} is not installed; pip install 'gristmill[{kind.extra}]'"
            ) from None
        except Exception as error:  # adlfs and gcsfs look for credentials at once
            raise _store_error(url, kind, error) from None
        return cls(url.rstrip("/"), fs, root.rstrip("/"), kind)

    def read(self, name: str) -> bytes | None:
        """An object's content; None if there is no such object."""
        with self._errors_reported(name):
            try:
                return self._fs.cat_file(self._path(name), **self._kind.get)
            except FileNotFoundError:
                return None

    def read_versioned(self, name: str) -> tuple[bytes, str] | None:
        """Content and version of an object, for `put`; None if there is no such object.

        If the object changes between the two requests, the version is the older one, and a `put` raises Conflict.
        """
        with self._errors_reported(name):
            try:
                version = str(self._fs.info(self._path(name))[self._kind.version])
                return self._fs.cat_file(self._path(name), **self._kind.get), version
            except FileNotFoundError:
                return None

    def put(self, name: str, data: bytes, version: str | None) -> None:
        """Replaces a small object if it still has this version; None creates it. Raises Conflict otherwise."""
        with self._errors_reported(name):
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
                    raise StoreError(self._no_conditional_puts()) from None
                raise

    def write(self, name: str, data: bytes) -> None:
        """Writes a small object without a condition; nobody else may use the name."""
        with self._errors_reported(name):
            self._fs.pipe_file(self._path(name), data)

    def upload(self, path: Path, name: str) -> None:
        """Uploads a file, a large one in parts. The object appears when all parts have arrived."""
        with self._errors_reported(name):
            self._fs.put_file(str(path), self._path(name), **self._kind.upload)

    def download(self, name: str, path: Path) -> None:
        """Writes an object to a file, with at most READ_BLOCK_BYTES in memory."""
        with self._errors_reported(name), self._open(name) as source, path.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)

    def sha256(self, name: str) -> tuple[str, int] | None:
        """Hex SHA-256 and size of an object, read in blocks; None if there is no such object."""
        digest, size = sha256(), 0
        with self._errors_reported(name):
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
        with self._errors_reported(folder):
            try:
                details = self._fs.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        prefix = f"{self._path(folder).rstrip('/')}/"  # some stores list the folder itself as well
        sizes = {path: int(info["size"] or 0) for path, info in sorted(details.items()) if path.startswith(prefix)}
        return {path.removeprefix(f"{self._root}/"): size for path, size in sizes.items()}

    def remove(self, name: str) -> None:
        """Removes an object. It is no error when there is none."""
        with self._errors_reported(name):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def probe(self, stamp: str) -> None:
        """Raises StoreError when the store ignores the condition of a put: two publishers would undo each other's work.

        `stamp`: the time, as in the names of other objects.
        """
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
                raise StoreError(self._no_conditional_puts())
        finally:
            self.remove(name)

    def _no_conditional_puts(self) -> str:
        return (
            f"{self.url}: the store does not honour conditional puts (If-Match, If-None-Match), so two publishers "
            "would undo each other's work; use a store that does (AWS; MinIO, Ceph, R2 and SeaweedFS in newer versions)"
        )

    def _open(self, name: str) -> Any:
        return self._fs.open(self._path(name), "rb", block_size=READ_BLOCK_BYTES)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors_reported(self, name: str) -> Iterator[None]:
        try:
            yield
        except (StoreError, Conflict):
            raise
        except Exception as error:  # errors of botocore, aiohttp, google and azure have no common class
            raise _store_error(f"{self.url}/{name}", self._kind, error) from None


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error of any of the file systems."""
    for each in filter(None, (error, error.__cause__, error.__context__)):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for name in ("status_code", "code"):
            if str(status := getattr(each, name, "")).isdigit():
                return int(status)
    return None


def _store_error(url: str, kind: _Kind, error: BaseException) -> StoreError:
    """The StoreError for an error of a file system: the URL, the fix, and the first line of the cause."""
    cause = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if isinstance(error, FileNotFoundError) or _status(error) == 404:
        fix = "no such bucket; create it, or name another one"
    elif isinstance(error, PermissionError) or _status(error) in (401, 403):
        fix = "access denied; the credentials need permission to read, write, list and delete there"
    elif "redential" in cause or "redential" in type(error).__name__:
        fix = f"no credentials; set {kind.credentials}"
    else:
        fix = f"cannot be reached or used; check the address, the network and {kind.credentials}"
    return StoreError(f"{url}: {fix} ({type(error).__name__}: {cause})")


def as_json(value: Any) -> bytes:
    """JSON as in `current.json` and manifests on disk."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode()

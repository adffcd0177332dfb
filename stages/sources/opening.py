"""Opens the user's files for reading bytes, decompressed, wherever they are.

Whatever a file system or a decompressor raises while a file is read becomes an InputError that names the file. The
query of a signed URL is a secret: no message has it.
"""

import bz2
import gzip
import io
import lzma
import os
import re
from collections.abc import Sequence
from typing import IO, Any

from configs.errors import InputError
from stages.sources.formats import suffixes
from stages.storage.activity import working_on
from stages.storage.disk_errors import is_disk_error

BUFFER_BYTES = 1 << 16
ZSTD_BLOCK_BYTES = 1 << 10  # compressed; its content is in memory, and may be some 30,000 times as large
_MAGIC = {b"\x1f\x8b\x08": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_MAGIC_BYTES = 6
_URL = re.compile(r"^[a-z][a-z0-9+.-]*(?:::|://)", re.IGNORECASE)
_QUERY = re.compile(r"(https?://[^\s?#'\")]*)[?#][^\s'\")]*")
ARCHIVES = ("zip", "tar", "libarchive")
_AS_WRITTEN = {"encoded": True}  # a signature covers the query as it is written: %2F stays %2F
HIDDEN = r"\1?…"


def is_local(path: str) -> bool:
    """Whether `path` is one of this machine, not a URL."""
    return path.startswith("file://") or not _URL.match(path)


def without_secrets(text: str, url: str = "") -> str:
    """`text` without the queries of URLs in it, and without that of `url` wherever it is."""
    for query in re.findall(r"https?://[^\s?#]*\?(\S+?)(?=::|$)", url):
        text = text.replace(query, "…")
    return _QUERY.sub(HIDDEN, text)


def cause_of(error: Exception, url: str) -> str:
    """What an error says, or the one that it was raised for, without the secrets of the URL."""
    cause = error.__cause__ or error
    return without_secrets(str(cause) or type(cause).__name__, url)


def filesystem(path: str) -> tuple[Any, str]:
    """The file system of a URL, and the path on it. Raises InputError."""
    import fsspec

    try:
        first, _, rest = path.partition("::")
        protocol = first.partition("://")[0]
        if protocol in ARCHIVES and rest.startswith(
            ("http://", "https://")
        ):  # fsspec takes the ? of a query for a glob
            fs, archive = filesystem(rest)
            archive_class = fsspec.get_filesystem_class(protocol)
            return archive_class(fo=fs.open(archive, "rb")), archive_class._strip_protocol(first)
        signed = re.search(r"(?:^|::)(https?)://[!-~]*\?", path)
        return fsspec.core.url_to_fs(_absolute(path), **({signed[1]: _AS_WRITTEN} if signed else {}))
    except InputError:
        raise
    except Exception as error:  # remote file systems raise what they like
        raise InputError(f"{without_secrets(path, path)!r}: {cause_of(error, path)}") from None


def open_bytes(url: str) -> io.BufferedReader:
    """Opens a file as it is stored. Raises InputError with the file's name, also while it is read."""
    stored, kept = _open(url)
    return io.BufferedReader(_Reported(url, stored, stored, kept), BUFFER_BYTES)


def open_file(url: str, parts: Sequence[tuple[int, int]] = ()) -> io.BufferedReader:
    """Opens a file decompressed; of `parts`, pairs of byte offsets, only these. Raises InputError, as `open_bytes`.

    How a file is compressed is seen by its first bytes where these say it: browsers and servers decompress files, or
    compress them once more, and keep their names.
    """
    stored, kept = _open(url)
    buffered: Any = io.BufferedReader(_Reported(url, stored, stored, kept), BUFFER_BYTES)
    compression = _compression(buffered.peek(_MAGIC_BYTES), suffixes(url)[1])
    if parts and compression:
        buffered.close()
        raise InputError(f"{without_secrets(url, url)}: is compressed; add {compression} to its name")
    if parts:
        ranges: Any = _Parts(buffered, parts)
        return io.BufferedReader(_Reported(url, ranges, stored, kept), BUFFER_BYTES)
    if compression:
        buffered = io.BufferedReader(_Reported(url, _DECOMPRESSORS[compression](buffered), stored, kept), BUFFER_BYTES)
        if again := _compression(buffered.peek(_MAGIC_BYTES), ""):
            buffered = io.BufferedReader(_Reported(url, _DECOMPRESSORS[again](buffered), stored, kept), BUFFER_BYTES)
    return buffered


def _compression(head: bytes, named: str) -> str:
    """The suffix of a file's compression by its first bytes; that of its name where these are no text either."""
    compression = next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), "")
    text = len(head) >= _MAGIC_BYTES and min(head) >= ord("\t")
    return compression or ("" if text else named)


def local_path(path: str) -> str:
    """The absolute path of a local path or `file://` URL; `~` is expanded."""
    return os.path.abspath(os.path.expanduser(path.removeprefix("file://")))


def _absolute(url: str) -> str:
    """The URL with absolute paths where it names local archives: `zip://a.txt::docs.zip`."""
    first, *rest = url.split("::")
    if not rest:
        return url
    return "::".join([first, *(f"file://{local_path(bit)}" if is_local(bit) else bit for bit in rest)])


def _open(url: str) -> tuple[Any, Any]:
    """The stream, and its file system: an archive is closed when its file system is freed."""
    shown = without_secrets(url, url)
    try:
        if is_local(url):
            return open(local_path(url), "rb"), None
        working_on(f"opening {shown}", at_once=True)
        fs, path = filesystem(url)
        return fs.open(path, "rb"), fs
    except FileNotFoundError:
        raise InputError(f"{shown}: no such file; it was removed after the files were listed") from None
    except InputError:
        raise
    except Exception as error:  # remote file systems raise what they like
        raise InputError(f"{shown}: cannot be opened ({cause_of(error, url)}); check address and permissions") from None


class _Reported(io.RawIOBase):
    """A stream whose errors name the file. It fills the whole buffer, unless the file ends."""

    def __init__(self, url: str, stream: IO[bytes], stored: IO[bytes], kept: Any) -> None:
        self._url = url
        self._work = f"reading {without_secrets(url, url)}"
        self._stream = stream
        self._stored = stored
        self._kept = kept

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        view, size = memoryview(buffer), 0
        try:
            while size < len(view) and (data := self._stream.read(len(view) - size)):
                view[size : size + len(data)] = data
                size += len(data)
                working_on(self._work)
        except InputError:
            raise
        except Exception as error:  # each decompressor and remote file system has its own
            fix = "the file is truncated or damaged: copy it again"
            if is_disk_error(error):
                fix = "look after its disk or mount, then run the same command again"
            shown = without_secrets(self._url, self._url)
            raise InputError(f"{shown}: cannot be read to the end ({cause_of(error, self._url)}); {fix}") from None
        return size

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._stored.close()
        super().close()


class _Parts:
    """Some byte ranges of a stream, one after another."""

    def __init__(self, stream: IO[bytes], parts: Sequence[tuple[int, int]]) -> None:
        self._stream = stream
        self._parts = [part for part in parts if part[1] > part[0]]
        self._left = 0

    def seekable(self) -> bool:
        return False

    def read(self, size: int) -> bytes:
        if not self._left and self._parts:
            start, stop = self._parts.pop(0)
            self._stream.seek(start)
            self._left = stop - start
        data = self._stream.read(min(size, self._left)) if self._left else b""
        if self._left and not data:
            raise EOFError("the file is shorter than when it was listed")
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._stream.close()


class _Zstd:
    """Decompresses Zstandard, also several frames in a row. `zstandard`'s own reader ends silently at a cut."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._frame: Any = None
        self._data = io.BytesIO()
        self._unused = b""

    def seekable(self) -> bool:
        return False

    def read(self, size: int) -> bytes:
        import zstandard

        while not (data := self._data.read(size)):
            block = self._unused or self._stream.read(ZSTD_BLOCK_BYTES)
            if not block and self._frame is not None:
                raise EOFError("it ends in the middle of a frame")
            if not block:
                return b""
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            self._data = io.BytesIO(self._frame.decompress(block))
            self._unused = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        return data

    def close(self) -> None:
        self._stream.close()


_DECOMPRESSORS: dict[str, Any] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _Zstd,
    ".zstd": _Zstd,
}

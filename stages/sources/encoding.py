"""In which encoding a text file is: the one that the config names, or UTF-8, or what its bytes say where it is not.

Readers get UTF-8. A file is taken for another encoding only if it has more bytes that are not UTF-8 than characters
that are, so one damaged row costs that row alone.
"""

import codecs
import io
from collections.abc import Callable
from typing import IO, Any

BUFFER_BYTES = 1 << 16
SAMPLE_BYTES = 1 << 17  # by which an encoding is chosen, from the first byte that is not UTF-8
MAX_SCANNED_BYTES = 1 << 22  # of a remote file, which is read twice so far; a local file is looked through
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # begins like that of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What English and Spanish text in Windows-1252 has beyond ASCII.
_WESTERN = frozenset(
    "áéíóúüñçàèìòùâêîôûäëïöåæœøßÁÉÍÓÚÜÑÇÀÈÌÒÙÊÎÔÛÄËÏÖÅÆŒØ¿¡ªº«»‹›‘’“”‚„–—…•·§¶©®™°±²³¼½¾×÷µ€£¥¢\xa0\xad†‡"
)
MIN_WESTERN_SHARE = 0.97


def is_encoding(name: str) -> bool:
    """Whether Python has a text encoding of this name."""
    try:
        return codecs.lookup(name)._is_text_encoding  # pyright: ignore[reportAttributeAccessIssue]
    except (LookupError, ValueError):
        return False


def has_single_byte_line_ends(encoding: str | None) -> bool:
    """Whether a line end is the byte 0A, and that byte nothing else, as in UTF-8."""
    return encoding is None or '\n"{,\n'.encode(encoding, "replace") == b'\n"{,\n'


def sniff(open_stream: Callable[[], IO[bytes]], language: str, max_bytes: int | None = None) -> str:
    """The encoding of a file; `utf-8` where nothing else is likelier.

    Args:
        open_stream: opens the file.
        language: of its text (ISO 639-1 code): Chinese files that are not UTF-8 are GB 18030 or Big5.
        max_bytes: how much of the file is looked through at most; None: all of it.
    """
    with open_stream() as stream:
        first = stream.read(SAMPLE_BYTES)
        encoding = next((name for mark, name in _MARKS.items() if first.startswith(mark)), None)
        if encoding == "utf-8" or (
            encoding is not None and _is_wide(first[:4096].decode(encoding, "replace"), language)
        ):
            return encoding
        if encoding is None and (wide := _without_mark(first)) is not None:
            return wide
        block, read, decoder = first, len(first), codecs.getincrementaldecoder("utf-8")()
        while block:
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return _judge(error.object[error.start :] + stream.read(SAMPLE_BYTES), language)
            if max_bytes is not None and read >= max_bytes:
                break
            block = stream.read(SAMPLE_BYTES)
            read += len(block)
    return "utf-8"


def _is_wide(text: str, language: str) -> bool:
    """Whether text that begins with the mark of UTF-16 or UTF-32 is that, and not bytes that begin so by chance."""
    if language == "zh":
        ranges = (("", "\x7f"), ("\u2010", "\u2027"), ("\u3000", "\u9fff"), ("\uff00", "\uffef"))
    else:
        ranges = (("", "\u024f"), ("\u2010", "\u2122"))
    usual = sum(any(low <= character <= high for low, high in ranges) for character in text)
    return usual > 0.8 * len(text)


def _without_mark(first: bytes) -> str | None:
    """UTF-16 without a byte-order mark, by the zero bytes of its spaces and line ends; None for other text."""
    head = first[:4096]
    if len(head) < 4 or b"\0" not in head:
        return None
    even, odd = head[0::2], head[1::2]
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        marks = zip(zeros, others, strict=False)
        breaks = sum(zero == 0 and character in b' \n\r\t,{}"' for zero, character in marks)
        if breaks and breaks * 200 >= len(zeros) and others.count(0) * 20 <= len(others):
            return encoding
    return None


def _judge(sample: bytes, language: str) -> str:
    """The encoding of text that is not UTF-8 from its first byte on."""
    text = sample.decode("utf-8", "surrogateescape")
    wrong = sum("\udc80" <= character <= "\udcff" for character in text)
    right = sum(character > "\x7f" for character in text) - wrong
    if right >= wrong:
        return "utf-8"
    if language == "zh":
        from charset_normalizer import from_bytes

        best = from_bytes(sample, cp_isolation=["gb18030", "big5"]).best()
        return best.encoding if best is not None else "utf-8"
    text = sample.decode("cp1252", "replace")
    characters = [character for character in text if character > "\x7f"]
    western = sum(character in _WESTERN for character in characters)
    is_cut_utf8 = "â€" in text  # the beginning of a quotation mark
    return "cp1252" if western >= MIN_WESTERN_SHARE * len(characters) and not is_cut_utf8 else "utf-8"


def as_utf8(stream: IO[bytes], encoding: str) -> io.BufferedReader:
    """The stream's text in UTF-8. Bytes that the encoding does not have stay as they are: that row cannot be read."""
    return io.BufferedReader(_Utf8(stream, encoding), BUFFER_BYTES)


def with_line_feeds(stream: io.BufferedReader) -> io.BufferedReader:
    """The same stream, or if its lines end with a carriage return alone, one in which they end with a line feed."""
    head = stream.peek(BUFFER_BYTES)
    if b"\n" in head or b"\r" not in head:
        return stream
    return io.BufferedReader(_Utf8(stream, "utf-8", (b"\r", b"\n")), BUFFER_BYTES)


class _Utf8(io.RawIOBase):
    """A stream in another encoding as UTF-8. `replaced`: a byte, and what it becomes."""

    def __init__(self, stream: IO[bytes], encoding: str, replaced: tuple[bytes, bytes] = (b"", b"")) -> None:
        self._stream = stream
        self._encoding = encoding
        self._replaced = replaced
        self._restart()

    def _restart(self) -> None:
        errors = "replace" if self._encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(self._encoding)(errors)
        self._text = b""
        self._at = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset or whence:
            raise io.UnsupportedOperation("only to the start")
        self._stream.seek(0)
        self._restart()
        return 0

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while self._at == len(self._text) and not self._ended:
            block = self._stream.read(BUFFER_BYTES)
            self._ended = not block
            text = self._decoder.decode(block, final=not block).encode("utf-8", "surrogateescape")
            self._text = text.replace(*self._replaced) if self._replaced[0] else text
            self._at = 0
        data = self._text[self._at : self._at + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

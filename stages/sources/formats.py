"""Which files are read: the suffix chooses the reader, and a second one the decompression, both in any case.

A file with another suffix is passed over; `Listing` counts it and says what to do about it.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec

# The reader's name by suffix.
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".md": "text",
    ".markdown": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd"}
READER_VERSIONS = {"csv": 2, "tsv": 2}  # raise one when a reader gives other rows for the same file
MODULES = {"html": "lxml", "pdf": "pypdf", "docx": "docx"}  # of other packages, by reader
INSTALL = "pip install 'gristmill[documents]' to read them"
DANGLING, SPECIAL = "broken links", "pipes, sockets and devices"
OWN_OUTPUT, DATA_SETS = "this data set's own folder", "folders of other data sets"

_FIXES = {
    "save them as .docx, .pdf or .txt": (".doc", ".rtf", ".odt", ".ppt", ".pptx", ".odp", ".epub", ".mobi", ".pages"),
    "export them as CSV": (".xls", ".xlsx", ".xlsm", ".ods", ".numbers"),
    "unpack them; a zip archive can be read as path: zip://*::FILE.zip": (
        *(".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar"),
    ),
    "save them as Parquet or JSON Lines": (
        *(".arrow", ".feather", ".orc", ".avro", ".sqlite", ".sqlite3", ".db", ".pkl", ".pickle", ".npy", ".bson"),
        ".xml",
    ),
    "rename them to .txt": (".text", ".rst", ".tex", ".adoc", ".org", ".log", ".asc", ".srt", ".vtt"),
    "compress them as .gz, .bz2, .xz or .zst": (".lz4", ".br", ".lzma", ".z", ".lz", ".snappy"),
    "links that lead nowhere: remove them, or restore what they name": (DANGLING,),
    "read as they are written they would never end": (SPECIAL,),
    "what a run writes is not read back": (OWN_OUTPUT, DATA_SETS),
}
_FIX_BY_WHAT = {what: fix for fix, names in _FIXES.items() for what in names}
HIDDEN = (".", "_", "~$")  # how names begin of files that are not meant to be read; the last are locks of Word
MAX_NAMED_SUFFIXES = 6  # without a fix of their own


def file_name(url: str) -> str:
    """The last part of a path or URL, without the query of an `https://` URL and the archive after `::`."""
    bits = url.split("::")
    place = next((bit for bit in bits if "://" in bit), url)
    if place.startswith(("http://", "https://")):
        place = place.partition("?")[0].partition("#")[0]
    return place.rstrip("/").rpartition("/")[2]


def suffixes(url: str) -> tuple[str, str]:
    """The suffix and that of the compression after it, in lower case: `.jsonl` and `.gz` for `…/a.JSONL.GZ`."""
    name, compression = file_name(url).lower(), ""
    for ending in COMPRESSIONS:
        if name.endswith(ending):
            name, compression = name.removesuffix(ending), ending
            break
    stem, dot, ending = name.rpartition(".")
    return (f".{ending}" if dot and stem else ""), compression


def reader_name(url: str) -> str | None:
    """The reader for a file; None where its suffix is unknown or its reader's package is not installed."""
    name = FORMATS.get(suffixes(url)[0])
    return name if name is not None and is_installed(name) else None


def is_installed(reader: str) -> bool:
    """Whether the package is installed that a reader needs."""
    return reader not in MODULES or _can_be_imported(MODULES[reader])


@cache
def _can_be_imported(module: str) -> bool:
    return find_spec(module) is not None


def readable_suffixes() -> str:
    """The suffixes that can be read, for messages."""
    listed = ", ".join(suffix for suffix, reader in FORMATS.items() if is_installed(reader))
    return f"{listed}, also with {', '.join(COMPRESSIONS)} after it"


def passed_over_as(url: str) -> str:
    """What a file is counted as that is passed over: its suffixes."""
    return "".join(suffixes(url)) or "without a suffix"


def describe(passed_over: Iterable[tuple[str, int]]) -> str:
    """What was passed over, by what can be done about it: `3 .pdf (pip install …); 2 .xlsx (export them as CSV)`."""
    by_fix: dict[str, Counter[str]] = {}
    for what, count in passed_over:
        suffix = suffixes(f"x{what}")[0]
        fix = INSTALL if suffix in FORMATS else _FIX_BY_WHAT.get(what) or _FIX_BY_WHAT.get(suffix, "")
        if not fix and suffixes(f"x{what}")[1]:
            fix = _FIX_BY_WHAT[".zip"] if suffix == ".tar" else ""
        by_fix.setdefault(fix, Counter())[what] += count
    parts = []
    for fix, counts in sorted(by_fix.items(), key=lambda item: not item[0]):  # without a fix: at the end
        named = [f"{count} {what}" for what, count in counts.most_common()]
        if not fix and len(named) > MAX_NAMED_SUFFIXES:
            rest = sum(count for _, count in counts.most_common()[MAX_NAMED_SUFFIXES:])
            named = [*named[:MAX_NAMED_SUFFIXES], f"{rest} others"]
        parts.append(f"{', '.join(named)} ({fix or 'not a format of documents that is read'})")
    return "; ".join(parts)

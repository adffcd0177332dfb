"""Lines of standard input, each as soon as it is there. What is not UTF-8 is an error that names it."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from configs.errors import InputError


def lines() -> Iterator[bytes | str]:
    """Yields the lines of standard input that are not empty, each as soon as it is there."""
    stream: Any = getattr(sys.stdin, "buffer", sys.stdin)
    nothing = stream.read(0)  # bytes or str
    for line in iter(stream.readline, nothing):
        if line.strip():
            yield nothing.join(line.splitlines())


def decoded(words: Iterable[bytes | str], name: str) -> Iterator[str]:
    """Yields words as text.

    Args:
        words: lines, or words of the command line; those that are not UTF-8 have their bytes as surrogates.
        name: what errors call a word; its number follows.

    Raises:
        InputError: a word is not UTF-8.
    """
    for number, word in enumerate(words, 1):
        try:
            yield (word if isinstance(word, bytes) else word.encode("utf-8", "surrogateescape")).decode()
        except UnicodeError:
            raise InputError(f"{name} {number} is not UTF-8; convert it, with iconv -f latin1 -t utf-8") from None

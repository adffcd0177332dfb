"""UTF-8 of texts that may have lone surrogates, which UTF-8 cannot encode: each becomes a question mark."""


def utf8(text: str) -> bytes:
    """The text in UTF-8."""
    return text.encode("utf-8", "replace")


def utf8_size(text: str) -> int:
    """The number of bytes of the text in UTF-8."""
    return len(utf8(text))


def without_surrogates(text: str) -> str:
    """The text with a question mark for each lone surrogate."""
    return text if text.isascii() else utf8(text).decode()

"""Token ids to text, one token at a time: the pieces put together are the text of all tokens decoded at once.

A piece ends where nothing that comes later can change it: never inside a character of UTF-8, never between the bytes
that a SentencePiece vocabulary spells a character with.
"""

import codecs
from collections.abc import Callable
from typing import Protocol

MAX_TOKENS_IN_DOUBT = 32  # a text that ends with U+FFFD may still become a character; not after so many tokens


class Detokenizer(Protocol):
    """The text of one answer, as its tokens come."""

    def feed(self, token: int) -> str:
        """Takes the next token and returns the text that is certain now; "" while a character is incomplete."""
        ...

    @property
    def is_pending(self) -> bool:
        """Whether tokens that were taken have text that was not returned yet."""
        ...

    def finish(self) -> str:
        """Returns the rest: U+FFFD for a character that stayed incomplete."""
        ...


class ByteDetokenizer:
    """For vocabularies of bytes (GPT-2, Llama 3, Qwen, SmolLM2, ours). `token_bytes`: the bytes of a token."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """Takes the next token and returns the text that is certain now."""
        return self._decoder.decode(self._bytes(token))

    @property
    def is_pending(self) -> bool:
        """Whether a character is incomplete."""
        return bool(self._decoder.getstate()[0])

    def finish(self) -> str:
        """Returns what an incomplete character is replaced by."""
        return self._decoder.decode(b"", final=True)


class WindowDetokenizer:
    """For all other vocabularies: decodes the newest tokens behind the ones before them.

    Most decoders treat the first token of a text in a way of its own (they remove a space). The newest tokens are
    therefore decoded together with those of the last piece, and what those give alone is cut off.

    Args:
        decode: token ids to text, special tokens included.
        decode_one: the same for one token, which comes often; it may be cached.
        is_byte: whether a token is one byte of a character (`<0xE4>`); a decoder looks at a whole run of them.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], decode_one: Callable[[int], str], is_byte: Callable[[int], bool]
    ) -> None:
        self._decode, self._decode_one, self._is_byte = decode, decode_one, is_byte
        self._tokens: list[int] = []  # of the last piece, then those whose text was not returned
        self._returned, self._returned_text = 0, ""  # how many tokens are of the last piece, and what they give alone

    def feed(self, token: int) -> str:
        """Takes the next token and returns the text that is certain now."""
        self._tokens.append(token)
        if self._is_byte(token):
            return ""
        text = self._decode(self._tokens)
        in_doubt = text.endswith("\ufffd") and len(self._tokens) - self._returned <= MAX_TOKENS_IN_DOUBT
        return "" if in_doubt else self._return(text)

    @property
    def is_pending(self) -> bool:
        """Whether tokens wait for others."""
        return len(self._tokens) > self._returned

    def finish(self) -> str:
        """Returns the text of the tokens that wait."""
        return self._return(self._decode(self._tokens)) if self.is_pending else ""

    def _return(self, text: str) -> str:
        piece = text[len(self._returned_text) :]
        del self._tokens[: self._returned]
        self._returned = len(self._tokens)
        self._returned_text = self._decode(self._tokens) if self._returned > 1 else self._decode_one(self._tokens[0])
        return piece

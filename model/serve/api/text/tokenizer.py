"""`Tokenizer`: texts and conversations to token ids, and token ids to text."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

from configs.errors import InputError
from model.serve.api.text.detokenizer import ByteDetokenizer, Detokenizer, WindowDetokenizer
from model.serve.port import RequestError
from model.silence import silence
from model.special_tokens import plain

CHARACTERS_IN_LOOP = 20_000  # longer texts are encoded in a thread, so that other requests go on
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_TEMPLATE_KEYS = frozenset({"conversation", "messages", "tokenize", "return_dict", "return_tensors", "chat_template"})

Messages = list[dict[str, Any]]


class Tokenizer:
    """A model's tokenizer and chat template. `tokenizer`: one of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self.wrapped = tokenizer
        self._lock = Lock()  # tokenizers in Python are not safe in threads
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        if self._fast is not None:
            self._fast.no_truncation()
            self._fast.no_padding()
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.special_ids = frozenset(tokenizer.all_special_ids) | {id for id, token in added.items() if token.special}
        self._takes_parts: bool | None = None

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """Opens the tokenizer of a model folder. Raises InputError."""
        from transformers import AutoTokenizer

        try:
            with silence():
                return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
        except Exception as error:  # the library has no common class for files that are missing or wrong
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(
                f"{folder}: its tokenizer cannot be loaded ({reason}); save it with tokenizer.save_pretrained(folder), "
                "beside the weights"
            ) from None

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations can be rendered."""
        return bool(getattr(self.wrapped, "chat_template", None))

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token: a text of more than that for each token of the context cannot fit."""
        return max(map(len, self.wrapped.get_vocab()), default=1)

    async def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of a text; special tokens that are spelt out in it count. Raises RequestError."""
        if len(text) > CHARACTERS_IN_LOOP:
            return await asyncio.to_thread(self.encode_now, text, add_special_tokens=add_special_tokens)
        return self.encode_now(text, add_special_tokens=add_special_tokens)

    def encode_now(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """`encode`, in this thread."""
        check_unicode(text)
        if self._fast is not None:
            return self._fast.encode(text, add_special_tokens=add_special_tokens).ids
        with self._lock:
            return self.wrapped(text, add_special_tokens=add_special_tokens)["input_ids"]

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        kept = [token for token in tokens if not (skip_special_tokens and token in self.special_ids)]
        if self._fast is not None:
            return self._fast.decode(kept, skip_special_tokens=False)
        with self._lock:
            return self.wrapped.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def detokenizer(self) -> Detokenizer:
        """A new detokenizer. What it returns for tokens is what `decode` returns for all of them at once."""
        if self._is_byte_level:
            return ByteDetokenizer(self._byte_level_bytes)
        decode = partial(self.decode, skip_special_tokens=False)
        if self._fast is not None:  # without what `decode` looks at
            decode = partial(self._fast.decode, skip_special_tokens=False)
        return WindowDetokenizer(decode, self._decode_one, self._is_byte)

    @lru_cache(maxsize=1 << 18)  # noqa: B019 - one tokenizer for the life of the server
    def _decode_one(self, token: int) -> str:
        return self.decode([token], skip_special_tokens=False)

    @lru_cache(maxsize=1 << 18)  # noqa: B019
    def _is_byte(self, token: int) -> bool:
        return bool(_BYTE_TOKEN.fullmatch(self.wrapped.convert_ids_to_tokens(token) or ""))

    @lru_cache(maxsize=1 << 18)  # noqa: B019 - one tokenizer for the life of the server
    def token_bytes(self, token: int) -> bytes:
        """What a token adds to a text, as bytes; a part of a character is not valid UTF-8."""
        if self._is_byte_level:
            return self._byte_level_bytes(token)
        name = self.wrapped.convert_ids_to_tokens(token) or ""
        if self._is_byte(token):
            return bytes([int(name[3:5], 16)])
        before = self._anchor  # a first token loses its space
        text = self.decode([*before, token], skip_special_tokens=False)
        return text[len(self.decode(before, skip_special_tokens=False)) :].encode()

    def token_text(self, token: int) -> str:
        r"""What a token adds to a text; `bytes:\xe4\xbd` for a part of a character, as OpenAI's API has it."""
        content = self.token_bytes(token)
        try:
            return content.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)

    def info(self) -> dict[str, str | None]:
        """The special tokens and the chat template, as lm-eval's remote tokenizer reads them."""
        names = {key: getattr(self.wrapped, key, None) for key in ("bos_token", "eos_token", "pad_token")}
        template = self.wrapped.chat_template if self.has_chat_template else None
        return {
            "tokenizer_class": type(self.wrapped).__name__,
            **{key: None if name is None else str(name) for key, name in names.items()},
            "chat_template": template if isinstance(template, str) else None,
        }

    async def conversation(
        self,
        messages: Messages,
        options: Mapping[str, Any],
        *,
        answer_next: bool = True,
        continue_last: bool = False,
        add_special_tokens: bool = False,
    ) -> list[int]:
        """Token ids of a conversation, up to where the next answer begins.

        Special tokens that are spelt out in a message are plain text: they neither begin nor end a turn.

        Args:
            messages: dictionaries of `role` and `content`, a text.
            options: variables of the chat template.
            answer_next: end with what begins an answer.
            continue_last: leave the last message open, so that the answer goes on with it.
            add_special_tokens: add those that begin a text, which templates mostly write themselves.

        Raises:
            RequestError: there is no chat template, or it refuses the conversation.
        """
        if not self.has_chat_template:
            raise RequestError("This model has no chat template; send the text itself to /v1/completions.", "messages")
        if wrong := sorted(_TEMPLATE_KEYS & set(options)):
            raise RequestError(f"{wrong[0]} is no variable of a chat template.", "chat_template_kwargs")
        for message in messages:
            check_unicode(message["content"])
        clean = [{**message, "content": plain(self.wrapped, message["content"])} for message in messages]
        text = self._render(clean, dict(options), answer_next=answer_next, continue_last=continue_last)
        return await self.encode(text, add_special_tokens=add_special_tokens)

    def _render(self, messages: Messages, options: dict[str, Any], *, answer_next: bool, continue_last: bool) -> str:
        keys = {"tokenize": False, "add_generation_prompt": answer_next, "continue_final_message": continue_last}
        if self._takes_parts is None:
            self._takes_parts = self._needs_parts()
        if self._takes_parts:
            messages = [row | {"content": [{"type": "text", "text": row["content"]}]} for row in messages]
        try:
            return self.wrapped.apply_chat_template(messages, **options, **keys)
        except Exception as error:  # a template may raise anything, by what a request gives it
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise RequestError(f"The model's chat template refuses the conversation: {reason}", "messages") from None

    def _needs_parts(self) -> bool:
        """Whether the template reads a message's content as a list of parts only."""
        question = "Which day comes after Monday?"
        for content, is_list in ((question, False), ([{"type": "text", "text": question}], True)):
            try:
                text = self.wrapped.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
            except Exception:  # a template may raise anything; the request itself says what
                continue
            if question in text:
                return is_list
        return False

    @cached_property
    def _is_byte_level(self) -> bool:
        from tokenizers import decoders

        return self._fast is not None and isinstance(self._fast.decoder, decoders.ByteLevel)

    @cached_property
    def _anchor(self) -> list[int]:
        return self.encode_now("a", add_special_tokens=False)

    @cached_property
    def _byte_of_character(self) -> dict[str, int]:
        """The byte that each character of a byte-level vocabulary stands for (GPT-2's table)."""
        printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
        table = {chr(byte): byte for byte in printable}
        others = (byte for byte in range(256) if byte not in printable)
        return table | {chr(256 + number): byte for number, byte in enumerate(others)}

    @lru_cache(maxsize=1 << 18)  # noqa: B019
    def _byte_level_bytes(self, token: int) -> bytes:
        name = self._fast.id_to_token(token) if self._fast is not None else None
        table = self._byte_of_character
        if name is None:
            return b""
        return bytes(table[c] for c in name) if all(c in table for c in name) else name.encode()


def check_unicode(text: str) -> None:
    """Raises RequestError for a text with lone surrogates, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError("The text has lone surrogates (half of a UTF-16 pair), which are no characters.") from None

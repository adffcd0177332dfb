"""`Vocabulary`: a tokenizer.json, its hash, how many tokens it has and which of them ends a document."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import InputError
from stages.storage.checksum import sha256_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Tried in this order where neither the caller nor tokenizer_config.json names one.
_USUAL_EOS_TOKENS = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What token files depend on: which tokenizer, how many tokens, which of them ends a document."""

    path: Path  # of tokenizer.json
    sha256: str  # of its bytes
    size: int  # the largest token id plus one
    eos: int  # the end-of-sequence id

    @classmethod
    def open(cls, path: Path, eos: str | None = None) -> "Vocabulary":
        """Reads a tokenizer.json, or the one in the folder `path`.

        The end-of-sequence token is `eos`; else the one that tokenizer_config.json beside it names; else the first of
        the usual ones that the vocabulary contains.

        Raises:
            InputError: the file is missing or damaged, or has no end-of-sequence token.
        """
        file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise InputError(f"{file}: no such file; name a tokenizer.json, or the folder of a model that has one")
        ids = _load(file).get_vocab(with_added_tokens=True)
        eos = eos or _configured_eos(file.with_name("tokenizer_config.json"))
        eos = eos or next((token for token in _USUAL_EOS_TOKENS if token in ids), None)
        if eos not in ids:
            reason = f"no token {eos!r} in its vocabulary" if eos else "no end-of-sequence token found"
            raise InputError(f"{file}: {reason}; give the token that ends a document as `eos`")
        return cls(file, sha256_file(file), max(ids.values()) + 1, ids[eos])

    def open_tokenizer(self) -> "Tokenizer":
        """Returns the tokenizer without truncation and padding.

        Special tokens that a text spells out are encoded as plain text: only the end-of-sequence id that `tokenize`
        appends ends a document.
        """
        tokenizer = _load(self.path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        return tokenizer


def _load(file: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{file}: not a tokenizer ({str(error)[:200]}); save it again with save_pretrained") from None


def _configured_eos(file: Path) -> str | None:
    try:
        token = json.loads(file.read_text("utf-8")).get("eos_token")
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError):
        raise InputError(f"{file}: damaged; save the tokenizer again with save_pretrained") from None
    return token.get("content") if isinstance(token, dict) else token

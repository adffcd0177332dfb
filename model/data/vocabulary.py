"""Which tokenizer: a tokenizer.json, its hash, the size of its vocabulary and the token that ends a document."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import InputError
from stages.storage.checksum import sha256_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_ENDS = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    path: Path  # of tokenizer.json
    sha256: str  # of its bytes
    size: int  # one more than the largest id
    eos: int

    @classmethod
    def open(cls, path: Path, eos: str | None = None) -> "Vocabulary":
        """`path` is a tokenizer.json or a folder with one.

        The end-of-sequence token is `eos`, else the one that tokenizer_config.json beside it names, else the first
        of the usual ones that is there. Raises InputError when there is no such file, it is damaged or none is there.
        """
        file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise InputError(f"{file}: no such file; name a tokenizer.json, or the folder of a model that has one")
        ids = _load(file).get_vocab(with_added_tokens=True)
        wanted = eos or _configured(file.with_name("tokenizer_config.json"))
        name = wanted or next((end for end in _ENDS if end in ids), None)
        if name not in ids:
            raise InputError(
                f"{file}: {f'no token {name!r} in its vocabulary' if name else 'no end-of-sequence token found'}; "
                "give the one that ends a document as `eos`"
            )
        return cls(file, sha256_file(file), max(ids.values()) + 1, ids[name])

    def open_tokenizer(self) -> "Tokenizer":
        """Neither cuts nor pads; in a text, the spelling of a special token is text: only our own ends a document."""
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


def _configured(file: Path) -> str | None:
    try:
        token = json.loads(file.read_text("utf-8")).get("eos_token")
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError):
        raise InputError(f"{file}: damaged; save the tokenizer again with save_pretrained") from None
    return token.get("content") if isinstance(token, dict) else token

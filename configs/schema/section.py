"""What all parts of a configuration share: they are frozen, and an unknown key is an error."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Language = Literal["en", "zh", "es"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Section(BaseModel):
    """One mapping of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

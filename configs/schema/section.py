"""What all parts of a configuration share: they are frozen, and an unknown key is an error."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

Language = Literal["en", "zh", "es"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Section(BaseModel):
    """One mapping of a configuration.

    Digests are over the values by alias. Keys that were added after data sets existed are named in `added_later`: at
    their default they are left out there, so that the digests of earlier configurations stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    added_later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _serialise(self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        values = serialise(self)
        if info.by_alias:
            for name in self.added_later:
                field = type(self).model_fields[name]
                if getattr(self, name) == field.get_default(call_default_factory=True):
                    values.pop(name, None)
            values |= self.hashed_as()
        return values

    def hashed_as(self) -> dict[str, Any]:
        """Values that digests are computed over instead of the present ones, by key."""
        return {}

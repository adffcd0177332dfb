"""What a safety policy file holds: classes of harm with phrases and patterns, and what each domain may speak of."""

import difflib
import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from configs.schema import Language, Name, Section


def _expression(value: str) -> str:
    try:
        compiled = re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error}); mend it, or write it under `phrases`") from None
    if compiled.search(""):
        raise ValueError("matches every text, even an empty one; say what must stand there")
    return value


def _phrase(value: str) -> str:
    if len(value.split()) == 0:
        raise ValueError("an empty phrase matches every text; take it out")
    return value


Expressions = dict[Language, tuple[Annotated[str, AfterValidator(_expression)], ...]]
Phrases = dict[Language, tuple[Annotated[str, AfterValidator(_phrase)], ...]]


class Harm(Section):
    """One class. A match in whose sentence something of `unless` stands is a mention and does not count."""

    about: str = Field(default="", description="What the class is, in a sentence.")
    everywhere: bool = Field(
        default=True, description="Denied in all domains. false: only in those that name it under deny."
    )
    phrases: Phrases = Field(
        default_factory=dict, description="Phrases by language: whole words, in any case, with any blanks between them."
    )
    patterns: Expressions = Field(default_factory=dict, description="Regular expressions by language.")
    unless: Expressions = Field(
        default_factory=dict,
        description="Regular expressions by language; a sentence that one of them matches does not count.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> "Harm":
        if not any(self.phrases.values()) and not any(self.patterns.values()):
            raise ValueError(
                "neither `phrases` nor `patterns`: the class would never be found; add one, or take it out"
            )
        return self


class Leave(Section):
    """A domain's own word on classes: `allow` lets them pass there, `deny` drops them there."""

    allow: tuple[str, ...] = Field(default=(), description="Classes that may be in rows of this domain.")
    deny: tuple[str, ...] = Field(default=(), description="Classes that drop rows of this domain.")


class Policy(Section):
    """Classes by name, and by domain what differs from the rule."""

    classes: dict[Name, Harm] = Field(min_length=1, description="Classes of harm by name.")
    domains: dict[Name, Leave] = Field(default_factory=dict, description="Exceptions by domain.")

    @model_validator(mode="after")
    def _known(self) -> "Policy":
        for domain, leave in self.domains.items():
            for side, names in (("allow", leave.allow), ("deny", leave.deny)):
                for name in names:
                    if name not in self.classes:
                        near = difflib.get_close_matches(name, self.classes, 1)
                        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(self.classes)}"
                        raise ValueError(f"domains.{domain}.{side}: no class {name!r}; {hint}")
            if both := sorted(set(leave.allow) & set(leave.deny)):
                raise ValueError(f"domains.{domain}: {', '.join(both)} under allow and deny; take one of them out")
        return self

    def denied(self, domain: str) -> list[str]:
        """The classes that drop a row of this domain, in the file's order."""
        leave = self.domains.get(domain, Leave())
        return [
            name
            for name, harm in self.classes.items()
            if name in leave.deny or (harm.everywhere and name not in leave.allow)
        ]

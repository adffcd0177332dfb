"""A safety policy file: classes of harm with their phrases and patterns, and exceptions by domain."""

import difflib
import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from configs.schema import Language, Name, Section


def _expression(value: str) -> str:
    try:
        compiled = re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error}); fix it, or write it under `phrases`") from None
    if compiled.search(""):
        raise ValueError("matches every text, even an empty one; make it require something")
    return value


def _phrase(value: str) -> str:
    if len(value.split()) == 0:
        raise ValueError("an empty phrase matches every text; remove it")
    return value


Expressions = dict[Language, tuple[Annotated[str, AfterValidator(_expression)], ...]]
Phrases = dict[Language, tuple[Annotated[str, AfterValidator(_phrase)], ...]]


class Harm(Section):
    """One class of harm. A match does not count if `unless` matches in the same sentence: then it is a mention."""

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
                "neither `phrases` nor `patterns`: the class would never match; add one, or remove the class"
            )
        return self


class DomainPolicy(Section):
    """What differs in one domain: `allow` lets classes pass there, `deny` drops them there."""

    allow: tuple[str, ...] = Field(default=(), description="Classes that may be in rows of this domain.")
    deny: tuple[str, ...] = Field(default=(), description="Classes that drop rows of this domain.")


class Policy(Section):
    """Classes of harm by name, and exceptions by domain."""

    classes: dict[Name, Harm] = Field(min_length=1, description="Classes of harm by name.")
    domains: dict[Name, DomainPolicy] = Field(default_factory=dict, description="Exceptions by domain.")

    @model_validator(mode="after")
    def _known(self) -> "Policy":
        for domain, exceptions in self.domains.items():
            for side, names in (("allow", exceptions.allow), ("deny", exceptions.deny)):
                for name in names:
                    if name not in self.classes:
                        near = difflib.get_close_matches(name, self.classes, 1)
                        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(self.classes)}"
                        raise ValueError(f"domains.{domain}.{side}: no class {name!r}; {hint}")
            if both := sorted(set(exceptions.allow) & set(exceptions.deny)):
                raise ValueError(f"domains.{domain}: {', '.join(both)} under allow and under deny; remove one")
        return self

    def denied(self, domain: str) -> list[str]:
        """The classes that drop rows of this domain, in the order of the file."""
        exceptions = self.domains.get(domain, DomainPolicy())
        return [
            name
            for name, harm in self.classes.items()
            if name in exceptions.deny or (harm.everywhere and name not in exceptions.allow)
        ]

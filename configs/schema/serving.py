"""What `gristmill serve` reads beside the model: the policy file and the key file."""

import difflib
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from configs.schema.screening import FilterSpec
from configs.schema.section import Name, Section

SERVING_FILTERS = ("secrets", "privacy", "safety")


def _near(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"


class PolicyRules(Section):
    """One policy: filters of the data engine, and what happens to prompts in which they find something."""

    filters: tuple[FilterSpec, ...] = Field(
        default=tuple(FilterSpec(name=name) for name in SERVING_FILTERS),
        description="Filters with their options, as in screen.filters; secrets, privacy and safety can read a stream.",
    )
    domain: str = Field(default="", description="Domain for the exceptions of the safety policy, such as law.")
    prompts: Literal["block", "pass"] = Field(
        default="pass",
        description="block: a prompt in which a filter finds something is refused. pass: only answers are filtered.",
    )

    @field_validator("filters")
    @classmethod
    def _can_read_streams(cls, value: tuple[FilterSpec, ...]) -> tuple[FilterSpec, ...]:
        names = [spec.name for spec in value]
        for name in names:
            if name not in SERVING_FILTERS:
                raise ValueError(f"{name!r} cannot filter a stream; {_near(name, SERVING_FILTERS)}")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value


class ServingPolicy(PolicyRules):
    """A policy file: the policy of all requests, and others by name for certain keys and models."""

    policies: dict[Name, PolicyRules] = Field(
        default_factory=dict, description="Other policies by name; a key chooses one with `policy`."
    )
    models: dict[str, Name] = Field(
        default_factory=dict, description="Policy of a model or adapter, by its name without the hash."
    )

    @model_validator(mode="after")
    def _known(self) -> "ServingPolicy":
        for model, policy in self.models.items():
            if policy not in self.policies:
                raise ValueError(f"models.{model}: no policy {policy!r}; {_near(policy, tuple(self.policies))}")
        return self


class ClientSpec(Section):
    """One client of the server."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)
    name: Name = Field(description="Its name in metrics and logs.")
    key: str | tuple[str, ...] = Field(
        description="Its key, plain or as sha256:HEX; a list while keys are exchanged: each of them is valid."
    )
    models: tuple[str, ...] | None = Field(
        default=None, description="Models and adapters it may use, without hashes. Unset: all."
    )
    policy: Name | None = Field(
        default=None, description="A policy by its name in the policy file. Unset: the model's, or the one of all."
    )
    requests_per_minute: int | None = Field(default=None, ge=1, description="Unset: no limit.")
    tokens_per_day: int | None = Field(
        default=None, ge=1, description="Tokens of prompts and answers in a day (UTC). Unset: no limit."
    )


class KeyFile(Section):
    """A key file."""

    clients: tuple[ClientSpec, ...] = Field(min_length=1, description="The clients, each with a key of its own.")

    @field_validator("clients")
    @classmethod
    def _named_once(cls, value: tuple[ClientSpec, ...]) -> tuple[ClientSpec, ...]:
        names = [client.name for client in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}; give one client a list of keys instead")
        return value

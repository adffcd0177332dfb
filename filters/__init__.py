"""The filters by name: a frozen dataclass each, whose fields are its options in `screen.filters`."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from configs.errors import ConfigError
from configs.load import digest
from configs.schema import FilterSpec
from filters.citations import Citations
from filters.contamination import Contamination
from filters.doses import Doses
from filters.language import Language
from filters.length import Length
from filters.prompt_echo import PromptEcho
from filters.quality import Head, Quality
from filters.refusal import Refusal
from filters.repetition import Repetition
from filters.rules import Rules
from filters.support import Support
from filters.truncation import Truncation
from stages.ports import Encoder, Filter

FILTERS: dict[str, Any] = {
    "length": Length,
    "truncation": Truncation,
    "refusal": Refusal,
    "language": Language,
    "repetition": Repetition,
    "rules": Rules,
    "prompt_echo": PromptEcho,
    "support": Support,
    "citations": Citations,
    "doses": Doses,
    "contamination": Contamination,
    "quality": Quality,
}


def build(
    specs: Sequence[FilterSpec], encoder_factory: Callable[[], Encoder] | None = None
) -> list[tuple[str, Filter]]:
    """The screen's filters in order, by name. `encoder_factory` is called once, and only if a filter embeds text.

    Raises ConfigError naming the config path for an unknown filter, an unknown option or a value of the wrong type.
    """
    encoder: Encoder | None = None
    built: list[tuple[str, Filter]] = []
    for index, spec in enumerate(specs):
        where = f"screen.filters[{index}]"
        options = check(spec, where)
        if "encoder" in {field.name for field in fields(FILTERS[spec.name])}:
            if encoder_factory is None:
                raise ConfigError(f"screen.encoder: missing, although {where} is {spec.name}, which embeds text")
            encoder = encoder or encoder_factory()
            options["encoder"] = encoder
        try:
            built.append((spec.name, FILTERS[spec.name](**options)))
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None
    return built


def identity(specs: Sequence[FilterSpec], encoder: str = "") -> str:
    """One hash over what the filters read: trained heads (by the encoder's name, where none is named), evaluation sets.

    The evaluation sets' index is made where it is not cached. Raises ConfigError naming the config path.
    """
    read: list[Any] = []
    for index, spec in enumerate(specs):
        if spec.name == "quality":
            read.append(asdict(Head.read(spec.options.get("head") or encoder)))
        elif spec.name == "contamination":
            where = f"screen.filters[{index}]"
            options = check(spec, where)
            try:
                read.append(Contamination(**options).identity)
            except ConfigError as error:
                raise ConfigError(f"{where}.{error}") from None
    return digest(read)


def check(spec: FilterSpec, where: str) -> dict[str, Any]:
    """A filter's options, validated, without building it. Raises ConfigError beginning with `where`."""
    if spec.name not in FILTERS:
        near = difflib.get_close_matches(spec.name, FILTERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FILTERS)}"
        raise ConfigError(f"{where}.name: no filter {spec.name!r}; {hint}")
    known = [field.name for field in fields(FILTERS[spec.name]) if field.init and field.name != "encoder"]
    hints = get_type_hints(FILTERS[spec.name], include_extras=True)
    options = {}
    for name, value in spec.options.items():
        if name not in known:
            raise ConfigError(f"{where}.{name}: unknown option; {spec.name} has {', '.join(known)}")
        try:
            options[name] = TypeAdapter(hints[name]).validate_python(value, strict=isinstance(value, bool))
        except ValidationError as error:
            raise ConfigError(f"{where}.{name}: {error.errors()[0]['msg'].lower()}, it is {value!r}") from None
    return options

"""The filters by name: a frozen dataclass each, whose fields are its options in `screen.filters`."""

import difflib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from configs.errors import ConfigError
from configs.schema import FilterSpec
from filters.citations import Citations
from filters.contamination import Contamination
from filters.domain import Domain
from filters.doses import Doses
from filters.heads.cached_encoder import Memo
from filters.heads.sketch import Sketch
from filters.language import Language
from filters.length import Length
from filters.privacy import Privacy, mask
from filters.prompt_echo import PromptEcho
from filters.quality import Quality
from filters.refusal import Refusal
from filters.repetition import Repetition
from filters.rules import Rules
from filters.safety import Safety
from filters.secrets import Secrets
from filters.support import Support
from filters.truncation import Truncation
from stages.ports import Encoder, Filter

FILTERS: dict[str, Any] = {
    "length": Length,
    "secrets": Secrets,
    "privacy": Privacy,
    "safety": Safety,
    "truncation": Truncation,
    "refusal": Refusal,
    "language": Language,
    "repetition": Repetition,
    "rules": Rules,
    "prompt_echo": PromptEcho,
    "support": Support,
    "domain": Domain,
    "citations": Citations,
    "doses": Doses,
    "contamination": Contamination,
    "quality": Quality,
}


def build(
    specs: Sequence[FilterSpec], encoder_factory: Callable[[], Encoder] | None = None, *, sketch: bool = False
) -> list[tuple[str, Filter]]:
    """The screen's filters in order, by name. `encoder_factory` is called once, and only if a filter embeds text.

    With `sketch` what they keep is sketched for dedup, of the embedding that they read.

    Raises ConfigError naming the config path for an unknown filter, an unknown option or a value of the wrong type.
    """
    encoder: Encoder | None = None
    built: list[tuple[str, Filter]] = []
    for index, spec in enumerate(specs):
        where = f"screen.filters[{index}]"
        options, made = check(spec, where), find(spec.name, where)
        if "encoder" in {field.name for field in fields(made)}:
            if encoder_factory is None:
                raise ConfigError(f"screen.encoder: missing, although {where} is {spec.name}, which embeds text")
            encoder = encoder or Memo(encoder_factory())
            options["encoder"] = encoder
        try:
            built.append((spec.name, made(**options)))
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None
    if sketch and encoder_factory is not None:
        built.append(("sketch", Sketch(encoder or Memo(encoder_factory()))))
    return built


@cache
def _maskers(specs: tuple[FilterSpec, ...]) -> list[tuple[str, Filter]]:
    return build(specs)


def hide(specs: Sequence[FilterSpec], text: str, language: str) -> str:
    """The text with what `secrets` and `privacy` find masked, as far as the screen has these filters."""
    for _, judge in _maskers(tuple(spec for spec in specs if spec.name in ("secrets", "privacy"))):
        if isinstance(judge, Secrets):
            text = judge.masked(text)
        elif isinstance(judge, Privacy):
            text, _ = mask(text, language, frozenset(judge.kinds))
    return text


def check(spec: FilterSpec, where: str) -> dict[str, Any]:
    """A filter's options, validated, without building it. Raises ConfigError beginning with `where`."""
    made = find(spec.name, where)
    known = [field.name for field in fields(made) if field.init and field.name != "encoder"]
    hints = get_type_hints(made, include_extras=True)
    options = {}
    for name, value in spec.options.items():
        if name not in known:
            raise ConfigError(f"{where}.{name}: unknown option; {spec.name} has {', '.join(known) or 'none'}")
        try:
            options[name] = TypeAdapter(hints[name]).validate_python(value, strict=isinstance(value, bool))
        except ValidationError as error:
            raise ConfigError(f"{where}.{name}: {error.errors()[0]['msg'].lower()}, it is {value!r}") from None
    return options


def find(name: str, where: str) -> Any:
    """The class of a filter: one of ours by name, or your own as `package.module:Class`.

    Raises ConfigError beginning with `where`.
    """
    if name in FILTERS:
        return FILTERS[name]
    if ":" not in name:
        near = difflib.get_close_matches(name, FILTERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FILTERS)}, and package.module:Class"
        raise ConfigError(f"{where}.name: no filter {name!r}; {hint}")
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{where}.name: {name!r} cannot be imported ({error}); install it, or set PYTHONPATH"
        ) from None
    if not (isinstance(made, type) and is_dataclass(made) and callable(getattr(made, "__call__", None))):  # noqa: B004
        raise ConfigError(f"{where}.name: {name!r} is no dataclass that can be called; see docs/tasks-and-filters.md")
    return made


def identity(specs: Sequence[FilterSpec], encoder: str = "") -> dict[str, str]:
    """By filter's name the hash of what it reads besides its options, `data(options, encoder)`; those that do alone.

    Heads count with their weights and limits. Of a filter of your own its module's source counts too. `encoder` is the
    encoder's name. Raises ConfigError.
    """
    found = {}
    for index, spec in enumerate(specs):
        where, digest = f"screen.filters[{index}]", hashlib.sha256()
        made = find(spec.name, where)
        if spec.name not in FILTERS:
            digest.update(Path(inspect.getfile(made)).read_bytes())
        if reads := getattr(made, "data", None):
            try:
                digest.update(str(reads(check(spec, where), encoder)).encode())
            except ConfigError as error:
                raise ConfigError(f"{where}.{error}") from None
        if reads or spec.name not in FILTERS:
            found[spec.name] = digest.hexdigest()
    return found


def describe(name: str, where: str = "filter") -> dict[str, Any]:
    """What a filter is, by its own docstrings: name, what, doc, and its options with type and default."""
    made = find(name, where)
    options = [
        {
            "name": field.name,
            "type": getattr(field.type, "__name__", str(field.type)),
            "default": None if field.default is MISSING else field.default,
        }
        for field in fields(made)
        if field.init and field.name != "encoder"
    ]
    return {
        "name": name,
        "what": (inspect.getdoc(sys.modules[made.__module__]) or "").partition("\n")[0],
        "doc": inspect.getdoc(made) or "",
        "options": options,
        "embeds": "encoder" in {field.name for field in fields(made)},
    }

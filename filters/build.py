"""Builds the filters that a configuration names, checks their options, and says what they are and what they read."""

import difflib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from configs.errors import ConfigError
from configs.schema import FilterSpec, Screen
from filters import FILTERS
from filters.heads.cached_encoder import CachedEncoder
from filters.heads.grounded.verifier_card import located
from filters.sketch import Sketch
from stages.ports import Encoder, Filter, Verifier

INJECTED = ("encoder", "verifier", "asked")  # fields of filters that are no options
OpenVerifier = Callable[[str, str], Verifier]  # the model, and the folder of its adapter or ""


@runtime_checkable
class Redacts(Protocol):
    """What a filter that masks parts of a text declares."""

    def redact(self, text: str, language: str) -> str:
        """The text with everything that the filter masks replaced."""
        ...


def build_filters(
    specs: Sequence[FilterSpec],
    encoder_factory: Callable[[], Encoder] | None = None,
    *,
    sketch: bool = False,
    open_verifier: OpenVerifier | None = None,
) -> list[tuple[str, Filter]]:
    """The screen's filters by name, in order.

    Args:
        specs: names and options, as in `screen.filters`.
        encoder_factory: opens the encoder. It is called once, and only if a filter reads embeddings.
        sketch: also add the sketches of embeddings that semantic dedup compares.
        open_verifier: opens a cross-encoder, for a filter that declares the field `verifier`.

    Raises ConfigError naming the config path of an unknown filter, an unknown option or a value of the wrong type.
    """
    encoder: Encoder | None = None
    built: list[tuple[str, Filter]] = []
    for index, spec in enumerate(specs):
        where = f"screen.filters[{index}]"
        options, kind = check_options(spec, where), filter_class(spec.name, where)
        if reads_embeddings(kind):
            if encoder_factory is None:
                raise _no_encoder(spec, where)
            encoder = encoder or CachedEncoder(encoder_factory())
            options["encoder"] = encoder
        try:
            if _has_field(kind, "verifier"):
                options["verifier"] = _opened(options.get("model", ""), open_verifier)
                if options.get("judge"):
                    options["asked"] = _opened_judge(options["judge"], open_verifier)
            built.append((spec.name, kind(**options)))
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None
    if sketch and encoder_factory is not None:
        built.append(("sketch", Sketch(encoder or CachedEncoder(encoder_factory()))))
    return built


def redact(specs: Sequence[FilterSpec], text: str, language: str) -> str:
    """The text after every filter of `specs` that declares `redact` has masked its part of it."""
    for redactor in _redactors(tuple(specs)):
        text = redactor.redact(text, language)
    return text


@cache
def _redactors(specs: tuple[FilterSpec, ...]) -> list[Redacts]:
    masking = [spec for spec in specs if issubclass(filter_class(spec.name, "screen.filters"), Redacts)]
    return [judge for _, judge in build_filters(masking) if isinstance(judge, Redacts)]


def check_screen(screen: Screen) -> None:
    """Checks every filter of a screen without building it. Raises ConfigError naming the config path."""
    for index, spec in enumerate(screen.filters):
        where = f"screen.filters[{index}]"
        check_options(spec, where)
        if screen.encoder is None and reads_embeddings(filter_class(spec.name, where)):
            raise _no_encoder(spec, where)


def check_options(spec: FilterSpec, where: str) -> dict[str, Any]:
    """A filter's options, validated, without building it. Raises ConfigError beginning with the config path `where`."""
    kind = filter_class(spec.name, where)
    known = [field.name for field in fields(kind) if field.init and field.name not in INJECTED]
    hints = get_type_hints(kind, include_extras=True)
    options = {}
    for name, value in spec.options.items():
        if name not in known:
            raise ConfigError(f"{where}.{name}: unknown option; {spec.name} has {', '.join(known) or 'none'}")
        try:
            options[name] = TypeAdapter(hints[name]).validate_python(value, strict=isinstance(value, bool))
        except ValidationError as error:
            raise ConfigError(f"{where}.{name}: {error.errors()[0]['msg'].lower()} (found {value!r})") from None
    return options


def filter_class(name: str, where: str) -> Any:
    """The class of a filter: one of `FILTERS` by name, or a user's own as `package.module:Class`.

    Raises ConfigError beginning with the config path `where`.
    """
    path = FILTERS.get(name, name)
    if ":" not in path:
        near = difflib.get_close_matches(name, FILTERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FILTERS)}, and package.module:Class"
        raise ConfigError(f"{where}.name: no filter {name!r}; {hint}")
    module, _, attribute = path.partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{where}.name: {name!r} cannot be imported ({error}); install it, or set PYTHONPATH"
        ) from None
    if not (isinstance(kind, type) and is_dataclass(kind) and callable(getattr(kind, "__call__", None))):  # noqa: B004
        raise ConfigError(
            f"{where}.name: {name!r} is not a filter: a dataclass with a method __call__ was expected;"
            " see docs/tasks-and-filters.md"
        )
    return kind


def reads_embeddings(kind: Any) -> bool:
    """Whether a filter's class declares the field `encoder`."""
    return _has_field(kind, "encoder")


def _has_field(kind: Any, name: str) -> bool:
    return any(field.name == name for field in fields(kind))


def _opened(model: str, open_verifier: OpenVerifier | None) -> Verifier:
    if open_verifier is None:
        raise ConfigError(
            "name: it reads passages with a model of its own, which cannot be opened here; remove it from this list"
        )
    name, adapter, _ = located(model)
    return open_verifier(name, adapter)


def _opened_judge(judge: str, open_verifier: OpenVerifier | None) -> Verifier:
    try:
        return _opened(judge, open_verifier)
    except ConfigError as error:
        raise ConfigError(f"judge: {str(error).removeprefix('model: ')}") from None


def data_hashes(specs: Sequence[FilterSpec], encoder: str = "") -> dict[str, str]:
    """SHA-256 of what filters read beside their options, by filter name: their `data`, and a user's own source file.

    Filters that read nothing else are left out. `encoder` is the encoder's name. Raises ConfigError.
    """
    hashes = {}
    for index, spec in enumerate(specs):
        where, digest = f"screen.filters[{index}]", hashlib.sha256()
        kind = filter_class(spec.name, where)
        data: Callable[[Mapping[str, Any], str], Any] | None = getattr(kind, "data", None)
        if spec.name not in FILTERS:
            digest.update(Path(inspect.getfile(kind)).read_bytes())
        if data is not None:
            try:
                digest.update(str(data(check_options(spec, where), encoder)).encode())
            except ConfigError as error:
                raise ConfigError(f"{where}.{error}") from None
        if data is not None or spec.name not in FILTERS:
            hashes[spec.name] = digest.hexdigest()
    return hashes


def describe(name: str, where: str = "filter") -> dict[str, Any]:
    """A filter's name, first line, docstring and options (type and default), as `gristmill filter list` shows them."""
    kind = filter_class(name, where)
    options = [
        {
            "name": field.name,
            "type": getattr(field.type, "__name__", str(field.type)),
            "default": None if field.default is MISSING else field.default,
        }
        for field in fields(kind)
        if field.init and field.name not in INJECTED
    ]
    return {
        "name": name,
        "what": (inspect.getdoc(sys.modules[kind.__module__]) or "").partition("\n")[0],
        "doc": inspect.getdoc(kind) or "",
        "options": options,
        "embeds": reads_embeddings(kind),
    }


def _no_encoder(spec: FilterSpec, where: str) -> ConfigError:
    return ConfigError(f"screen.encoder: missing, although {where} is {spec.name}, which reads embeddings; add it")

"""`AdapterRegistry`: which LoRA adapters are served, under which names, and which requests use them.

An adapter is `name@sha12`: a name and the first 12 hexadecimal digits of the hash over its files. `name` alone is an
alias of one of them. A request takes a reference when it begins, so an adapter is unloaded only when no request uses it
any more, and a request keeps the adapter that its alias stood for at its beginning.
"""

import asyncio
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from configs.errors import GristmillError, InputError
from model.serve.adapter_check import check_folder, check_outputs, check_tensors
from model.serve.adapter_folders import FoundAdapter, find_adapters
from model.serve.port import AdapterRef, Engine, RequestError
from model.weights.adapter import adapter_sha256

DIGITS = 12  # of the hash, in a public id
DEFAULT_CAPACITY = 8
State = Literal["loaded", "draining"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_log = logging.getLogger(__name__)


class UnknownModelError(RequestError):
    """There is no such model, or the client may not use it: it cannot tell which. HTTP 404."""


class AdapterConflictError(GristmillError):
    """What is asked of an adapter does not go together with what is loaded. HTTP 409."""


class Client(Protocol):
    """Whose request it is. `models`: the ids and names that it may use; None: all."""

    @property
    def models(self) -> Collection[str] | None: ...


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of a request: its public id, which has an adapter's hash, and the adapter; None: the base model."""

    public_id: str
    adapter: AdapterRef | None = None


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """An adapter that is loaded. `references`: requests that use it. `is_alias`: its name alone means this one."""

    id: str
    name: str
    sha256: str
    path: str
    state: State
    references: int
    is_alias: bool


@dataclass(eq=False)
class _Entry:
    """An adapter in the engine."""

    name: str
    adapter: AdapterRef
    state: State = "loaded"
    references: int = 0
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    unloading: asyncio.Task[None] | None = None


class AdapterRegistry:
    """The adapters of one engine. All methods are called from the server's event loop.

    Args:
        engine: that the adapters are loaded into.
        folder: adapters are loaded from below it alone; None: from nowhere.
        named: folders that a name means if there are several of it; without any the newest.
        model: public id of the base model.
        model_folder: its checkpoint.
        capacity: adapters that are loaded at once, those that drain included.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path | None,
        *,
        model: str,
        model_folder: Path,
        capacity: int = DEFAULT_CAPACITY,
        named: Collection[Path] = (),
    ):
        self.engine, self.folder, self.capacity = engine, folder and folder.resolve(), capacity
        self._named = {path.resolve() for path in named}
        self.model, self.model_folder = model, model_folder
        self._entries: dict[str, _Entry] = {}  # by public id, the oldest first
        self._aliases: dict[str, str] = {}
        self._lock = asyncio.Lock()  # of loading

    async def scan(self) -> None:
        """Loads what the folder has: of each name that in `named` or the newest, then others, with one place left free.

        The names are those of `find_adapters`. An adapter that cannot be loaded is logged and left out.
        """
        on_disk = find_adapters(self.folder) if self.folder else []
        ordered = sorted(on_disk, key=lambda adapter: (adapter.path in self._named, adapter.written_at), reverse=True)
        for adapter in reversed(_choose(ordered, max(self.capacity - 1, 1))):  # the first last: it becomes the alias
            try:
                await self.load(adapter.path, adapter.name)
            except GristmillError as error:
                _log.error("adapters: %s is not served: %s", adapter.path, error)

    async def load(self, path: str | Path, name: str) -> AdapterStatus:
        """Loads the adapter in a folder; `name` then means it. Loading one that is loaded changes nothing.

        Args:
            path: of a folder below that of the registry; relative ones begin there.
            name: letters, digits, dots, hyphens and underscores.

        Raises:
            InputError: the path is elsewhere, the adapter does not fit the model, or it changes nothing.
            AdapterConflictError: there is no place, or it is just being unloaded.
            EngineDownError: the engine is not there.
        """
        if not _NAME.fullmatch(name) or name == self.model:
            raise InputError(
                f"{name!r}: is no name for an adapter; use 1 to 64 letters, digits, dots, hyphens and underscores, and "
                "not the name of the base model"
            )
        if self.folder is None:
            raise InputError("adapters: the server was started without a folder of adapters; give --adapters DIR")
        folder = check_folder(path, self.folder)
        async with self._lock:
            sha256 = await asyncio.to_thread(adapter_sha256, folder)
            adapter = AdapterRef(f"{name}@{sha256[:DIGITS]}", str(folder), sha256)
            if entry := self._entries.get(adapter.name):
                if entry.state == "draining":
                    raise AdapterConflictError(f"{adapter.name}: is being unloaded; load it when it is gone")
                return self._status(entry)
            if len(self._entries) >= self.capacity:
                raise AdapterConflictError(
                    f"{adapter.name}: {self.capacity} adapters are loaded, which is the most; unload one first"
                )
            await asyncio.to_thread(check_tensors, folder, self.model_folder)
            await self._load_into_engine(adapter)
            entry = self._entries[adapter.name] = _Entry(name, adapter)
            self._aliases[name] = adapter.name
        _log.info("adapters: %s is loaded", adapter.name)
        return self._status(entry)

    async def unload(self, public_id: str) -> None:
        """Unloads an adapter when the last request that uses it has ended; new requests do not find it any more.

        Its name then means the newest of the others, if there are any. Returns when it is unloaded; if the caller is
        cancelled, it is unloaded nevertheless. Raises UnknownModelError.
        """
        entry = self._entries.get(public_id)
        if entry is None:
            raise UnknownModelError(f"no adapter {public_id!r} is loaded; loaded are: {self._known()}", "model")
        if entry.unloading is None:
            entry.state = "draining"
            if self._aliases.get(entry.name) == public_id:
                rest = [public for public, rival in self._entries.items() if self._serves(rival, entry.name)]
                self._aliases.pop(entry.name)
                self._aliases |= {entry.name: rest[-1]} if rest else {}
            if not entry.references:
                entry.drained.set()
            entry.unloading = asyncio.create_task(self._unload_when_drained(entry))
        await asyncio.shield(entry.unloading)

    def set_alias(self, name: str, public_id: str) -> AdapterStatus:
        """Makes a name mean another of its adapters, for requests that begin from now on. Raises UnknownModelError."""
        entry = self._entries.get(public_id)
        if entry is None or not self._serves(entry, name):
            raise UnknownModelError(f"no adapter {public_id!r} of the name {name!r} is loaded", "model")
        self._aliases[name] = public_id
        return self._status(entry)

    def list(self) -> list[AdapterStatus]:
        """Returns all adapters in the engine, the oldest first."""
        return [self._status(entry) for entry in self._entries.values()]

    def models(self, client: Client | None = None) -> Sequence[str]:
        """Returns the ids and names that a client may use, the base model first."""
        entries = {known: entry for known, entry in self._entries.items() if entry.state == "loaded"}
        named = [(self.model, self.model), *self._aliases.items(), *((known, known) for known in entries)]
        return [model for model, public_id in named if self._is_allowed(client, model, public_id)]

    @contextmanager
    def resolve(self, model: str, client: Client | None = None) -> Iterator[ModelChoice]:
        """Finds the model of a request and keeps it loaded inside the context.

        Args:
            model: the base model, an adapter's id, or a name.
            client: whose request it is; None: it may use all models.

        Raises:
            UnknownModelError: there is no such model, or the client may not use it.
        """
        public_id = self._aliases.get(model, model)
        entry = self._entries.get(public_id)
        is_there = public_id == self.model or (entry is not None and entry.state == "loaded")
        if not is_there or not self._is_allowed(client, model, public_id):
            raise UnknownModelError(f"the model {model!r} does not exist", "model")
        if entry is None:
            yield ModelChoice(public_id)
            return
        entry.references += 1
        try:
            yield ModelChoice(public_id, entry.adapter)
        finally:
            entry.references -= 1
            if entry.state == "draining" and not entry.references:
                entry.drained.set()

    async def _load_into_engine(self, adapter: AdapterRef) -> None:
        try:
            await self.engine.load_adapter(adapter)
            await check_outputs(self.engine, adapter)
        except RequestError as error:
            await self.engine.unload_adapter(adapter)
            raise InputError(f"{adapter.path}: the engine refuses the adapter ({error})") from error
        except BaseException:
            await self.engine.unload_adapter(adapter)
            raise

    async def _unload_when_drained(self, entry: _Entry) -> None:
        await entry.drained.wait()
        try:
            await self.engine.unload_adapter(entry.adapter)
        except GristmillError as error:  # the engine is restarted without it
            _log.warning("adapters: %s: %s", entry.adapter.name, error)
        finally:
            del self._entries[entry.adapter.name]
        _log.info("adapters: %s is unloaded", entry.adapter.name)

    def _is_allowed(self, client: Client | None, model: str, public_id: str) -> bool:
        """A client that may use a name may use every adapter of the name."""
        if client is None or client.models is None:
            return True
        entry = self._entries.get(public_id)
        names = {public_id, entry.name if entry else model}
        return not names.isdisjoint(client.models)

    def _serves(self, entry: _Entry, name: str) -> bool:
        return entry.name == name and entry.state == "loaded"

    def _known(self) -> str:
        return ", ".join(self._entries) or "none"

    def _status(self, entry: _Entry) -> AdapterStatus:
        adapter = entry.adapter
        is_alias = self._aliases.get(entry.name) == adapter.name
        return AdapterStatus(
            adapter.name, entry.name, adapter.sha256, adapter.path, entry.state, entry.references, is_alias
        )


def _choose(ordered: Sequence[FoundAdapter], count: int) -> list[FoundAdapter]:
    """At most `count` adapters: the first of each name, then the first of the rest, in their order."""
    by_name = {adapter.name: adapter for adapter in reversed(ordered)}
    first = [adapter for adapter in ordered if by_name[adapter.name] is adapter]
    chosen = [*first, *(adapter for adapter in ordered if adapter not in first)][:count]
    return sorted(chosen, key=ordered.index)

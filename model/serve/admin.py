"""The administration of a running server, on a Unix socket that its user alone can open; never on the public port."""

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from configs.errors import GristmillError, StoreError
from model.serve.adapters import AdapterConflictError, AdapterRegistry, UnknownModelError
from model.serve.port import EngineDownError
from stages.storage.lock import HeldError, take_lock

MAX_WAIT_S = 600.0  # that a caller may wait for an adapter to be unloaded
_STATUS = {UnknownModelError: 404, AdapterConflictError: 409, EngineDownError: 503}


class LoadBody(BaseModel):
    """`path`: below the server's folder of adapters. `name`: what requests call the adapter."""

    model_config = ConfigDict(extra="forbid")
    path: str
    name: str


class AliasBody(BaseModel):
    """`id`: the adapter that the name means from now on."""

    model_config = ConfigDict(extra="forbid")
    id: str


def create_admin_app(registry: AdapterRegistry) -> FastAPI:
    """Returns the app. Its errors have the form `{"error": {"message", "type", "param", "code"}}`."""
    app = FastAPI(title="Gristmill serve: administration")

    @app.exception_handler(GristmillError)
    async def refuse(_: Request, error: GristmillError) -> JSONResponse:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 400)
        return _error(status, str(error), getattr(error, "param", None))

    @app.exception_handler(RequestValidationError)
    async def refuse_body(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _error(400, first["msg"], ".".join(map(str, first["loc"][1:])) or None)

    @app.get("/admin/adapters")
    async def list_adapters() -> dict[str, Any]:
        """All adapters that are loaded."""
        return {"data": [asdict(status) for status in registry.list()]}

    @app.post("/admin/adapters")
    async def load_adapter(body: LoadBody) -> dict[str, Any]:
        """Loads an adapter; its name means it from now on."""
        return asdict(await registry.load(body.path, body.name))

    @app.delete("/admin/adapters/{adapter}")
    async def unload_adapter(adapter: str, wait_s: float = 10.0) -> JSONResponse:
        """Unloads an adapter when no request uses it. 202: it is still in use after `wait_s` seconds."""
        try:
            await asyncio.wait_for(registry.unload(adapter), min(max(wait_s, 0.0), MAX_WAIT_S))
        except TimeoutError:
            return JSONResponse({"id": adapter, "state": "draining"}, 202)
        return JSONResponse({"id": adapter, "state": "unloaded"})

    @app.post("/admin/adapters/{name}/alias")
    async def set_alias(name: str, body: AliasBody) -> dict[str, Any]:
        """Makes a name mean another of its adapters."""
        return asdict(registry.set_alias(name, body.id))

    return app


class AdminServer:
    """Serves the app on a socket with mode 0600 while it is started.

    Args:
        registry: of the adapters.
        path: of the socket. What a server that was killed left there is removed.
    """

    def __init__(self, registry: AdapterRegistry, path: Path):
        self.path = path
        config = uvicorn.Config(create_admin_app(registry), log_level="warning", access_log=False, lifespan="off")
        self._server = _Server(config)
        self._lock: int | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens the socket and returns when it answers. Raises StoreError if that is not possible."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            take_lock(self._lock, lock, wait=False)
            listener = _listen(self.path)
        except HeldError:
            self._release()
            raise StoreError(f"{self.path}: another server has this socket; stop it, or give another path") from None
        except OSError as error:
            self._release()
            raise StoreError(f"{self.path}: cannot be opened as a socket ({error}); give another path") from error
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="admin")
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Ends running calls and removes the socket. A second call does nothing."""
        if self._task is not None:
            self._server.should_exit = self._server.force_exit = True
            await asyncio.wait([self._task])
            self.path.unlink(missing_ok=True)
            self._task = None
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _Server(uvicorn.Server):
    """The public server handles signals, for both."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(path: Path) -> socket.socket:
    """A listening socket that this user alone can connect to."""
    if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
        raise FileExistsError(f"{path} is no socket")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # of the process: nothing else is created meanwhile
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen()
    return listener


def _error(status: int, message: str, param: str | None) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": None}}, status)

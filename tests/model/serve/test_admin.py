"""The administration socket: what it does, who can open it, and what it leaves when its server was killed."""

import asyncio
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

torch = pytest.importorskip("torch")

from configs.errors import StoreError  # noqa: E402
from model.serve.adapters import AdapterRegistry  # noqa: E402
from model.serve.admin import AdminServer  # noqa: E402
from model.serve.embedded import EmbeddedEngine, EmbeddedOptions  # noqa: E402
from tests.factories.serving.byte_llama import save_adapter  # noqa: E402
from tests.factories.serving.tiny_models import save_llama  # noqa: E402

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    save_llama(folder / "model")
    for seed in range(2):
        save_adapter(folder / "model", folder / "adapters" / str(seed), seed=seed)
    return folder


def administer(
    prepared: Path, path: Path, work: Callable[[httpx.AsyncClient, AdapterRegistry], Awaitable[None]]
) -> None:
    """Runs `work` with a client of a server that has its socket at `path`."""

    async def run() -> None:
        engine = EmbeddedEngine(prepared / "model", EmbeddedOptions(slots=2, max_length=64))
        await engine.start()
        registry = AdapterRegistry(engine, prepared / "adapters", model="base", model_folder=prepared / "model")
        server = AdminServer(registry, path)
        try:
            await server.start()
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
                await work(client, registry)
        finally:
            await server.close()
            await engine.close()

    asyncio.run(run())


def test_adapters_are_loaded_switched_and_unloaded(prepared: Path, tmp_path: Path) -> None:
    async def work(client: httpx.AsyncClient, registry: AdapterRegistry) -> None:
        async def load(path: str) -> Any:
            reply = await client.post("/admin/adapters", json={"path": path, "name": "law"})
            assert reply.status_code == 200, reply.text
            return reply.json()

        first, second = await load("0"), await load("1")
        listed = (await client.get("/admin/adapters")).json()["data"]
        assert [(found["id"], found["is_alias"]) for found in listed] == [(first["id"], False), (second["id"], True)]
        reply = await client.post("/admin/adapters/law/alias", json={"id": first["id"]})
        assert (reply.status_code, reply.json()["is_alias"]) == (200, True)
        with registry.resolve("law") as choice:
            assert choice.public_id == first["id"]
            reply = await client.delete(f"/admin/adapters/{first['id']}", params={"wait_s": 0})
            assert (reply.status_code, reply.json()) == (202, {"id": first["id"], "state": "draining"})
        reply = await client.delete(f"/admin/adapters/{second['id']}")
        assert (reply.status_code, reply.json()) == (200, {"id": second["id"], "state": "unloaded"})
        reply = await client.delete(f"/admin/adapters/{first['id']}")
        assert reply.status_code in (200, 404)  # it has drained meanwhile
        assert (await client.get("/admin/adapters")).json() == {"data": []}

    administer(prepared, tmp_path / "admin.sock", work)


def test_errors_have_one_form(prepared: Path, tmp_path: Path) -> None:
    async def work(client: httpx.AsyncClient, registry: AdapterRegistry) -> None:
        status = await registry.load("0", "law")
        calls = [
            ("POST", "/admin/adapters", {"path": "../elsewhere", "name": "law"}, 400),
            ("POST", "/admin/adapters", {"path": "0"}, 400),
            ("POST", "/admin/adapters", {"path": "0", "name": "a", "force": True}, 400),
            ("POST", "/admin/adapters", {"path": "0", "name": "base"}, 400),
            ("POST", "/admin/adapters/law/alias", {"id": "law@000000000000"}, 404),
            ("POST", "/admin/adapters/medicine/alias", {"id": status.id}, 404),
            ("DELETE", "/admin/adapters/law@000000000000", None, 404),
        ]
        for method, url, body, code in calls:
            reply = await client.request(method, url, json=body)
            error = reply.json()["error"]
            assert (reply.status_code, set(error)) == (code, {"message", "type", "param", "code"}), url
            assert error["message"]
        registry.capacity = 1
        reply = await client.post("/admin/adapters", json={"path": "1", "name": "law"})
        assert reply.status_code == 409

    administer(prepared, tmp_path / "admin.sock", work)


def test_the_socket_is_its_users_alone_and_one_servers(prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))  # by a server that was killed
    left.close()

    async def work(client: httpx.AsyncClient, registry: AdapterRegistry) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(StoreError, match="another server has this socket"):
            await AdminServer(registry, path).start()
        assert (await client.get("/admin/adapters")).status_code == 200
        file = tmp_path / "file"
        file.write_text("kept")
        for wrong in (file, tmp_path / "missing" / "admin.sock", tmp_path / ("x" * 120)):
            with pytest.raises(StoreError, match="cannot be opened as a socket"):
                await AdminServer(registry, wrong).start()
        assert file.read_text() == "kept"

    administer(prepared, path, work)
    assert not path.exists()
    shutil.rmtree(tmp_path)

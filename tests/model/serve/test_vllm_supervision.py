"""A supervised vLLM that dies, hangs or does not start: what becomes of requests and processes.

A stand-in takes vLLM's place, so that faults come when they are wanted. `test_vllm_child` has the real one.
"""

import asyncio
import itertools
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from configs.errors import BackendError, InputError
from model.serve.port import AdapterRef, EngineDownError, GenerationRequest, RequestError, SamplingOptions
from model.serve.vllm_child import VllmChildEngine, VllmChildOptions
from model.serve.vllm_child.gate import AdapterGate
from model.serve.vllm_child.options import arguments
from model.weights.adapter import CONFIG, WEIGHTS, adapter_sha256
from tests.factories.serving.stand_in_vllm import (
    BREAKS,
    DIES,
    FAULT,
    GARBLES,
    HANGS,
    RELEASES,
    WAITS,
    install,
    save_model,
)

OPTIONS = {"poll_interval_s": 0.02, "stop_timeout_s": 1.0, "restarts": 1}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in install(tmp_path / "installed").items():
        monkeypatch.setenv(name, value)
    return save_model(tmp_path / "model")


def serve(model: Path, work: Callable[[VllmChildEngine], Awaitable[Any]], **options: Any) -> Any:
    """Runs `work` with a started engine. No process may remain."""

    async def run() -> Any:
        engine = VllmChildEngine(model, VllmChildOptions(**OPTIONS | options))
        await engine.start()
        group = process_group(engine)
        assert len(alive(group)) == 2
        try:
            return await work(engine)
        finally:
            runtime = engine._supervisor.runtime  # type: ignore[union-attr]
            await engine.close()
            await engine.close()
            assert alive(group) == []
            assert not runtime.exists()

    return asyncio.run(run())


def process_group(engine: VllmChildEngine) -> int:
    assert engine._supervisor is not None
    assert engine._supervisor.child is not None
    return engine._supervisor.child.pid


def alive(group: int) -> list[int]:
    """The processes of a group that are no zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, process_group, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            found.append(int(folder.name))
    return found


def request(number: int, prompt: tuple[int, ...] = (1, 2), tokens: int = 4, **more: Any) -> GenerationRequest:
    return GenerationRequest(f"r{number}", prompt, SamplingOptions(tokens), **more)


async def answer(engine: VllmChildEngine, *arguments: Any, **more: Any) -> tuple[int, ...]:
    steps = await engine.submit(request(*arguments, **more))
    return tuple([token async for step in steps for token in step.tokens])


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Running:
    """An engine without faults, and its event loop."""

    engine: VllmChildEngine
    run: Callable[..., Any]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        variables = {"VLLM_API_KEY": "key", "VLLM_LORA_RESOLVER_CACHE_DIR": "/"}
        for name, value in (install(folder / "installed") | variables).items():
            patch.setenv(name, value)
        engine = VllmChildEngine(save_model(folder / "model"), VllmChildOptions(**OPTIONS))
        runner.run(engine.start())
        group = process_group(engine)
        yield Running(engine, runner.run)
        runner.run(engine.close())
        assert alive(group) == []


def test_requests_are_answered_and_counted(running: Running) -> None:
    engine = running.engine

    async def work() -> None:
        assert (engine.info.max_length, engine.info.vocab_size, engine.version) == (48, 100, "vllm 0.30.0")
        assert engine.stats().seconds_since_step is None
        before = engine.stats()
        answers = await asyncio.gather(*(answer(engine, number, (number, number)) for number in range(20)))
        assert answers == [tuple(range(number + 1, number + 5)) for number in range(20)]
        await until(lambda: engine.stats().generated_tokens == before.generated_tokens + 80)
        assert engine.stats().prompt_tokens == before.prompt_tokens + 40
        assert await answer(engine, 1, tokens=46) == tuple(range(3, 49))
        assert await answer(engine, 1, tokens=0) == ()

    running.run(work())


def test_an_aborted_request_closes_its_connection(running: Running) -> None:
    engine = running.engine

    async def work() -> None:
        streams = [await engine.submit(request(number, (WAITS, 2), tokens=46)) for number in range(3)]
        await until(lambda: engine.stats().running == 3)
        assert engine.stats().seconds_since_step is not None
        with pytest.raises(RequestError, match="running already"):
            await engine.submit(request(0))
        engine.abort("r0")
        engine.abort("unknown")
        await streams[1].aclose()
        for stream in streams[:2]:
            assert len([token async for step in stream for token in step.tokens]) <= 1
        never_read = asyncio.create_task(engine.submit(request(4, (WAITS, 2), tokens=46)))
        await asyncio.sleep(0)
        never_read.cancel()
        assert await answer(engine, 0, (RELEASES, 2)) == (3, 4, 5, 6)  # the id is free again
        assert len([token async for step in streams[2] for token in step.tokens]) == 46
        await until(lambda: engine.stats().running == 0)

    running.run(work())


def test_a_reply_that_cannot_be_read_ends_its_request_alone(running: Running) -> None:
    with pytest.raises(EngineDownError, match="cannot be read"):
        running.run(answer(running.engine, 1, (GARBLES, 1)))
    assert running.run(answer(running.engine, 1)) == (3, 4, 5, 6)
    assert (running.engine.stats().restarts, running.engine.stats().is_alive) == (0, True)


def test_nobody_else_can_reach_the_child(running: Running) -> None:
    assert running.engine._supervisor is not None
    runtime = running.engine._supervisor.runtime
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert [path.name for path in sorted(runtime.iterdir())] == ["1.sock", "vllm.log"]
    variables = Path(f"/proc/{process_group(running.engine)}/environ").read_text()
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in variables
    assert not [name for name in ("VLLM_API_KEY", "RESOLVER") if name in variables]


def test_the_command_line(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    line = arguments(model, Path("/run/x.sock"), VllmChildOptions(max_adapters=2, max_adapter_rank=20), cpu=False)
    flags = dict(itertools.pairwise(line))
    assert flags["--uds"] == "/run/x.sock"
    assert not {"--port", "--host"} & set(line)
    assert (flags["--max-loras"], flags["--max-cpu-loras"], flags["--max-lora-rank"]) == ("3", "3", "32")
    plain = arguments(model, Path("s"), VllmChildOptions(max_adapters=0, extra_args=("--seed", "7")), cpu=True)
    assert "--enable-lora" not in plain
    assert plain[-2:] == ["--seed", "7"]


def adapter(folder: Path) -> AdapterRef:
    folder.mkdir()
    save_file({"q_proj.lora_A.weight": numpy.zeros((1, 1))}, folder / WEIGHTS)
    (folder / CONFIG).write_text("{}")
    return AdapterRef(f"{folder.name}@1", str(folder), adapter_sha256(folder))


async def fail(engine: VllmChildEngine, fault: int) -> None:
    """Makes the child fail while it generates for others, and waits until none of its processes is left."""
    group = process_group(engine)
    streams = [await engine.submit(request(number, (WAITS, 2), tokens=46)) for number in range(3)]
    await anext(streams[0])
    streams.append(await engine.submit(request(9, (fault, 1), tokens=9)))
    for stream in streams:
        with pytest.raises(EngineDownError, match="engine"):
            await drain(stream)
    await until(lambda: not alive(group))


def test_a_child_that_fails_is_replaced(model: Path, tmp_path: Path) -> None:
    law, changed = adapter(tmp_path / "law"), adapter(tmp_path / "changed")

    async def work(engine: VllmChildEngine) -> None:
        await engine.load_adapter(law)
        await engine.load_adapter(changed)
        assert await answer(engine, 1, adapter=changed) == (3, 4, 5, 6)
        (Path(changed.path) / CONFIG).write_text("changed")
        for restarts, fault in enumerate((DIES, BREAKS), 1):
            await fail(engine, fault)
            answers = await asyncio.gather(answer(engine, 1), answer(engine, 2, adapter=law))
            assert answers == [(3, 4, 5, 6)] * 2
            with pytest.raises(RequestError) as refusal:  # it would be served under the old name
                await answer(engine, 3, adapter=changed)
            assert refusal.value.param == "model"
            assert (engine.stats().restarts, engine.stats().is_alive) == (restarts, True)
        stream = await engine.submit(request(1, (WAITS, 2), tokens=46))
        await engine.close()
        with pytest.raises(EngineDownError, match="stopping"):
            await drain(stream)
        with pytest.raises(EngineDownError, match="stopping"):
            await engine.submit(request(2))

    serve(model, work)


def test_a_child_that_hangs_is_replaced(model: Path) -> None:
    async def work(engine: VllmChildEngine) -> None:
        await fail(engine, HANGS)
        assert await answer(engine, 1) == (3, 4, 5, 6)

    serve(model, work, step_timeout_s=1.0, restarts=10)


async def drain(stream: Any) -> None:
    async for _ in stream:
        pass


def test_a_child_that_never_starts_again_is_given_up(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    law = adapter(tmp_path / "law")

    async def work(engine: VllmChildEngine) -> None:
        monkeypatch.setenv(FAULT, "no memory")
        with pytest.raises(EngineDownError):
            await answer(engine, 1, (DIES, 1))
        await until(lambda: not engine.stats().is_alive)
        with pytest.raises(EngineDownError, match="being restarted"):  # it waits only so long
            await engine.load_adapter(law)
        await until(lambda: engine._supervisor.fault)  # type: ignore[union-attr]
        with pytest.raises(EngineDownError, match="the engine is down"):
            await engine.submit(request(2))
        assert (engine.stats().is_alive, engine.stats().restarts) == (False, 2)

    serve(model, work, restart_wait_s=0.01)


def test_a_child_that_does_not_start_says_why(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULT, "the context is too long")
    log = tmp_path / "vllm.log"
    log.write_text("ValueError: of an earlier start\n")
    with pytest.raises(BackendError, match="its process ended\nValueError: the context is too long") as failure:
        serve(model, drain, log=log)
    assert "earlier" not in str(failure.value)
    assert "it starts" in log.read_text()


def test_what_is_no_model_or_no_vllm_is_named(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"config\.json: cannot be read"):
        VllmChildEngine(tmp_path)
    with pytest.raises(BackendError, match="cannot be started"):
        serve(model, drain, python=str(tmp_path / "python"))
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(BackendError, match="has no vLLM; install the extra"):
        serve(model, drain, python=sys.executable)


def test_the_processes_end_with_the_server_that_is_killed(model: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from model.serve.vllm_child import VllmChildEngine
async def run():
    engine = VllmChildEngine(Path(sys.argv[1]))
    await engine.start()
    print(engine._supervisor.child.pid, engine._supervisor.runtime, flush=True)
    await asyncio.sleep(1000)
asyncio.run(run())
"""
    server = subprocess.Popen([sys.executable, "-c", script, str(model)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    number, runtime = server.stdout.readline().split()
    group = int(number)
    assert len(alive(group)) == 2
    server.kill()
    server.wait()
    server.stdout.close()
    while alive(group):
        time.sleep(0.02)
    shutil.rmtree(runtime)  # nobody was left to do it


def test_the_gate_keeps_adapters_apart_and_lets_nobody_starve() -> None:
    log: list[str] = []

    async def enter(gate: AdapterGate, adapter: str, name: str, leave: asyncio.Event) -> None:
        async with gate.enter(request(0, adapter=AdapterRef(adapter, "", "") if adapter else None)):
            log.append(name)
            await leave.wait()

    async def run() -> None:
        gate, leave = AdapterGate(), [asyncio.Event() for _ in range(6)]
        order = [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2"), ("", "c1")]
        tasks = []
        for (adapter, name), event in zip(order, leave, strict=True):
            tasks.append(asyncio.create_task(enter(gate, adapter, name, event)))
            await asyncio.sleep(0)
        assert (log, gate.waiting) == (["a1", "a2"], 4)  # a3 does not overtake b1
        tasks[4].cancel()  # b2, which waits
        leave[0].set()
        await asyncio.sleep(0.01)
        assert (log, gate.waiting) == (["a1", "a2"], 3)
        tasks[1].cancel()  # a2, which runs
        await asyncio.sleep(0.01)
        assert (log[2:], gate.waiting) == (["b1"], 2)
        leave[2].set()
        await asyncio.sleep(0.01)
        assert (log[3:], gate.waiting) == (["a3"], 1)
        leave[3].set()
        leave[5].set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert log[4:] == ["c1"]

    asyncio.run(run())


@pytest.fixture(autouse=True)
def no_processes_are_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


def children() -> set[int]:
    return {int(task) for path in Path("/proc/self/task").glob("*/children") for task in path.read_text().split()}

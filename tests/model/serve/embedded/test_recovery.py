"""The embedded engine after steps that fail: streams end with an error, nothing is lost, and it answers again."""

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

torch = pytest.importorskip("torch")

from model.serve import restarts  # noqa: E402
from model.serve.api.health import health_of  # noqa: E402
from model.serve.api.lifecycle import Lifecycle  # noqa: E402
from model.serve.api.serving import Limits  # noqa: E402
from model.serve.embedded import EmbeddedEngine  # noqa: E402
from model.serve.embedded.dsa_slots import DsaSlots  # noqa: E402
from model.serve.port import AdapterRef, EngineDownError, GenerationRequest  # noqa: E402
from tests.factories.serving.tiny_models import save_adapter, save_dsa, save_llama  # noqa: E402
from tests.model.serve.embedded.test_engine import (  # noqa: E402
    SMALL,
    answer,
    greedy,
    prompts,
    reference,
    tokens_of,
    with_engine,
)

pytestmark = pytest.mark.weights
FAR = 60  # tokens; streams of these tests would go on behind it
PATIENT = dataclasses.replace(SMALL, restarts=20)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "dsa": (folder / "dsa", save_dsa(folder / "dsa")),
        "llama": (folder / "llama", save_llama(folder / "llama")),
    }


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "FIRST_PAUSE_S", 0.0)


class Faults:
    """Breaks an engine's decode steps, and with `spoils` also what its slots hold."""

    def __init__(self, engine: EmbeddedEngine, *, spoils: bool = False) -> None:
        self.model, self.left, self.seen, self.spoils = engine._generation.model, 0, 0, spoils
        self.are_armed, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()
        self._decode, self.model.decode = self.model.decode, self.decode

    def arm(self, failures: int) -> None:
        """Lets so many of the next decode steps fail."""
        self.left = failures
        self.are_armed.set()

    def decode(self, tokens: Any, positions: Any, adapters: Any) -> Any:
        if max(positions) > FAR:
            self.are_armed.wait(60)  # else a stream could end before it is broken off
        if self.left:
            self.left -= 1
            self.seen += 1
            if self.spoils:
                self.spoil()
            raise ZeroDivisionError("on purpose")
        self.may_go_on.wait(60)
        return self._decode(tokens, positions, adapters)

    def spoil(self) -> None:
        pages = getattr(self.model, "_pages", None)
        layers = getattr(self.model, "_layers", ())
        tensors = [arena for layer in layers for arena in layer._arenas]
        spoil(tensors if pages is None else [pages.keys, pages.values, pages.tail, *pages.levels])


def spoil(tensors: list[Any]) -> None:
    with torch.inference_mode():
        for tensor in tensors:
            tensor.fill_(float("nan"))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def started_streams(engine: EmbeddedEngine, faults: Faults, count: int) -> list[Any]:
    """Streams that have given their first tokens and would go on for long."""
    faults.are_armed.clear()
    long = greedy(100, ignore_eos=True)
    streams = [await engine.submit(GenerationRequest(f"s{i}", (i + 1, 2, 3), long)) for i in range(count)]
    for stream in streams:
        await anext(stream)
    return streams


async def expect_errors(streams: list[Any]) -> None:
    for stream in streams:
        with pytest.raises(EngineDownError, match=r"failed \(ZeroDivisionError\); send the request again"):
            async for _ in stream:
                pass


async def expect_all_answers(engine: EmbeddedEngine, network: Any, seed: int = 7) -> None:
    """Ragged, concurrent requests, more than there are slots; afterwards all slots are free."""
    requests = [GenerationRequest(f"n{seed} {i}", prompt, greedy()) for i, prompt in enumerate(prompts(seed))]
    answers = await asyncio.gather(*(answer(engine, request) for request in requests))
    assert [tokens_of(steps) for steps in answers] == [reference(network, prompt) for prompt in prompts(seed)]
    assert sorted(engine._generation.scheduler._free) == [0, 1, 2]
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.kv_cache_usage) == (0, 0, 0)


def health(engine: EmbeddedEngine) -> tuple[str, list[str]]:
    serving = cast(Any, SimpleNamespace(engine=engine, limits=Limits(), admission=None))
    result = health_of(serving, Lifecycle())
    return result["status"], result["reasons"]


@pytest.mark.parametrize("kind", ["dsa", "llama"])
@pytest.mark.parametrize("failures", [1, 3, 10])
def test_streams_end_with_an_error_and_the_engine_answers_again(models: Any, kind: str, failures: int) -> None:
    folder, network = models[kind]

    async def work(engine: EmbeddedEngine) -> None:
        faults = Faults(engine, spoils=True)
        streams = await started_streams(engine, faults, 3)
        faults.arm(failures)
        await expect_errors(streams)
        await expect_all_answers(engine, network)
        assert faults.seen == engine.stats().restarts == failures
        assert (engine.stats().is_alive, engine.stats().stays_down) == (True, False)
        await expect_errors_again(engine, faults)

    async def expect_errors_again(engine: EmbeddedEngine, faults: Faults) -> None:
        for round_ in range(2):  # after answers the count begins anew
            streams = await started_streams(engine, faults, 3)
            faults.arm(failures)
            await expect_errors(streams)
            await expect_all_answers(engine, network, 8 + round_)

    with_engine(folder, work, PATIENT)


def test_requests_that_come_meanwhile_wait_and_health_says_so(models: Any, tmp_path: Path) -> None:
    folder, network = models["dsa"]
    save_adapter(network, tmp_path, 1)
    adapter = AdapterRef("a@1", str(tmp_path), "1" * 64)

    async def work(engine: EmbeddedEngine) -> None:
        faults = Faults(engine)
        streams = await started_streams(engine, faults, 2)
        faults.may_go_on.clear()
        faults.arm(2)
        await expect_errors(streams)
        assert health(engine) == ("unhealthy", ["the engine is down and is being restarted"])
        late = asyncio.create_task(expect_all_answers(engine, network))
        loading = asyncio.create_task(engine.load_adapter(adapter))
        gone = asyncio.create_task(answer(engine, GenerationRequest("gone", (1,), greedy())))
        await until(lambda: faults.seen == 2)
        await asyncio.sleep(0)
        gone.cancel()  # its client has left
        assert not late.done()
        assert not loading.done()
        faults.may_go_on.set()
        await asyncio.gather(late, loading)
        assert health(engine) == ("ok", [])

    with_engine(folder, work, PATIENT)


def test_a_request_waits_only_so_long(models: Any) -> None:
    async def work(engine: EmbeddedEngine) -> None:
        faults = Faults(engine)
        streams = await started_streams(engine, faults, 1)
        faults.may_go_on.clear()
        faults.arm(1)
        await expect_errors(streams)
        with pytest.raises(EngineDownError, match="it is being restarted"):
            await engine.submit(GenerationRequest("a", (1,), greedy()))
        faults.may_go_on.set()

    with_engine(models["dsa"][0], work, dataclasses.replace(PATIENT, restart_wait_s=0.0))


def test_an_engine_that_fails_too_often_stays_down(models: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def work(engine: EmbeddedEngine) -> None:
        faults = Faults(engine)
        streams = await started_streams(engine, faults, 3)
        faults.arm(1000)
        await expect_errors(streams)
        with pytest.raises(EngineDownError, match="failed 3 times in a row, ZeroDivisionError at last: restart the"):
            await engine.submit(GenerationRequest("a", (1,), greedy()))
        with pytest.raises(EngineDownError, match="restart the server"):
            await engine.load_adapter(AdapterRef("a@1", "nowhere", "1" * 64))
        assert health(engine) == ("unhealthy", ["the engine is down and has failed too often; restart the server"])
        assert (engine.stats().restarts, faults.seen) == (3, 4)  # the first failure came after an answer
        assert "stays down" in caplog.text

    with_engine(models["dsa"][0], work, dataclasses.replace(SMALL, restarts=2))


def test_the_engine_can_be_closed_during_a_pause(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(restarts, "MAX_PAUSE_S", 3600.0)

    async def work(engine: EmbeddedEngine) -> None:
        faults = Faults(engine)
        streams = await started_streams(engine, faults, 1)
        faults.arm(2)  # a failed step, then a failed restart
        await expect_errors(streams)
        waiting = asyncio.create_task(answer(engine, GenerationRequest("a", (1,), greedy())))
        await until(lambda: engine.stats().restarts == 2)
        await engine.close()
        with pytest.raises(EngineDownError):
            await waiting

    with_engine(models["dsa"][0], work, PATIENT)


@pytest.mark.parametrize("kind", ["dsa", "llama"])
def test_adapters_stay_loaded_after_a_failure_within_a_pass(models: Any, tmp_path: Path, kind: str) -> None:
    folder, _ = models[kind]
    from transformers import AutoModelForCausalLM

    adapter = AdapterRef("a@1", str(tmp_path), "1" * 64)
    save_adapter(AutoModelForCausalLM.from_pretrained(folder), tmp_path, 1)

    async def work(engine: EmbeddedEngine) -> None:
        def requests(name: str) -> list[GenerationRequest]:
            return [
                GenerationRequest(f"{name}{i} {used}", prompt, greedy(), used)
                for used in (None, adapter)
                for i, prompt in enumerate(prompts(6))
            ]

        async def answers(name: str) -> list[list[int]]:
            return list(map(tokens_of, await asyncio.gather(*(answer(engine, r) for r in requests(name)))))

        await engine.load_adapter(adapter)
        before = await answers("before")
        is_broken = True

        def break_down(*_: Any) -> None:
            nonlocal is_broken
            if is_broken:
                is_broken = False
                raise ZeroDivisionError("on purpose")

        network = engine._generation.model.network
        layers = network.layers if kind == "dsa" else network.model.layers
        layers[-1].register_forward_hook(break_down)
        results = await asyncio.gather(*(answer(engine, r) for r in requests("broken")), return_exceptions=True)
        assert any(isinstance(result, EngineDownError) for result in results)
        assert await answers("after") == before
        assert before[: len(before) // 2] != before[len(before) // 2 :]

    with_engine(folder, work, PATIENT)


@pytest.mark.gpu
def test_graphs_are_captured_anew_on_a_gpu_and_take_no_more_memory(tmp_path: Path) -> None:
    network: Any = save_dsa(tmp_path, hidden_size=64, block=16, gate_dim=16).to("cuda", torch.bfloat16)
    slots, prompts_, none = DsaSlots(network, 5, 128), [list(prompt) for prompt in prompts(1, (20, 90, 20))], [None] * 3

    def step(t: int) -> torch.Tensor:
        result = slots.decode([1, 2, 3], [20 + t, 90 + t, 20 + t], none).clone()
        slots.wait()  # as the engine does, which reads the tokens: the next step's go through the same memory
        return result

    def logits() -> torch.Tensor:
        return torch.cat([slots.prefill(0, prompts_, 0, none, lambda: None), *map(step, range(20))])

    before, graphs = logits(), slots._graphs
    slots.restart()
    memory = torch.cuda.memory_reserved()
    for _ in range(2):
        pages = slots._pages
        spoil([pages.keys, pages.values, pages.tail, *pages.levels])
        slots.restart()
        assert torch.equal(logits(), before)
    assert slots._graphs is not graphs
    assert torch.cuda.memory_reserved() <= memory * 1.1

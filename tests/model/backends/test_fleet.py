"""The fleet of engine processes, with echo as the engine: dealing, deaths, poison, deadlines, and its own end."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import schema
from configs.errors import BackendError
from configs.load import load
from model.backends.echo import EchoGenerator
from model.backends.vllm.backend import VllmGenerator
from model.backends.vllm.fleet import Fleet, StartError
from model.backends.vllm.queue import MAX_ENGINE_DEATHS, PromptQueue
from model.backends.vllm.worker import EngineSpec
from pipeline.report.summary import engine_figures
from pipeline.run.graph import _generate
from pipeline.run.stage_specs import Context
from stages.generate import Generate
from stages.ports import Completion, ModelCard, Request
from stages.screen import Screen
from stages.storage.records import ShardRecord, StageResult
from stages.storage.stage import StageName
from stages.storage.stats import ShardStats
from tests.factories.command_line import ROOT, environment

ENGINE = "tests.factories.echo_engine:EchoEngine"
QUICK = {"max_num_seqs": 4, "start_timeout_s": 60, "step_timeout_s": 60, "restarts": 3}


def ask(text: str, seed: int = 0) -> Request:
    return Request(f"r{seed}", ({"role": "user", "content": text},), schema.Sampling(), seed)


def asks(count: int) -> list[Request]:
    return [ask(f"Name point {number} of the contract.", number) for number in range(count)]


Opener = Callable[..., Fleet]


@pytest.fixture
def open_fleet(tmp_path: Path) -> Iterator[Opener]:
    opened: list[Fleet] = []

    def make(engines: int = 2, knobs: dict[str, object] | None = None, **options: float) -> Fleet:
        vllm = schema.VllmOptions.model_validate(QUICK | options)
        config = schema.Generator(backend="vllm", model="echo", vllm=vllm)
        card = ModelCard("echo", "0" * 64, "vllm", json.dumps(knobs or {}), 0)
        starts = [EngineSpec(ENGINE, config, card, number, 1.0, None, cpu=True) for number in range(engines)]
        made = Fleet(starts, [{}] * engines, vllm, tmp_path / "engines" / "x.lock")
        opened.append(made)
        return made

    yield make
    for fleet in opened:
        fleet.close()


def undisturbed(requests: list[Request]) -> list[Completion]:
    config = schema.Generator(backend="echo", model="echo")
    return EchoGenerator(config, ModelCard("echo", "0" * 64, "echo", "", 0), 1).generate(requests)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pids(fleet: Fleet) -> list[int]:
    return [life.process.pid for life in fleet.processes if life]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_calls_of_several_threads_are_answered_in_order_by_all_engines(open_fleet: Opener) -> None:
    fleet = open_fleet(2, {"step_s": 0.01})
    until(lambda: len(fleet.queue.engines_up) == 2)
    calls = [asks(20 + number) for number in range(3)]
    found: dict[int, list[Completion]] = {}
    threads = [
        threading.Thread(target=lambda at=at, call=call: found.update({at: fleet.generate(call)}))
        for at, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    until(lambda: all(fleet.queue.open))
    for thread in threads:
        thread.join()
    assert [found[at] for at in range(3)] == [undisturbed(call) for call in calls]
    made = sum(row.output_tokens for rows in found.values() for row in rows)
    assert sum(engine.output_tokens for engine in fleet.figures()) == made
    until(lambda: all(engine.waiting and engine.generating for engine in fleet.figures()))
    assert fleet.kv_cache.usage == fleet.kv_cache.samples * 0.5


def test_progress_is_reported_while_a_call_waits(open_fleet: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.backends.vllm.fleet.PROGRESS_INTERVAL_S", 0.001)
    calls: list[tuple[int, int]] = []
    rows = open_fleet(2, {"step_s": 0.01}).generate(asks(30), lambda answered, tokens: calls.append((answered, tokens)))
    assert calls[0] == (0, 0)
    assert calls[-1] == (30, sum(row.output_tokens for row in rows))
    assert calls == sorted(calls)
    assert len(set(calls)) > 2


def test_killed_engines_cost_no_row_and_double_none(open_fleet: Opener) -> None:
    fleet = open_fleet(2, {"step_s": 0.01})
    rng, requests, found = random.Random(3), asks(300), []
    thread = threading.Thread(target=lambda: found.extend(fleet.generate(requests)))
    thread.start()
    for before in (0.1, 0.4, 0.4):
        time.sleep(before)
        if running := pids(fleet):
            os.kill(rng.choice(running), signal.SIGKILL)
    thread.join(120)
    assert [row.error for row in found if row.error] == []  # no prompt was open at three deaths
    assert found == undisturbed(requests)
    assert sum(fleet.restarts) >= 2


@pytest.mark.parametrize("word", ["POISON", "RAISE"])
def test_a_poisonous_prompt_is_answered_as_an_error(open_fleet: Opener, word: str) -> None:
    fleet = open_fleet(1)
    requests = [*asks(6), ask(f"{word} this", 6), *asks(3)]
    rows = fleet.generate(requests)
    assert (rows[6].error or "").startswith("engine_died")
    assert (rows[6].error or "").endswith(
        "its process was killed by SIGKILL" if word == "POISON" else "the device is gone"
    )
    assert sum(row.error is not None for row in rows) <= 2  # at its third death it had at most one beside it
    expected = undisturbed(requests)
    assert all(row == good for row, good in zip(rows, expected, strict=True) if row.error is None)
    assert fleet.generate(asks(3)) == undisturbed(asks(3))


@pytest.mark.slow
@pytest.mark.parametrize("word", ["HANG", "STOP"])
def test_an_engine_that_makes_no_step_is_started_again(open_fleet: Opener, word: str) -> None:
    fleet = open_fleet(1, step_timeout_s=0.5)
    rows = fleet.generate([ask(f"{word} here"), ask("Name it.", 1)])
    assert "no step within generator.vllm.step_timeout_s" in (rows[0].error or "")
    assert fleet.restarts == [MAX_ENGINE_DEATHS]


def test_a_row_that_cannot_be_asked_fails_alone(open_fleet: Opener) -> None:
    rows = open_fleet(1).generate([ask("LONG"), ask("BROKEN", 1), ask("Name it.", 2)])
    assert [row.error for row in rows] == ["prompt_too_long: said so", "refused: RuntimeError: no such token", None]


def test_a_first_engine_that_cannot_start_says_why(open_fleet: Opener) -> None:
    with pytest.raises(StartError, match="RuntimeError: the device is gone"):
        open_fleet(2, {"start": "RAISE"})
    with pytest.raises(StartError, match="killed by SIGKILL"):
        open_fleet(2, {"start": "POISON"}, restarts=1)
    with pytest.raises(StartError, match=r"generator\.vllm\.start_timeout_s=0\.5"):
        open_fleet(1, {"start": "HANG"}, start_timeout_s=0.5, restarts=0)


def test_the_others_go_on_without_an_engine_that_cannot_start(open_fleet: Opener) -> None:
    fleet = open_fleet(2, {"start": "POISON", "from": 1}, restarts=1)
    until(lambda: fleet.given_up == {1})
    assert fleet.generate(asks(30)) == undisturbed(asks(30))


def test_when_no_engine_is_left_all_who_wait_and_come_hear_it(open_fleet: Opener) -> None:
    fleet = open_fleet(1, restarts=0)
    with pytest.raises(BackendError, match="all engines stopped"):
        fleet.generate([ask("POISON")])
    with pytest.raises(BackendError, match="all engines stopped"):
        fleet.generate([ask("Name it.")])


def test_closing_lets_calls_end_and_leaves_no_process(open_fleet: Opener) -> None:
    fleet = open_fleet(2, {"step_s": 0.01})
    until(lambda: len(fleet.queue.engines_up) == 2)
    running, found = pids(fleet), []
    thread = threading.Thread(target=lambda: found.extend(fleet.generate(asks(40))))
    thread.start()
    until(lambda: fleet.queue.unanswered)
    fleet.close()
    thread.join()
    assert found == undisturbed(asks(40))
    assert not any(map(alive, running))
    with pytest.raises(BackendError, match="closed"):
        fleet.generate(asks(1))


def test_a_killed_parent_leaves_no_engine(tmp_path: Path) -> None:
    script = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from configs import schema
from model.backends.vllm.fleet import Fleet
from model.backends.vllm.worker import EngineSpec
from stages.ports import ModelCard
options = schema.VllmOptions(max_num_seqs=4)
config = schema.Generator(backend="vllm", model="echo", vllm=options)
card = ModelCard("echo", "0" * 64, "vllm", "", 0)
starts = [EngineSpec("{ENGINE}", config, card, number, 1.0, None, True) for number in range(2)]
fleet = Fleet(starts, [{{}}] * 2, options, Path({str(tmp_path)!r}) / "x.lock")
while len(fleet.queue.engines_up) < 2:
    time.sleep(0.01)
print(*[life.process.pid for life in fleet.processes], flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment()
    ) as parent:
        assert parent.stdout is not None
        running = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(running) == 2
        os.kill(running[1], signal.SIGSTOP)  # it reads no end of its socket
        parent.kill()
    until(lambda: not any(map(alive, running)))


def test_the_generator_accounts_for_its_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # the driver's, not the engines'
    config = schema.Generator(backend="vllm", model="echo", vllm=schema.VllmOptions.model_validate(QUICK))
    made = VllmGenerator(
        config, ModelCard("echo", "0" * 64, "vllm", "", 0), 1, "tests.factories.echo_engine:EchoEngine"
    )
    records = []
    for place in range(2):
        assert made.generate(asks(20)) == undisturbed(asks(20))
        before = made.fleet.processes[0]
        until(lambda before=before: before and before.figures.get("generating") and before.figures["waiting"])
        assert before
        assert b"MALLOC_ARENA_MAX" not in Path(f"/proc/{before.process.pid}/environ").read_bytes()
        stats = ShardStats(seconds=1.0, ended=100.0 + place, generator=made.take_stats())
        records.append(ShardRecord(place, "x", 20, None, None, {}, {}, 0, "", stats, "law"))
    assert made.generate([]) == []
    made.close()
    made.close()
    with pytest.raises(BackendError, match=r"vLLM stopped on 'echo' \(the generator was closed\)"):
        made.generate(asks(1))
    generated = StageResult(StageName("generate"), Generate.kind, records)
    screened = StageResult(StageName("screen"), Screen.kind, records)
    account = engine_figures([generated, screened])
    assert account is not None
    output = 2 * sum(row.output_tokens for row in undisturbed(asks(20)))
    assert account.tokens_per_second == output / 2
    assert account.each["0"].output_tokens == output
    assert 0 < account.waiting < 1
    assert (account.gpu_utilisation, account.restarts) == (None, 0)
    assert engine_figures([screened]) is None


@pytest.mark.parametrize(
    ("backend", "run", "one"),
    [
        ("vllm", {"workers": 3}, True),
        ("transformers", {"workers": 3}, False),
        ("vllm", {"workers": 3, "pool": "localhost:1"}, False),
        ("vllm", {"runner": "FlinkRunner"}, False),
    ],
)
def test_engine_stages_have_one_process_and_all_its_cores(
    tmp_path: Path, backend: str, run: dict[str, object], one: bool
) -> None:
    config = load("echo").model_copy(update={"run": schema.Run.model_validate(run)})
    card = ModelCard("echo", "0" * 64, backend, "", 0)
    context = Context(config, card, None, {}, tmp_path, "2026-01-02", "r", [], [], 2)
    assert context.fleet == one
    stage = _generate(context, StageName, {}, {})
    assert stage.body._generator._create.args[2] == (6 if one else 2)  # pyright: ignore[reportAttributeAccessIssue]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 16), st.randoms())
def test_each_request_is_answered_exactly_once_under_random_deaths(
    sizes: list[int], engines: int, capacity: int, rng: random.Random
) -> None:
    queue = PromptQueue(engines, capacity)
    calls = [queue.submit([ask(f"{at} {index}") for index in range(size)]) for at, size in enumerate(sizes)]
    held: list[list[tuple[int, str]]] = [[] for _ in range(engines)]
    answered: Counter[str] = Counter()
    while not all(call.future.done() for call in calls):
        engine = rng.randrange(engines)
        queue.engines_up.add(engine)
        held[engine] += [(number, request.messages[0]["content"]) for number, request in queue.take(engine)]
        assert len(held[engine]) <= capacity
        rng.shuffle(held[engine])
        if rng.random() < 0.3:
            held[engine].clear()
            queue.engine_died(engine, "chance")
        elif held[engine]:
            number, text = held[engine].pop()
            answered[text] += 1
            queue.answer(
                engine, [(number, Completion(text, 1, 1, "stop")), (number + 10**9, Completion("?", 1, 1, "stop"))]
            )
    assert queue.unanswered == 0
    for at, call in enumerate(calls):
        for index, row in enumerate(call.future.result()):
            assert (row.text, row.error) == (f"{at} {index}", None) if answered[f"{at} {index}"] else row.error
            assert answered[f"{at} {index}"] <= 1


def test_engines_share_a_small_call_and_suspects_go_few_at_a_time() -> None:
    queue = PromptQueue(2, 64)
    queue.engines_up |= {0, 1}
    queue.submit(asks(10))
    assert [len(queue.take(0)), len(queue.take(0)), len(queue.take(1))] == [5, 0, 5]
    queue.submit(asks(200))
    assert len(queue.take(0)) == 59
    queue.engine_died(0, "x")
    queue.engines_up.add(0)
    assert [len(queue.open[0]), len(queue.take(0))] == [0, 64]
    assert sum(prompt.deaths for prompt in queue.open[0].values()) == 8

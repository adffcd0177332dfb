"""Rounds of steps: in order, none lost, and the next one only when the event loop had as long a rest as work."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from configs.errors import GristmillError
from model.serve import step_delivery
from model.serve.port import EngineDownError, GenerationStep, TokenLogprob
from model.serve.step_delivery import StepDelivery
from model.serve.step_stream import StepStream, join


class Clock:
    """An event loop whose time a test moves on. Seconds of work are those of the thread, too."""

    def __init__(self) -> None:
        self.now, self.ready, self.timers = 100.0, [], []

    def time(self) -> float:
        return self.now

    def call_soon(self, function: Callable[..., None], *arguments: Any) -> None:
        self.ready.append((function, arguments))

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, function: Callable[..., None]) -> None:
        self.timers.append((when, function))

    def run(self) -> None:
        """Runs what is ready, and what it makes ready."""
        while self.ready:
            function, arguments = self.ready.pop(0)
            function(*arguments)

    def advance(self, seconds: float) -> None:
        """Moves the time on and runs what is due."""
        self.now += seconds
        due = [function for when, function in self.timers if when <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for function in due:
            function()
        self.run()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(step_delivery.time, "thread_time", clock.time)
    return clock


def test_the_next_round_waits_until_the_loop_has_rested_as_long_as_it_worked(clock: Clock) -> None:
    rounds: list[list[int]] = []

    def hand_out(items: Any) -> None:
        rounds.append(list(items))
        clock.call_soon(lambda: setattr(clock, "now", clock.now + 0.25))  # a coroutine sends for so long

    delivery: StepDelivery[int] = StepDelivery(clock, hand_out)  # type: ignore[arg-type]
    delivery.post([1, 2])
    clock.run()
    assert rounds == [[1, 2]]
    delivery.post([3])
    clock.run()
    delivery.post([4, 5])
    clock.advance(0.125)
    assert rounds == [[1, 2]]
    clock.advance(0.125)
    assert rounds == [[1, 2], [3, 4, 5]]
    clock.advance(1.0)
    delivery.post([6])
    clock.run()
    assert rounds[2:] == [[6]]  # nothing to wait for


def test_what_comes_while_a_round_is_sent_is_handed_out_after_it(clock: Clock) -> None:
    rounds: list[list[int]] = []

    def hand_out(items: Any) -> None:
        rounds.append(list(items))
        if len(rounds) == 1:
            delivery.post([2])
            delivery.post([3])

    delivery: StepDelivery[int] = StepDelivery(clock, hand_out)  # type: ignore[arg-type]
    delivery.post([1])
    clock.run()
    assert rounds == [[1], [2, 3]]


def test_a_failure_of_one_round_does_not_stop_the_next(clock: Clock) -> None:
    rounds: list[list[int]] = []

    def hand_out(items: Any) -> None:
        rounds.append(list(items))
        if len(rounds) == 1:
            raise ValueError

    delivery: StepDelivery[int] = StepDelivery(clock, hand_out)  # type: ignore[arg-type]
    delivery.post([1])
    with pytest.raises(ValueError, match=r"^$"):
        clock.run()
    clock.run()
    delivery.post([2])
    clock.run()
    assert rounds == [[1], [2]]


def test_items_of_other_threads_arrive_in_order_and_none_is_lost() -> None:
    async def run() -> list[tuple[int, int]]:
        arrived: list[tuple[int, int]] = []
        delivery = StepDelivery(asyncio.get_running_loop(), arrived.extend)

        def post(thread: int) -> None:
            for number in range(500):
                delivery.post([(thread, number)])

        threads = [threading.Thread(target=post, args=(thread,)) for thread in range(3)]
        for thread in threads:
            thread.start()
        await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
        delivery.flush()
        return arrived

    arrived = asyncio.run(run())
    assert sorted(arrived) == [(thread, number) for thread in range(3) for number in range(500)]
    for thread in range(3):
        assert [number for one, number in arrived if one == thread] == list(range(500))


def test_posting_after_the_end_of_the_loop_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    delivery = StepDelivery(loop, lambda items: None)
    loop.close()
    delivery.post([1])


def entry(token: int) -> TokenLogprob:
    return TokenLogprob(token, -float(token), ((token, -float(token)),))


def test_a_stream_that_is_behind_gets_one_step_that_says_what_all_said() -> None:
    async def run() -> list[GenerationStep | GristmillError]:
        stream = StepStream(lambda: None)
        stream.put(GenerationStep((1,), (entry(1),), (None, entry(7))))
        stream.put(GenerationStep((2, 3), (entry(2), entry(3))))
        taken: list[GenerationStep | GristmillError] = [await anext(stream)]
        stream.put(GenerationStep((4,), (entry(4),)))
        stream.put(EngineDownError("down"))
        taken.append(await anext(stream))
        try:
            await anext(stream)
        except GristmillError as error:
            taken.append(error)
        return taken

    first, second, error = asyncio.run(run())
    assert first == GenerationStep((1, 2, 3), (entry(1), entry(2), entry(3)), (None, entry(7)))
    assert second == GenerationStep((4,), (entry(4),))
    assert isinstance(error, EngineDownError)
    last = GenerationStep((9,), None, None, "stop", 9)
    assert join([GenerationStep((8,)), last]) == GenerationStep((8, 9), None, None, "stop", 9)


def test_a_stream_that_is_closed_while_it_waits_ends() -> None:
    async def run() -> tuple[list[GenerationStep], int]:
        closed: list[None] = []
        stream = StepStream(lambda: closed.append(None))

        async def take() -> list[GenerationStep]:
            return [step async for step in stream]

        task = asyncio.create_task(take())
        await asyncio.sleep(0)
        stream.put(GenerationStep((1,)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await stream.aclose()
        return await task, len(closed)

    assert asyncio.run(run()) == ([GenerationStep((1,))], 1)

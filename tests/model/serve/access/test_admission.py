"""The queue is bounded and fair, and no place is lost, whatever callers do; quotas are counted."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from model.serve.access import Admission, Client, QueueFullError, QuotaError, Quotas

ANN, BEN, CAT = Client("ann"), Client("ben"), Client("cat")
DAY_S = 86400.0


class Clock:
    def __init__(self, now: float = 10 * DAY_S) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def is_running(ticket) -> bool:
    return ticket.state == "running"


def test_clients_take_turns_whoever_sent_more():
    admission = Admission(1, 20)
    first = admission.enter(ANN)
    waiting = [admission.enter(client) for client in (ANN, ANN, ANN, BEN, CAT, BEN)]
    order, running = [], first
    while True:
        running.leave()
        running = next(filter(is_running, waiting), None)
        if running is None:
            break
        order.append(running.client.name)
    assert order == ["ann", "ben", "cat", "ann", "ben", "ann"]
    assert (admission.running, admission.waiting) == (0, 0)


def test_one_client_gets_all_places_in_its_own_order():
    admission = Admission(2, 10)
    tickets = [admission.enter(ANN) for _ in range(5)]
    assert list(map(is_running, tickets)) == [True, True, False, False, False]
    tickets[0].leave()
    assert list(map(is_running, tickets)) == [False, True, True, False, False]


def test_a_full_queue_is_an_error_at_once_and_free_again_later():
    admission = Admission(1, 2)
    first, *_ = [admission.enter(ANN) for _ in range(3)]
    with pytest.raises(QueueFullError) as error:
        admission.enter(BEN)
    assert error.value.retry_after_s == 1
    assert (admission.running, admission.waiting) == (1, 2)
    first.leave()
    admission.enter(BEN)
    assert (admission.running, admission.waiting) == (1, 2)


def test_no_queue_at_all():
    admission = Admission(1, 0)
    ticket = admission.enter(ANN)
    with pytest.raises(QueueFullError):
        admission.enter(ANN)
    ticket.leave()
    assert is_running(admission.enter(ANN))


def test_no_client_fills_the_queue():
    admission = Admission(1, 10, max_waiting_per_client=2)
    for _ in range(3):
        admission.enter(ANN)
    with pytest.raises(QueueFullError, match="2 of ann"):
        admission.enter(ANN)
    admission.enter(BEN)


@pytest.mark.parametrize(
    ("seconds", "max_running", "expected"),
    [([4.0], 1, 4), ([2.0, 6.0], 1, 4), ([8.0], 4, 2), ([0.01], 1, 1), ([900], 1, 60)],
)
def test_retry_after_is_what_recent_requests_took(seconds, max_running, expected):
    clock = Clock()
    admission = Admission(max_running, 0, clock=clock)
    for duration in seconds:
        ticket = admission.enter(ANN)
        clock.now += duration
        ticket.leave()
    for _ in range(max_running):
        admission.enter(ANN)
    with pytest.raises(QueueFullError) as error:
        admission.enter(ANN)
    assert error.value.retry_after_s == expected


def test_turn_returns_when_a_place_is_free():
    async def scenario() -> list[str]:
        admission = Admission(1, 5)
        order = []

        async def request(client: Client, name: str) -> None:
            ticket = admission.enter(client)
            try:
                await ticket.turn()
                order.append(name)
                await asyncio.sleep(0)
            finally:
                ticket.leave()

        async with asyncio.timeout(5):
            await asyncio.gather(request(ANN, "a1"), request(ANN, "a2"), request(BEN, "b1"))
        assert (admission.running, admission.waiting) == (0, 0)
        return order

    assert asyncio.run(scenario()) == ["a1", "a2", "b1"]


def test_a_request_that_is_cancelled_while_it_waits_gives_its_place_back():
    async def scenario() -> None:
        admission = Admission(1, 5)
        first, second, third = (admission.enter(ANN) for _ in range(3))
        task = asyncio.create_task(second.turn())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (second.state, admission.waiting) == ("left", 1)
        first.leave()
        assert is_running(third)

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_when_its_turn_has_come_gives_its_place_back():
    async def scenario() -> None:
        admission = Admission(1, 5)
        first, second, third = (admission.enter(ANN) for _ in range(3))
        task = asyncio.create_task(second.turn())
        await asyncio.sleep(0)
        first.leave()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_running(third)
        assert (admission.running, admission.waiting) == (1, 0)

    asyncio.run(scenario())


class Places(RuleBasedStateMachine):
    """Any order of calls against a plain model: places are counted, and each client's requests keep their order."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(2, 4, max_waiting_per_client=3)
        self.tickets = []

    @rule(client=st.sampled_from([ANN, BEN, CAT]))
    def enter(self, client):
        waiting = [ticket for ticket in self.tickets if ticket.state == "waiting"]
        is_full = len(waiting) >= 4 or sum(ticket.client == client for ticket in waiting) >= 3
        is_busy = sum(map(is_running, self.tickets)) == 2
        if is_busy and is_full:
            with pytest.raises(QueueFullError):
                self.admission.enter(client)
        else:
            self.tickets.append(self.admission.enter(client))

    @rule(number=st.integers(0, 40))
    def leave(self, number):
        if self.tickets:
            self.tickets[number % len(self.tickets)].leave()

    @invariant()
    def no_place_is_lost(self):
        states = [ticket.state for ticket in self.tickets]
        running, waiting = states.count("running"), states.count("waiting")
        assert (running, waiting) == (self.admission.running, self.admission.waiting)
        assert running <= 2
        assert running == 2 or waiting == 0
        assert waiting <= 4

    @invariant()
    def a_client_is_served_in_order(self):
        for client in (ANN, BEN, CAT):
            states = [ticket.state for ticket in self.tickets if ticket.client == client and ticket.state != "left"]
            assert states == sorted(states)  # "running" before "waiting"


Places.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
test_places = Places.TestCase


def test_requests_of_a_minute():
    clock, client = Clock(), Client("ann", requests_per_minute=2)
    quotas = Quotas(clock)
    quotas.use(client)
    clock.now += 20
    quotas.use(client)
    with pytest.raises(QuotaError, match="2 requests of this minute") as error:
        quotas.use(client)
    assert error.value.retry_after_s == 41
    quotas.use(BEN)
    clock.now += 41
    quotas.use(client)
    with pytest.raises(QuotaError):
        quotas.use(client)


def test_tokens_of_a_day():
    clock, client = Clock(10 * DAY_S + 3600), Client("ann", tokens_per_day=100)
    quotas = Quotas(clock)
    for _ in range(2):
        quotas.use(client)
        quotas.book(client, 50)
    assert quotas.tokens_today(client) == 100
    with pytest.raises(QuotaError, match="100 tokens of this day") as error:
        quotas.use(client)
    assert error.value.retry_after_s == 23 * 3600 + 1
    clock.now += error.value.retry_after_s
    quotas.use(client)
    assert quotas.tokens_today(client) == 0


def test_what_is_refused_costs_no_request_and_no_place():
    client = Client("ann", requests_per_minute=1, tokens_per_day=10)
    quotas = Quotas(Clock())
    admission = Admission(1, 1, quotas=quotas)
    admission.enter(BEN)
    admission.enter(BEN)
    with pytest.raises(QueueFullError):
        admission.enter(client)
    other = Admission(1, 1, quotas=quotas)
    ticket = other.enter(client)
    with pytest.raises(QuotaError):
        other.enter(client)
    assert (other.running, other.waiting) == (1, 0)
    ticket.leave(tokens=10)
    ticket.leave(tokens=10)
    assert quotas.tokens_today(client) == 10

"""How often an engine that fails is started again, and after which pauses."""

from model.serve.restarts import MAX_PAUSE_S, Restarts


def test_pauses_grow_until_the_engine_stays_down() -> None:
    restarts = Restarts(8)
    pauses = [restarts.after_failure(has_answered=False) for _ in range(9)]
    assert pauses == [1, 2, 4, 8, 16, 32, MAX_PAUSE_S, MAX_PAUSE_S, None]
    assert (restarts.count, restarts.failures) == (8, 9)


def test_an_answer_begins_the_count_anew() -> None:
    restarts = Restarts(1)
    has_answered = [True, False, True, False, False]
    assert [restarts.after_failure(has_answered=answered) for answered in has_answered] == [0, 1, 0, 1, None]
    assert restarts.count == 4


def test_no_restart_is_allowed_but_after_an_answer() -> None:
    restarts = Restarts(0)
    assert restarts.after_failure(has_answered=True) == 0
    assert restarts.after_failure(has_answered=False) is None

"""A filter that takes seconds for a row shows that it gets on; its verdicts are the same."""

from stages.ports import Verdict
from stages.screen import judge_all
from stages.storage.activity import reported_to
from tests.factories.candidates import candidate

ROWS = [candidate(f"Answer {number} of the court.", "en") for number in range(4)]


def test_each_row_that_a_filter_comes_to_is_a_sign_of_life():
    signs: list[str] = []
    seen: list[int] = []

    def judge(batch):
        verdicts = []
        for row in batch:
            seen.append(len(signs))
            verdicts.append(Verdict("bad") if row is ROWS[2] else Verdict(None))
        return verdicts

    with reported_to(lambda what, at_once: signs.append(what)):
        verdicts = judge_all(judge, ROWS)
    assert seen == [1, 2, 3, 4]
    assert [verdict.reason for verdict in verdicts] == [None, None, "bad", None]


def test_a_filter_that_comes_to_no_row_shows_none():
    signs: list[str] = []
    with reported_to(lambda what, at_once: signs.append(what)):
        judge_all(lambda batch: [Verdict(None)] * len(batch), ROWS)
    assert signs == []

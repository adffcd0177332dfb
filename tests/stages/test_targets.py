"""Which sentences of a passage a row may be about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.targets import MAX_CHARS, MIN_CHARS, choose_target

LEASE = "The tenant shall return the keys on the last day of the lease at noon."
RENT = "A tenant who pays the rent late owes interest of two per cent a month."
LEANING = "It shall also apply to every contract that was made before the first of May."


def targets(passage: str, language: str = "en", min_before: int = 0) -> set[str]:
    chosen = [choose_target(passage, language, draw, min_before) for draw in range(12)]
    return {target.sentence for target in chosen if target is not None}


def test_each_sentence_that_stands_alone_may_be_drawn() -> None:
    assert targets(f"{LEASE} {LEANING} {RENT}") == {LEASE, RENT}


def test_a_target_knows_its_beginning_and_what_comes_before_it() -> None:
    target = choose_target(f"{LEANING} {RENT}", "en", 0)
    assert target is not None
    assert (target.sentence, target.before) == (RENT, LEANING)
    assert RENT.startswith(target.head + " ")
    assert 4 <= len(target.head.split()) < len(RENT.split())


@pytest.mark.parametrize(
    "passage",
    [
        "",
        "Too short.",
        LEANING,
        "However, the tenant shall return the keys on the last day of the lease at noon.",
        "In addition to the rent the tenant pays for water, heating and the lift each month.",
        "the tenant shall return the keys on the last day of the lease at noon, and the rent.",
        "Which tenant has to return the keys on the last day of the lease at noon to the owner?",
        "The tenant (see paragraph 4 shall return the keys on the last day of the lease at noon.",
        'The tenant " shall return the keys on the last day of the lease at noon to the landlord.',
        'The <a href="x">decision</a> says that the tenant shall return the keys at noon on the last day.',
        "The tenant " + "and the landlord " * 40 + "shall return the keys.",
    ],
)
def test_what_leans_is_broken_or_is_no_statement_is_no_target(passage: str) -> None:
    assert targets(passage) == set()


@pytest.mark.parametrize("lead", ["Patient: ", "[doctor] ", "Guest family: ", "3. ", "(b) ", "- "])
def test_speakers_and_numbers_are_left_out(lead: str) -> None:
    assert targets(f"{lead}{LEASE}") == {LEASE}


def test_in_begins_a_sentence_that_stands_alone_unless_it_points_back() -> None:
    alone = "In May the court ordered the landlord to return the deposit to all of the tenants."
    assert targets(alone) == {alone}


@pytest.mark.parametrize(
    ("language", "alone", "leaning"),
    [
        (
            "zh",
            "劳动者解除劳动合同应当提前三十日以书面形式通知用人单位。",
            "其他情形应当按照本法第三十九条的规定办理有关手续。",
        ),
        (
            "es",
            "El arrendatario devolverá las llaves el último día del contrato antes de las doce.",
            "Esta regla se aplicará también a los contratos celebrados antes del primero de mayo.",
        ),
    ],
)
def test_other_languages(language: str, alone: str, leaning: str) -> None:
    assert targets(alone + leaning, language) == {alone} or targets(f"{alone} {leaning}", language) == {alone}


def test_a_next_sentence_has_text_before_it() -> None:
    assert targets(f"{LEASE} {RENT}", min_before=60) == {RENT}


@given(st.text(max_size=600), st.sampled_from(["en", "es", "zh"]), st.integers(0, 2**40))
def test_any_text_gives_a_part_of_it_or_nothing(passage: str, language: str, draw: int) -> None:
    target = choose_target(passage, language, draw)
    if target is not None:
        assert MIN_CHARS / 3 <= len(target.sentence) <= MAX_CHARS
        assert target.sentence.startswith(target.head)
        assert choose_target(passage, language, draw) == target

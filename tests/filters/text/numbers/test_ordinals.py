"""Ordinals in English and Spanish words, as numbers and as the numbers of provisions."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.grounding.citations import Citations
from filters.grounding.doses import Doses
from filters.grounding.support import Support
from filters.text.numbers.numbers import known_numbers, read_numbers
from tests.factories.candidates import candidate

# language, passage, answer
OTHER = [
    ("en", "on the fifth day", "on the seventh day"),
    ("en", "on the 5th day", "on the seventh day"),
    ("en", "the eleventh month", "the twelfth month"),
    ("en", "the thirtieth day", "the twentieth day"),
    ("en", "the twenty-third day", "the twenty-fifth day"),
    ("en", "20 days long", "the twenty-third day"),
    ("en", "the one hundred and first day", "the one hundred and fifth day"),
    ("es", "el quinto día", "el séptimo día"),
    ("es", "el decimosexto día", "el decimoquinto día"),
    ("es", "el vigésimo quinto día", "el vigésimo tercer día"),
    ("es", "la vigesimoquinta sesión", "la vigesimotercera sesión"),
    ("es", "el 5.º día", "el séptimo día"),
]
SAME = [
    *(("en", f"the {digits} day", f"the {words} day") for digits, words in (
        ("4th", "fourth"), ("12th", "twelfth"), ("21st", "twenty-first"), ("22nd", "twenty-second"),
        ("23rd", "twenty-third"), ("25th", "twenty-fifth"), ("31st", "thirty-first"), ("40th", "fortieth"),
        ("101st", "one hundred and first"), ("365th", "three hundred and sixty-fifth"),
    )),
    ("en", "the 21st century", "the twenty first century"),
    ("en", "4 July", "the Fourth of July"),
    ("en", "Henry VIII", "Henry the Eighth"),
    ("es", "el día 4", "el cuarto día"),
    ("es", "el día 23", "el vigésimo tercer día"),
    ("es", "el 24.º día", "el vigésimo cuarto día"),
    ("es", "la 13.ª sesión", "la decimotercera sesión"),
    ("es", "el 85.º aniversario", "el octogésimo quinto aniversario"),
]  # fmt: skip
# words that are everyday ones, shares, units of time, or the text's own numbering
NOT_MEANT = [
    ("en", "a pause of 30 seconds", "a thirty-second pause"),
    ("en", "20 pupils of the 5th grade", "twenty fifth graders"),
    ("en", "the tenant pays", "first of all, the tenant pays a third party"),
    ("en", "the tenant pays", "a second-degree offence; the third quarter"),
    ("en", "16.7% of the tenants", "a sixth of the tenants"),
    ("en", "The tenant pays.", "Fourth, the tenant pays; and fifth, the tenant pays."),
    ("es", "el arrendatario paga", "primero, el arrendatario paga; segundo, el tercero; en un cuarto"),
    ("es", "el 20 % de las rentas", "la quinta parte de las rentas"),
    ("es", "una pausa de 30 segundos", "una pausa de treinta segundos"),
    ("es", "decimos que no", "decimos que no"),
]

BELOW_TWENTY = """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
sixteenth seventeenth eighteenth nineteenth
"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS = "twenty hundred first second fifth décimo quinto and - one veinte mil"


def _support(language, passage, answer):
    (verdict,) = Support(names=False, min_words=50)([candidate(answer, language, passage=passage, instruction="")])
    return verdict.reason


@pytest.mark.parametrize(("language", "passage", "answer"), OTHER)
def test_another_ordinal_is_not_supported(language, passage, answer):
    assert _support(language, passage, answer) == "unsupported_number"


@pytest.mark.parametrize(("language", "passage", "answer"), [*SAME, *((a, c, b) for a, b, c in SAME)])
def test_an_ordinal_is_the_number_in_digits(language, passage, answer):
    assert _support(language, passage, answer) is None


@pytest.mark.parametrize(("language", "passage", "answer"), NOT_MEANT)
def test_everyday_words_are_no_numbers(language, passage, answer):
    assert _support(language, passage, answer) is None


@given(st.integers(1, 99), st.integers(1, 99))
def test_ordinals_are_compared_by_value(one, other):
    words = _in_words(one)
    assert known_numbers(f"the {words} day", "en") >= {Decimal(one)}
    assert _support("en", f"the {one}th day", f"the {words} day") is None
    if other != one and one > 3 and one % 10 != 2:
        assert _support("en", f"day {other}", f"the {words} day") == "unsupported_number"


@given(st.lists(st.sampled_from(WORDS.split())))
def test_any_row_of_words_is_read(words):
    text = " ".join(words).replace(" - ", "-")
    for language in ("en", "es"):
        numbers = read_numbers(text, language)
        assert all(one.end <= other.start for one, other in pairwise(numbers))


def test_an_ordinal_is_no_quantity():
    row = candidate("On the fifth day, 5 mg are given.", "en", passage="For 5 weeks, 5 mg are given.", instruction="")
    assert Doses()([row])[0].reason is None


@pytest.mark.parametrize(
    ("passage", "answer", "right"),
    [
        ("the First Amendment", "the Twenty-first Amendment", False),
        ("the Seventh Amendment", "the Twenty-Seventh Amendment", False),
        ("the 21st Amendment", "the Twenty-first Amendment", True),
        ("the Twenty-first Amendment", "the 21st Amendment", True),
        ("Amendment XXI", "the Twenty-first Amendment", True),
        ("Article 21", "Article twenty-one", True),
        ("Article twenty-one", "Article 21", True),
        ("Article 20", "Article twenty-one", False),
        ("Articles 20 and 105", "Articles twenty and one hundred and five", True),
        ("Section 100", "Section one hundred", True),
        ("artículo 31", "artículo treinta y uno", True),
        ("artículo 30", "artículo treinta y uno", False),
        ("artículo 22", "artículo veintidós", True),
        ("disposición adicional 23.ª", "disposición adicional vigesimotercera", True),
        ("disposición adicional vigésima", "disposición adicional vigésima tercera", False),
    ],
)
def test_provisions_are_compared_by_their_number(passage, answer, right):
    (verdict,) = Citations()([candidate(f"{answer} applies.", "en", passage=f"{passage} applies.", instruction="")])
    assert (verdict.reason is None) is right, verdict


def _in_words(number):
    below, tens = BELOW_TWENTY.split(), TENS.split()
    if number < 20:
        return below[number - 1]
    ten, unit = divmod(number, 10)
    return f"{tens[ten - 2]}-{below[unit - 1]}" if unit else f"{tens[ten - 2][:-1]}ieth"

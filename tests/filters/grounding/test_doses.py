"""Doses and measures: read in three languages, converted, and compared with the passage."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.grounding.doses import Doses
from filters.text.numbers.quantities import read_quantities
from tests.factories.candidates import candidate

PASSAGE = (
    "Adults take 1 g of paracetamol, children 15 mg/kg every six hours; of levothyroxine 50 mcg daily, of insulin"
    " 10 units. The pressure was 120/80 mmHg, the temperature 98.6 °F, sodium 140 mmol/L, glucose 90 mg/dL, and 25% of"
    " 40 patients improved; a catheter of 5 mm was in for 12 to 14 days. The volume was 1,500 mL."
)
CHINESE = "成人每次口服0.5克，每日3次；儿童每次25微克。体温37摄氏度，血压120毫米汞柱。"
SPANISH = "La dosis es de 1,5 g al día, con un máximo de 2.000 UI de vitamina D y 250 microgramos de ácido fólico."

ROWS = [
    (PASSAGE, "Adults take 1 g.", None),
    (PASSAGE, "Adults take 1000 mg.", None),
    (PASSAGE, "Adults take one thousand: 1,000 milligrams.", None),
    (PASSAGE, "Adults take 1 mg.", "wrong_unit"),
    (PASSAGE, "Children take 15 mg per kg.", None),
    (PASSAGE, "Children take 15 mg.", "wrong_unit"),
    (PASSAGE, "Children take 0.015 g/kg.", None),
    (PASSAGE, "Levothyroxine is given as 50 µg/day.", None),
    (PASSAGE, "Levothyroxine is given as 0.05 mg.", None),
    (PASSAGE, "Levothyroxine is given as 50 mg.", "wrong_unit"),
    (PASSAGE, "Ten units (10 IU) of insulin are given.", None),
    (PASSAGE, "10 mL of insulin are given.", "wrong_unit"),
    (PASSAGE, "The pressure was 80 mmHg and the temperature 37 °C.", None),
    (PASSAGE, "The pressure was 16 kPa.", None),
    (PASSAGE, "The temperature was 98.6 °C.", "wrong_unit"),
    (PASSAGE, "Sodium was 140 mg/dL.", "wrong_unit"),
    (PASSAGE, "Glucose was 0.9 g/L.", None),
    (PASSAGE, "25 percent improved, 40% did not.", None),
    (PASSAGE, "The catheter of 0.5 cm was in for 14 days.", None),
    (PASSAGE, "The volume was 1.5 L.", None),
    (PASSAGE, "A dose of 90000 g is given.", "implausible_dose"),
    (PASSAGE, "A pressure of 1200 mmHg was found.", "implausible_dose"),
    (PASSAGE, "A dose of 1.2.3 mg is given.", "malformed_dose"),
    (PASSAGE, "A dose of [X] mg is given.", "malformed_dose"),
    (PASSAGE, "A dose of ___ mg is given.", "malformed_dose"),
    (PASSAGE, "A dose of 5 mg mg is given.", "malformed_dose"),
    (PASSAGE, "The dose is 5 mg/.", "malformed_dose"),
    (PASSAGE, "A 22 G needle and vertebra L5 were seen in 3 U.S. courts.", None),
    (CHINESE, "成人每次500毫克。", None),
    (CHINESE, "成人每次0.5毫克。", "wrong_unit"),
    (CHINESE, "儿童每次25 μg，体温37℃。", None),
    (CHINESE, "儿童每次25毫克。", "wrong_unit"),
    (CHINESE, "血压120 mmHg。", None),
    (CHINESE, "成人每次__毫克。", "malformed_dose"),
    (SPANISH, "Se toman 1500 mg por día.", None),
    (SPANISH, "Se toman 1,5 mg.", "wrong_unit"),
    (SPANISH, "Como máximo 2000 unidades de vitamina D y 0,25 mg de ácido fólico.", None),
    (PASSAGE, "Children are given it every six hours for 12 to 14 weeks.", "wrong_unit"),
    (PASSAGE, "The catheter was in for two weeks.", None),
    (PASSAGE, "Adults take 100 g.", "wrong_decimal"),
    (PASSAGE, "Levothyroxine is given as 0.5 mg.", "wrong_decimal"),
    (PASSAGE, "Levothyroxine is given as 0.05 mg, that is 50 micrograms.", None),
    (CHINESE, "成人每次5克。", "wrong_decimal"),
    (CHINESE, "成人每次零点五克。", None),
    (SPANISH, "Se toman 15 g al día.", "wrong_decimal"),
    (SPANISH, "Se toman 2 UI de vitamina D.", "wrong_decimal"),
    (SPANISH, "Se dan 250 mg de ácido fólico.", "wrong_unit"),
]


@pytest.mark.parametrize(("passage", "answer", "reason"), ROWS, ids=lambda value: str(value)[:40])
def test_reason(passage, answer, reason):
    language = {CHINESE: "zh", SPANISH: "es"}.get(passage, "en")
    assert Doses()([candidate(answer, language, passage=passage)])[0].reason == reason


RATIOS = [
    ("12 mg/5 mL", "2.4 mg/mL", None),
    ("2.4 mg/mL", "12 mg/5 mL", None),
    ("12 mg/5 mL", "24 mg per 10 mL", None),
    ("12 mg per 5 mL", "0.012 g/5 mL", None),
    ("12 mg por cada 5 ml", "2,4 mg/ml", None),
    ("2.4 mg/mL, in bottles of 50 mL", "12 mg per 5 mL", None),
    ("10 mg/2 h", "5 mg/h", None),
    ("12 mg/5 mL", "12 mg", None),
    ("12 mg in each 5 mL", "12 mg/5 mL", None),
    ("1 g/24 h", "1 g", None),
    ("12 mg/5 mL", "12 mg/mL", "wrong_unit"),
    ("12 mg/5 mL", "12 mg/10 mL", "wrong_unit"),
    ("12 mg/5 mL", "12 mcg/5 mL", "wrong_unit"),
    ("12 mg/mL", "12 mg/5 mL", "wrong_unit"),
    ("800 mg/160 mg", "800 mg/160 mg", None),
    ("800 mg/160 mg", "80 mg/160 mg", "wrong_decimal"),  # two doses: 5 to 1 is not what counts
]


@pytest.mark.parametrize(("known", "claimed", "reason"), RATIOS)
def test_a_ratio_is_compared_as_a_whole(known, claimed, reason):
    language = "es" if "cada" in known else "en"
    row = candidate(f"Se dan {claimed}.", language, passage=f"La suspensión: {known}.")
    assert Doses()([row])[0].reason == reason


def test_plausible_is_not_asked():
    assert Doses(plausible=False)([candidate("A dose of 90000 g is given.", passage=PASSAGE)])[0].reason is None


PAIRS = [("mg", "g", 1000), ("mcg", "mg", 1000), ("mL", "L", 1000), ("mm", "cm", 10), ("mg/L", "g/L", 1000)]


@given(st.integers(1, 9999), st.sampled_from(PAIRS))
@settings(max_examples=100, deadline=None)
def test_a_quantity_and_its_conversion_are_one_and_with_the_unit_changed_another(number, pair):
    small, large, factor = pair
    passage = f"The patient was given {number * factor} {small} of it."
    assert Doses()([candidate(f"It was {number} {large}.", passage=passage)])[0].reason is None
    changed = Doses(plausible=False)([candidate(f"It was {number * factor} {large}.", passage=passage)])
    assert changed[0].reason == "wrong_unit"


def test_a_number_that_overflows_is_like_itself_alone():
    assert Doses()([candidate("It was 1e310% of it.", passage="It was 1e310% of it.")])[0].reason is None
    [huge], [small] = (read_quantities(text, "en")[0] for text in ("1e310 mg", "5 mg"))
    assert not huge.equals(small)


@given(st.text(st.sampled_from("0123456789 .,-/%mgLµ°C毫克万one"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_bears_itself_out(text):
    assert Doses()([candidate(text, passage=text)])[0].reason is None


@pytest.mark.parametrize(
    ("text", "language", "amounts"),
    [
        ("1,000 mg", "en", {1000.0}),
        ("1.000 mg", "en", {1.0}),
        ("1.000 mg", "es", {1000.0}),
        ("1,000 mg", "es", {1.0, 1000.0}),
        ("1,000 mg", "fr", {1.0, 1000.0}),
        ("0,125 mg", "es", {0.125}),
        ("1 000 mg", "es", {1000.0}),
        ("1.000.000 UI", "es", {1e6}),
        ("5 million units", "en", {5e6}),
        ("500万单位", "zh", {5e6}),
        ("五毫克", "zh", {5.0}),
        ("2½ mg", "en", {2.5}),
        ("1,234.5 mg", "en", {1234.5}),
        ("1.234,5 mg", "es", {1234.5}),
        ("five milligrams", "en", {5.0}),
    ],
)
def test_numbers(text, language, amounts):
    (quantity,), _, _ = read_quantities(text, language)
    assert set(quantity.amounts) == amounts


def test_ranges_are_two_quantities():
    found, malformed, bare = read_quantities("5–10 mg in 3 doses", "en")
    assert [(each.values, each.unit) for each in found] == [((5.0,), "mg"), ((10.0,), "mg")]
    assert (malformed, bare) == ([], {3.0})

"""Numbers are read by their value, however they are written."""

from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.grounding.doses import Doses
from filters.grounding.support import Support
from filters.text.numbers.numbers import known_numbers, read_numbers
from filters.text.plain import plain
from tests.factories.candidates import candidate

VALUES = [
    # decimal points and commas
    ("en", "0.125", {0.125}),
    ("en", "2,5", {2.5}),
    ("en", ".5 mg", {0.5}),
    ("es", "2,5", {2.5}),
    ("es", "0,125", {0.125}),
    ("zh", "0.5毫克", {0.5}),
    ("zh", "１．５克", {1.5}),
    # thousands
    ("en", "1,200", {1200}),
    ("en", "1.200", {1.2}),
    ("zh", "1,200元", {1200}),
    ("es", "1.200", {1200}),
    ("es", "1,200", {1200, 1.2}),
    ("es", "2,5 y 1,200", {2.5, 1.2}),  # the text writes decimals with a comma
    ("fr", "1.200", {1200, 1.2}),
    ("en", "1 000 000", {1_000_000}),
    ("en", "1\u202f200", {1200}),
    ("en", "1'200", {1200}),
    ("en", "10,50,000", {1_050_000}),
    ("en", "1,234,567.89", {Decimal("1234567.89")}),
    ("es", "1.234.567,89", {Decimal("1234567.89")}),
    ("zh", "１，２００元", {1200}),
    # fractions
    ("en", "2½", {2.5}),
    ("en", "½", {0.5}),
    ("en", "¾", {0.75}),
    ("en", "2 1/2", {2.5, 2, 1}),
    ("en", "120/80", {120, 80}),
    ("en", "two and a half", {2.5}),
    ("es", "dos y media", {2.5}),
    ("zh", "两年半", {2.5}),
    ("zh", "三又二分之一", {3, 0.5}),
    ("en", "three quarters", {0.75}),
    ("zh", "四分之三", {0.75}),
    # raised numbers
    ("en", "Article 5²", {5}),
    ("en", "end.¹²", set()),
    ("en", "10⁹", {10**9}),
    ("en", "1.5 × 10⁹/L", {1_500_000_000}),
    ("en", "1.5x10^9", {1_500_000_000}),
    ("en", "2 × 10⁻³", {Decimal("0.002")}),
    ("en", "1.5e-3", {Decimal("0.0015")}),
    ("en", "12 × 109/L", {12 * 10**9}),
    ("en", "3 x 100 mg", {3, 100}),
    # money
    ("en", "$5M", {5_000_000}),
    ("en", "US$ 2.5B", {2_500_000_000}),
    ("en", "£10k", {10_000}),
    ("en", "USD 1,500K", {1_500_000}),
    ("en", "$5M to $7m", {5_000_000, 7_000_000}),
    ("en", "5MM dollars", {5_000_000}),
    ("es", "3,2 M€", {3_200_000}),
    ("es", "5 M de euros", {5_000_000}),
    ("zh", "$5M", {5_000_000}),
    ("en", "$5 meals", {5}),
    ("en", "5 m of rope for $3", {5, 3}),
    ("en", "5M NaCl", {5}),
    ("en", "a 10k run", {10}),
    # multiples
    ("en", "1.5 million", {1_500_000}),
    ("en", "2-billion", {2_000_000_000}),
    ("es", "3 mil millones", {3_000_000_000}),
    ("es", "15 mil", {15_000}),
    ("zh", "3.5亿", {350_000_000}),
    ("zh", "500万", {5_000_000}),
    ("zh", "5千克", {5}),
    # words
    ("en", "twenty-five", {25}),
    ("en", "two hundred and thirty", {230}),
    ("en", "two and three", {2, 3}),
    ("en", "nineteen", {19}),
    ("en", "six thousand one hundred", {6100}),
    ("es", "treinta y uno", {31}),
    ("es", "veintidós", {22}),
    ("es", "dos mil veinticuatro", {2024}),
    ("es", "quinientas", {500}),
    ("es", "vigésimo", {20}),
    ("en", "Title XIV", {14}),
    # Chinese
    ("zh", "二百三十", {230}),
    ("zh", "二〇二四", {2024}),
    ("zh", "一万五千", {15_000}),
    ("zh", "一亿二千万", {120_000_000}),
    ("zh", "零点五", {0.5}),
    ("zh", "第一百二十条", {120}),
    ("zh", "37，38", {37, 38}),
    ("zh", "1亿5000万", {150_000_000}),
    ("zh", "2万3000元", {23_000}),
    ("zh", "3万 5元", {30_000, 5}),
    ("zh", "廿一日", {21}),
    ("zh", "卅", {30}),
    ("zh", "三两", {3}),
    ("zh", "一两天", {1}),
    ("zh", "两千两百", {2200}),
    ("zh", "八成", {80, 0.8}),
    ("zh", "三成员", {3}),
    ("zh", "8.5折", {85, 0.85}),
    ("zh", "八五折", {85, 0.85}),
    ("zh", "3折叠", {3}),
    ("es", "1 millón 200 mil", {1_200_000}),
    ("en", "3 million 5 people", {3_000_000, 5}),
    # shares and halves
    ("en", "1 in 5", {1, 5, 0.2, 20}),
    ("es", "2 de cada 3", {2, 3, 2 / Decimal(3), 0.67, 0.667, 66.7, 67}),
    ("zh", "每5人中有1人", {1, 5, 0.2, 20}),
    ("en", "5 in 2 cases", {5, 2}),
    ("en", "two tablets and a half", {2.5}),
    ("es", "hora y media", {1.5}),
    ("es", "dos comprimidos y medio", {2.5}),
    ("zh", "一个半小时", {1.5}),
    ("zh", "每天半片", {0.5}),
    # ranges and signs
    ("en", "5-10", {5, 10}),
    ("en", "$5-10M", {5_000_000, 5, 10_000_000}),
    ("en", "€1.5–2bn", {1_500_000_000, 1.5, 2_000_000_000}),
    ("en", "5 to 10k USD", {5000, 5, 10_000}),
    ("en", "between 5 and 10 million", {5_000_000, 5, 10_000_000}),
    ("en", "three to five million", {3_000_000, 3, 5_000_000}),
    ("en", "$5M to $10M", {5_000_000, 10_000_000}),
    ("en", "two hundred to 3 thousand", {200, 3000}),
    ("en", "5-10 m", {5, 10}),
    ("en", "pages 5-10, 3 million", {5, 10, 3_000_000}),
    ("en", "±5 °C", {5, -5}),
    ("en", "+/-5 °C", {5, -5}),
    ("en", "+/- 5 °C", {5, -5}),
    ("en", "37 ∓ 0.5", {37, 0.5, -0.5}),
    ("en", "5 -/+ 2 mg", {5, 2, -2}),
    ("zh", "误差±5毫克", {5, -5}),
    ("en", "5/-3", {5, -3}),
    ("en", "a third", {3, 1 / Decimal(3), 0.33, 0.333}),
    ("es", "de 3 a 5 millones", {3_000_000, 3, 5_000_000}),
    ("zh", "5到10万元", {50_000, 5, 100_000}),
    ("zh", "三到五万人", {30_000, 3, 50_000}),
    ("en", "5–10", {5, 10}),
    ("en", "from −5 to -10", {-5, -10}),
    ("en", "COVID-19", {19}),
    ("en", "2024-05-06", {2024, 5, 6}),
    # shares
    ("en", "25%", {25, 0.25}),
    ("en", "25 percent", {25, 0.25}),
    ("es", "25 por ciento", {25, 0.25}),
    ("zh", "百分之二十五", {25, 0.25}),
    # references
    ("es", "artículo 5.1", {Decimal("5.1"), 5, 1}),
    ("en", "Articles 2,5", {2.5, 2, 5}),
]


@pytest.mark.parametrize(("language", "text", "values"), VALUES)
def test_values(language, text, values):
    assert known_numbers(text, language) == {Decimal(str(value)) for value in values}


# language, passage, answer
SAME = [
    # times of day
    ("en", "at 14:30", "at 2:30 pm"),
    ("en", "at 2:30 pm", "at 14:30"),
    ("en", "at 2:30", "at 2:30 pm"),
    ("en", "at 08:00", "at 8 a.m."),
    ("en", "at 8 a.m.", "at 08:00"),
    ("en", "at 8 pm", "at 8"),
    ("en", "from 8 to 10 a.m.", "at 8 a.m."),
    ("en", "open 9am-5pm", "open from 09:00 to 17:00"),
    ("en", "at 12:30 am", "at 00:30"),
    ("en", "at noon", "at 12 pm"),
    ("en", "at midnight", "at 00:00"),
    ("en", "2 tablets in the morning", "2 in the morning"),
    ("en", "diluted 1:10", "diluted 1 to 10"),
    ("es", "a las 14:30", "a las 2:30 de la tarde"),
    ("es", "a las 14.30 h", "a las 2:30 p. m."),
    ("es", "a las 11 de la noche", "a las 23:00"),
    ("es", "a las 3 de la madrugada", "a las 03:00"),
    ("zh", "下午2点30分", "14:30"),
    ("zh", "14时30分", "下午两点半"),
    ("zh", "晚上8点", "20:00"),
    ("zh", "中午12点", "12:00"),
    # several words, one number
    ("zh", "1亿5000万", "1.5亿"),
    ("zh", "23000元", "2万3千元"),
    ("es", "1.200.000 euros", "1 millón 200 mil euros"),
    # shares
    ("en", "1 in 5", "20%"),
    ("en", "20%", "one in five"),
    ("en", "1 in 3", "33 percent"),
    ("en", "2 in 3", "66.7%"),
    ("en", "5 out of every 20", "25%"),
    ("es", "uno de cada cinco", "20 %"),
    ("zh", "每五名患者中就有一名", "20%"),
    ("zh", "八成", "80%"),
    ("zh", "80%", "8折"),
    # halves
    ("en", "0.5 tablets", "half a tablet"),
    ("en", "30 minutes", "half an hour"),
    ("en", "an hour and a half", "90 minutes"),
    ("es", "hora y media", "90 minutos"),
    ("es", "90 minutos", "una hora y media"),
    ("es", "año y medio", "18 meses"),
    ("es", "0,5 comprimidos", "medio comprimido"),
    ("zh", "0.5片", "半片"),
    ("zh", "一年半", "18个月"),
    ("zh", "收入1元", "上半年收入一元"),
    # old weights
    ("zh", "1斤", "500克"),
    ("zh", "50克", "一两"),
    ("zh", "半斤", "250克"),
]
OTHER = [
    ("en", "at 14:30", "at 2:30 am"),
    ("en", "at 2:30 pm", "at 02:30"),
    ("en", "at 8 a.m.", "at 20:00"),
    ("en", "at 8 a.m.", "at 8 p.m."),
    ("es", "a las 2:30 de la tarde", "a las 2:30 de la madrugada"),
    ("zh", "下午2点30分", "上午2点30分"),
    ("zh", "1亿5000万", "1亿"),
    ("zh", "1亿5000万", "5000万"),
    ("zh", "廿日", "30日"),
    ("en", "1 in 5", "1 in 4"),
    ("en", "1 in 5", "25%"),
    ("zh", "六成", "八成"),
    ("zh", "八成", "六成"),
    ("zh", "8折", "20%"),
    ("en", "one tablet", "half a tablet"),
    ("en", "two hours", "two hours and a half"),
    ("en", "one hour", "half an hour"),
    ("es", "un comprimido", "medio comprimido"),
    ("es", "dos comprimidos y medio", "medio comprimido"),
    ("es", "hora y media", "60 minutos"),
    ("zh", "一片", "半片"),
    ("zh", "半片", "两片半"),
    ("zh", "1斤", "1公斤"),
    ("zh", "3两", "300克"),
]


def _reasons(language, passage, answer):
    row = candidate(answer, language, passage=passage, instruction="")
    return {judge([row])[0].reason for judge in (Support(names=False, min_words=50), Doses())} - {None}


@pytest.mark.parametrize(("language", "passage", "answer"), SAME)
def test_one_number_in_two_spellings_is_borne_out(language, passage, answer):
    assert not _reasons(language, passage, answer)


@pytest.mark.parametrize(("language", "passage", "answer"), OTHER)
def test_another_number_is_not_borne_out(language, passage, answer):
    assert _reasons(language, passage, answer)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2½ mg", "2 1⁄2 mg"),
        ("Article 5²", "Article 5^2"),
        ("kg/m² and 5 cm³", "kg/m2 and 5 cm3"),
        ("the rule¹ of 10⁻⁹", "the rule^1 of 10^−9".replace("−", "-")),
        ("5，10", "5, 10"),
        ("１，０００", "1,000"),
        ("①通知", "(1)通知"),
        ("−5 ℃, 10\u202f000", "-5 °C, 10'000"),
        ("CO₂ ﬁnal", "CO2 final"),
    ],
)
def test_plain_keeps_the_value_of_numbers(text, normal):
    assert plain(text) == normal


@given(st.integers(0, 10**12))
@settings(max_examples=100, deadline=None)
def test_separators_do_not_change_a_number(number):
    for language, mark in (("en", ","), ("es", "."), ("zh", ","), ("en", "\u202f")):
        assert known_numbers(f"{number:,}".replace(",", mark), language) >= {Decimal(number)}
        assert known_numbers(str(number), language) == {Decimal(number)}


@given(
    st.text(
        st.sampled_from(
            "0123456789.,:½²⁻/ -–x×^e%一二两廿百千万亿点时分之半成折下午每中and in pm twohundred mil y media hora"
        ),
        max_size=60,
    )
)
@settings(max_examples=200, deadline=None)
@example("120/80成")
@example("1/0折")
def test_any_text_is_read(text):
    normal = plain(text)
    for language in ("en", "es", "zh"):
        numbers = read_numbers(text, language)
        assert all(0 <= number.start < number.end <= len(normal) for number in numbers)
        assert all(number.is_in(known_numbers(text, language)) for number in numbers)

"""Numbers are read by their value, however they are written."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.text.numbers import known_numbers, read_numbers
from filters.text.plain import plain

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


@pytest.mark.parametrize(("language", "text", "values"), VALUES, ids=lambda value: str(value)[:30])
def test_values(language, text, values):
    assert known_numbers(text, language) == {Decimal(str(value)) for value in values}


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


@given(st.text(st.sampled_from("0123456789.,½²⁻/ -–x×^e%一二百千万亿点分之半and twohundred mil"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read(text):
    normal = plain(text)
    for language in ("en", "es", "zh"):
        numbers = read_numbers(text, language)
        assert all(0 <= number.start < number.end <= len(normal) for number in numbers)
        assert all(number.is_in(known_numbers(text, language)) for number in numbers)

"""Numbers that are counted in dozens, and halves of Chinese periods."""

import pytest

from filters.grounding.support import Support
from tests.factories.candidates import candidate

SAME = [
    ("en", "A dozen members resigned.", "Twelve members resigned."),
    ("en", "Half a dozen members resigned.", "Six members resigned."),
    ("en", "Two dozen members resigned.", "24 members resigned."),
    ("en", "Dozens of members resigned.", "Dozens of members resigned."),
    ("es", "Una docena de socios.", "12 socios."),
    ("es", "Media docena de socios.", "Seis socios."),
    ("es", "Tres docenas de socios.", "36 socios."),
    ("zh", "两个半小时。", "150分钟。"),
    ("zh", "三个半月。", "3.5个月。"),
    ("zh", "共有三个半圆。", "共有3个半圆。"),
]
OTHER = [
    ("en", "24 members resigned.", "Three dozen members resigned."),
    ("en", "Twelve members resigned.", "Two dozen members resigned."),
    ("es", "12 socios.", "Tres docenas de socios."),
    ("zh", "150分钟。", "三个半小时。"),
    ("zh", "期限为六个月。", "期限为三个半月。"),
]


def _reason(language, passage, answer):
    (verdict,) = Support(names=False, min_words=50)([candidate(answer, language, passage=passage, instruction="")])
    return verdict.reason


@pytest.mark.parametrize(("language", "passage", "answer"), SAME)
def test_the_same_number_is_kept(language, passage, answer):
    assert _reason(language, passage, answer) is None
    assert _reason(language, answer, passage) is None


@pytest.mark.parametrize(("language", "passage", "answer"), OTHER)
def test_another_number_is_refused(language, passage, answer):
    assert _reason(language, passage, answer) == "unsupported_number"

"""Changes by a share or a factor: in the passage's direction they are kept, in the other one they are refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.grounding.support import Support
from filters.text.numbers.changes import reversed_change
from tests.factories.candidates import candidate

REVERSED = [
    ("en", "The dose was doubled.", "The dose was halved."),
    ("en", "The dose was halved.", "The dose was doubled."),
    ("en", "The risk tripled.", "There was a threefold decrease in risk."),
    ("en", "There was a two-fold reduction in risk.", "There was a two-fold increase in risk."),
    ("en", "The fee was reduced by half.", "The fee was increased by half."),
    ("en", "Fees rose by a third.", "Fees fell by a third."),
    ("en", "Costs increased by 20%.", "Costs decreased by 20%."),
    ("en", "a 20% increase in costs", "a 20 % reduction in costs"),
    ("en", "The dose was raised from 5 mg to 10 mg.", "The dose was halved."),
    ("en", "The dose fell from 10 mg to 5 mg.", "The dose was doubled."),
    ("en", "Revenue was cut in half.", "Revenue doubled."),
    ("en", "The fee fell by one quarter.", "The fee rose by one quarter."),
    ("en", "The rate was reduced to a third.", "The rate tripled."),
    ("en", "Damages may be quadrupled.", "Damages may be cut to a quarter of that."),
    ("es", "La cantidad se duplicó.", "La cantidad se redujo a la mitad."),
    ("es", "La pena se redujo a la mitad.", "La pena se duplicó."),
    ("es", "El precio aumentó un 20 %.", "El precio disminuyó un 20 %."),
    ("es", "una reducción del 30 % de la pena", "un aumento del 30 % de la pena"),
    ("es", "La renta sube un tercio.", "La renta baja un tercio."),
    ("es", "El riesgo aumentó en un tercio.", "El riesgo se redujo en un tercio."),
    ("zh", "剂量减半。", "剂量翻倍。"),
    ("zh", "剂量加倍。", "剂量减半。"),
    ("zh", "风险增加一倍。", "风险减少一半。"),
    ("zh", "价格上涨20%。", "价格下降20%。"),
    ("zh", "罚款降低三分之一。", "罚款提高三分之一。"),
    ("zh", "数量增加了百分之二十。", "数量减少了百分之二十。"),
]
OTHER_SHARE = [
    ("en", "One third of the members improved.", "One quarter improved."),
    ("en", "The risk rose by a third.", "One half had a higher risk."),
]
SAME = [
    ("en", "The dose was doubled; later it was halved.", "The dose was halved."),
    ("en", "Costs fell by 20%; 20% of the staff left.", "Sales rose by 20%."),
    ("en", "A is twice as large as B.", "B is half as large as A."),
    ("en", "Fees rose from 5 to 10 euros.", "Fees doubled."),
    ("en", "It fell from 10 to 5.", "It was halved."),
    ("en", "The dose was doubled.", "The dose was increased by 100%."),
    ("en", "Costs were lowered by 20 %", "There was a 20 % decrease in costs"),
    ("en", "Costs were reduced by half.", "Costs were halved."),
    ("en", "Costs were halved.", "Costs fell to half of what they were."),
    ("en", "The raised lower limit was cut by 20%.", "The limit fell by 20%."),
    ("en", "The risk fell by a third", "the risk decreased by one third"),
    ("es", "La pena se reduce a la mitad.", "La pena se rebaja en un 50 %."),
    ("es", "subió un 20 %", "un aumento del 20 %"),
    ("es", "El doble de la pena se reduce a la mitad.", "La pena se duplicó y se redujo a la mitad."),
    ("zh", "剂量减半。", "剂量减少50%。"),
    ("zh", "增加一倍", "翻倍"),
    ("zh", "降低到三分之一", "降至三分之一"),
    ("zh", "上涨20%", "增长百分之二十"),
    ("en", "The benefit doubled and the mortality was halved.", "Mortality halved, benefit doubled."),
    ("en", "One quarter of the shares were sold.", "One quarter were sold."),
    ("en", "A third of the rent is due for one quarter.", "For one quarter a third of the rent is due."),
    ("en", "A third of the fee goes to one third party.", "One third party gets a third of the fee."),
    ("en", "A two-fold rise in risk.", "A twofold rise in risk."),
]


def _reason(language, passage, answer):
    (verdict,) = Support(names=False, min_words=50)([candidate(answer, language, passage=passage, instruction="")])
    return verdict.reason


@pytest.mark.parametrize(("language", "passage", "answer"), REVERSED)
def test_a_change_in_the_other_direction_is_refused(language, passage, answer):
    assert _reason(language, passage, answer) == "unsupported_number"
    assert _reason(language, answer, passage) == "unsupported_number"


@pytest.mark.parametrize(("language", "passage", "answer"), OTHER_SHARE)
def test_one_quarter_alone_is_a_share(language, passage, answer):
    assert _reason(language, passage, answer) == "unsupported_number"


@pytest.mark.parametrize(("language", "passage", "answer"), SAME)
def test_a_change_in_the_same_direction_is_kept(language, passage, answer):
    assert _reason(language, passage, answer) is None


@pytest.mark.parametrize(("language", "passage", "answer"), REVERSED + SAME)
def test_a_text_supports_itself(language, passage, answer):
    assert _reason(language, passage, passage) is None
    assert _reason(language, answer, answer) is None


_WORDS = st.sampled_from(
    "from to by doubled halved 0-fold decrease fell rose % times half 0 0.01 de a aumentó 从 到 减少 倍".split()  # noqa: SIM905
)


@given(
    st.lists(st.one_of(_WORDS, st.integers(0, 10**60).map(str), st.floats(0, 1e30).map(str)), max_size=12),
    st.sampled_from(["en", "es", "zh"]),
)
@example(["from", "1", "to", "1" + "0" * 40], "en")
@example(["a 0-fold decrease"], "en")
@settings(deadline=None)
def test_any_numbers_are_compared(words, language):
    text = " ".join(words)
    assert reversed_change(text, [text], language) is None
    reversed_change("It doubled by 20 %, from 1 to 2.", [text], language)

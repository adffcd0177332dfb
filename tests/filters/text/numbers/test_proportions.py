"""Proportions in words: another one than the passage gives is refused, the same one in other words is kept."""

import pytest

from filters.grounding.support import Support
from filters.text.numbers.proportions import read_factors, read_shares
from tests.factories.candidates import candidate

SAME = [
    ("en", "The amount doubled.", "The amount rose twofold."),
    ("en", "The amount doubled.", "There was a 2-fold increase."),
    ("en", "There was a threefold increase.", "The risk tripled."),
    ("en", "The penalty is twice the rent.", "The penalty is double the rent."),
    ("en", "25% of patients improved.", "A quarter of the patients improved."),
    ("en", "The dose was halved.", "The dose was cut by half."),
    ("en", "Half of the patients improved.", "50% of the patients improved."),
    ("en", "The dose was raised from 5 mg to 10 mg, three times the usual one.", "The dose was doubled."),
    ("en", "A double-blind trial; the risk tripled.", "In the double-blind trial the risk tripled."),
    ("en", "A is twice as large as B; 25% of B is lost.", "B is half the size of A."),
    ("en", "The notice ends in the third quarter. A fifth of the rent is due.", "The third quarter ends the notice."),
    (
        "en",
        "He is married; 20 % of the estate goes to his half-brother.",
        "A half-brother receives 20 % of the estate.",
    ),
    ("en", "Give 5 mg three times a day; from day 3, 10 mg.", "The dose is doubled on day 3."),
    ("en", "Costs increased by 100%; 3 times more people came.", "Costs doubled."),
    ("en", "A third of the claims failed.", "One third of the claims failed."),
    ("en", "The fee is a tenth of the price.", "The fee is 10% of the price."),
    ("en", "The patient had double vision. The risk tripled.", "The patient reported double vision."),
    ("es", "La cantidad se duplicó.", "La cantidad es el doble."),
    ("es", "La cantidad es el doble de la anterior.", "La cantidad es dos veces la anterior."),
    ("es", "La cuarta parte de los pacientes mejoró.", "El 25 % de los pacientes mejoró."),
    ("es", "El 25 % de los pacientes mejoró.", "Una cuarta parte de los pacientes mejoró."),
    ("es", "Dos terceras partes de los votos bastan.", "Dos tercios de los votos bastan."),
    ("es", "La mitad de los pacientes mejoró.", "El 50 % de los pacientes mejoró."),
    ("es", "Un ensayo doble ciego; el riesgo se triplicó.", "En el ensayo doble ciego el riesgo se triplicó."),
    ("es", "El riesgo es el triple.", "El riesgo se multiplicó por tres."),
    ("es", "El capítulo tercero y la parte cuarta; el 20 % del precio.", "La parte cuarta regula el 20 % del precio."),
    ("es", "En la segunda mitad de 2020 el 30 % mejoró.", "El 30 % mejoró en la segunda mitad de 2020."),
    ("es", "La disposición tercera, parte segunda, fija un tercio de la multa.", "Se fija un tercio de la multa."),
    ("zh", "风险翻倍。", "风险增至两倍。"),
    ("zh", "数量增加了一倍。", "数量翻了一番。"),
    ("zh", "数量增加了两倍。", "数量是原来的三倍。"),
    ("zh", "一半的患者好转。", "50%的患者好转。"),
    ("zh", "50%的患者好转。", "一半的患者好转。"),
    ("zh", "剂量减半。", "剂量减少一半。"),
    ("zh", "半数以上代表同意。", "一半以上代表同意。"),
    ("zh", "加倍支付迟延履行期间的债务利息。", "利息加倍支付。"),
    ("zh", "上半年增长20%。", "上半年增长了20%。"),
    ("zh", "过半数的代表同意，三分之一出席。", "过半数的代表同意。"),
    ("zh", "他年过半百，20%的财产归其子。", "其子得到20%的财产。"),
    ("en", "The court twice refused; damages rose from 5 to 15 million.", "Damages tripled."),
    ("en", "The tenant failed twice to pay. The rent was doubled.", "The tenant twice failed to pay."),
    ("en", "The number of cases increased from 20 to 40 and costs tripled.", "The number of cases doubled."),
    ("en", "He paid 20 % in the first half of the year.", "In the first half of the year he paid 20 %."),
    ("en", "The first half of the book covers 20% of the law.", "Half of a book is no evidence."),
    ("en", "One in two patients improved.", "Half of the patients improved."),
    ("en", "12 of the 24 patients (50 %) improved.", "Half of all patients improved."),
    ("en", "Two-thirds of the members must vote.", "Two thirds of all members must vote."),
    ("en", "The dose is 10 mg; take it twice daily. Children: half the dose.", "Children take half the dose."),
    ("en", "A dose of 10 mg; children 5 mg.", "Children take half the dose."),
    ("en", "The risk is three times higher.", "The risk tripled."),
    ("en", "The fee was increased by 100 % after costs tripled.", "The fee doubled."),
    ("en", "The patient was doubled over in pain; the dose tripled.", "He doubled over in pain."),
    (
        "en",
        "A third of the rent is due; the remaining two thirds later.",
        "The remaining two-thirds of the rent is due later.",
    ),
    ("es", "El importe pasó de 100 a 200 euros; el riesgo se triplicó.", "El importe se duplicó."),
    ("es", "Se presentará por duplicado; la multa es el triple del precio.", "La solicitud se presenta por duplicado."),
    (
        "es",
        "El doble grado de jurisdicción; la multa es el triple del precio.",
        "Existe el doble grado de jurisdicción.",
    ),
    ("es", "La multa será tres veces el precio.", "La multa será el triple del precio."),
    ("es", "Uno de cada dos pacientes mejoró.", "La mitad de los pacientes mejoró."),
    ("es", "La primera parte de la ley; un 20 % del precio.", "La primera parte de la ley fija el 20 %."),
    ("es", "Tres cuartos de los votos.", "Tres cuartas partes de los votos."),
    ("es", "El tribunal se negó dos veces; la multa se triplicó.", "El tribunal se negó dos veces."),
    ("zh", "价格由5元涨至10元，成本翻了两番。", "价格翻倍。"),
    ("zh", "每日两次，费用增加三倍。", "每日两次。"),
    ("zh", "赔偿三倍。", "赔偿数额为原来的三倍。"),
    ("zh", "五分之一的患者，即20%。", "20%的患者。"),
    ("zh", "工资的百分之五十。", "工资的一半。"),
    ("zh", "每5人中有1人患病。", "20%的人患病。"),
    ("zh", "他们一半是工人，两倍于去年。", "一半是工人。"),
    ("zh", "事半功倍，三倍于前。", "事半功倍。"),
]
OTHER = [
    ("en", "The amount doubled in a year.", "The amount tripled in a year."),
    ("en", "The amount tripled in a year.", "The amount doubled in a year."),
    ("en", "There was a threefold increase in risk.", "There was a two-fold increase in risk."),
    ("en", "There was a three-fold increase in risk.", "The risk doubled."),
    ("en", "The penalty is twice the rent.", "The penalty is triple the rent."),
    ("en", "Half of the patients improved.", "A quarter of the patients improved."),
    ("en", "A third of the members must be present.", "Half of the members must be present."),
    ("en", "25% of patients improved.", "A third of the patients improved."),
    ("en", "The dose was halved.", "The dose was reduced by a third."),
    ("en", "The fee was reduced by a quarter.", "The fee was cut in half."),
    ("en", "The fee quadrupled.", "The fee doubled."),
    ("en", "One quarter of the shares were sold.", "One third of the shares were sold."),
    ("es", "La cantidad se duplicó.", "La cantidad se triplicó."),
    ("es", "La indemnización será el doble del salario.", "La indemnización será el triple del salario."),
    ("es", "La mitad de los pacientes mejoró.", "Un tercio de los pacientes mejoró."),
    ("es", "Un tercio de los socios puede pedirlo.", "La mitad de los socios puede pedirlo."),
    ("es", "La tercera parte de los bienes se reparte.", "La cuarta parte de los bienes se reparte."),
    ("es", "Dos terceras partes de los votos bastan.", "Tres cuartas partes de los votos bastan."),
    ("es", "El 25 % de los pacientes mejoró.", "La mitad de los pacientes mejoró."),
    ("es", "La pena se reduce a la mitad.", "La pena se reduce en un tercio."),
    ("es", "El riesgo se triplicó.", "El riesgo es el doble."),
    ("es", "El riesgo se cuadruplicó.", "El riesgo se duplicó."),
    ("zh", "风险翻倍。", "风险增至三倍。"),
    ("zh", "赔偿为价款的三倍。", "赔偿为价款的两倍。"),
    ("zh", "数量翻了一番。", "数量翻了两番。"),
    ("zh", "一半的患者好转。", "三分之一的患者好转。"),
    ("zh", "三分之一的患者好转。", "一半的患者好转。"),
    ("zh", "剂量减半。", "剂量减少三分之一。"),
    ("zh", "百分之二十五的股份。", "一半的股份。"),
    ("zh", "三分之二以上的代表同意。", "半数以上的代表同意。"),
    ("zh", "剂量加倍。", "剂量为原来的四倍。"),
    ("zh", "数量增加了一倍。", "数量增加了三倍。"),
    ("en", "Membership grew fivefold.", "Membership grew ten-fold."),
    ("en", "Damages may be trebled.", "Damages may be doubled."),
    ("en", "Each spouse receives one half of the estate.", "Each spouse receives a quarter of the estate."),
    ("en", "1 in 5 patients relapsed.", "Half of the patients relapsed."),
    ("en", "Three quarters of the members voted.", "Two-thirds of the members voted."),
    ("en", "The rate is a tenth of the price.", "The rate is a fifth of the price."),
    ("en", "The risk is three times higher.", "The risk doubled."),
    ("es", "La multa será tres veces el precio.", "La multa será el doble del precio."),
    ("es", "Uno de cada cinco pacientes mejoró.", "La mitad de los pacientes mejoró."),
    ("es", "Las dos terceras partes de los votos.", "La mitad de los votos."),
    ("zh", "价格上涨了一倍。", "价格上涨了两倍。"),
    ("zh", "每年增长两倍，一半患者好转。", "每年增长五倍，一半患者好转。"),
    ("zh", "应有过半数的代表出席。", "应有三分之二的代表出席。"),
]


def _reason(language, passage, answer):
    (verdict,) = Support(names=False, min_words=50)([candidate(answer, language, passage=passage, instruction="")])
    return verdict.reason


@pytest.mark.parametrize(("language", "passage", "answer"), SAME)
def test_the_same_proportion_in_other_words_is_kept(language, passage, answer):
    assert _reason(language, passage, answer) is None


@pytest.mark.parametrize(("language", "passage", "answer"), OTHER)
def test_another_proportion_is_refused(language, passage, answer):
    assert _reason(language, passage, answer) == "unsupported_number"


@pytest.mark.parametrize(("language", "passage", "answer"), SAME + OTHER)
def test_a_text_supports_itself(language, passage, answer):
    assert _reason(language, passage, passage) is None


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "en",
            "a double-blind trial of triple therapy in a double room, the third quarter, the second half of the year",
        ),
        ("en", "she doubled over; a half-brother; two halves of a whole; manifold; a third party of the contract"),
        (
            "es",
            "por duplicado y triplicado, un ensayo doble ciego, el doble grado, la segunda mitad, la primera parte de",
        ),
        ("zh", "半年内事半功倍，年过半百，第三番，一番努力，成倍"),
    ],
)
def test_words_that_only_look_so_are_none(language, text):
    assert [*read_factors(text, language), *read_shares(text, language)] == []

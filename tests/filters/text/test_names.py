"""Names by evidence: found where a capital says something, supported by words, never at a sentence's head alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.grounding.support import Support
from filters.text.names import names, unsupported
from tests.factories.candidates import candidate

LAW = (
    "The Voting Rights Act was passed by Congress. The U.S. District Court for the Southern District of Ohio, Judge "
    "Edmund Sargus presiding, applied it against the City of Columbus. The EU has no such act."
)
DRUGS = "Patients with hypertension received lisinopril or placebo at the Cleveland Clinic. Aspirin was allowed."
SPAIN = "El Tribunal Supremo confirmó la sentencia de la Audiencia Provincial de Sevilla. Recurrió María Pérez Gómez."
CHINA = "根据《中华人民共和国劳动合同法》，劳动者可以解除合同。王建国法官审理了本案。"


@pytest.mark.parametrize(
    ("passage", "answer", "strange"),
    [
        (LAW, "The Voting Rights Act was applied in Columbus by Judge Sargus.", []),
        (LAW, "A court of the United States applied it; the European Union has none.", []),
        (LAW, "Congress passed the act. Nobody in Ohio objected. Columbus's lawyers did not appear.", []),
        (LAW, "Fairness matters. Judges decide. However, the Court and the State are bound, on a Monday in March.", []),
        (LAW, "Key Points\n\n**Background**: an act was applied.\n- Congress passed it.\n1. Courts apply it.", []),
        (LAW, "Outcome: The city lost. The Parties: both appeared.", []),
        (LAW, "The city relied on the Fair Housing Act.", ["Fair Housing Act"]),
        (LAW, "It was decided by Judge Harold Whitman of Ohio.", ["Judge Harold Whitman of Ohio"]),
        (LAW, "The act was applied in Cincinnati.", ["Cincinnati"]),
        (LAW, "It was argued by Dr. Whitman.", ["Dr Whitman"]),
        (DRUGS, "Those with hypertension took lisinopril. Aspirin was allowed.", []),
        (DRUGS, "Those with hypertension took ramipril.", ["ramipril"]),
        (DRUGS, "Ramipril was given to half of them.", ["Ramipril"]),
        (DRUGS, "The cholesterol of the persons was measured in April.", []),
        (DRUGS, "They were seen at the Mayo Clinic.", ["Mayo Clinic"]),
        (SPAIN, "Según el Tribunal Supremo, la Audiencia de Sevilla acertó y María Pérez perdió.", []),
        (SPAIN, "Recurrió ante la Audiencia Provincial de Granada en enero.", ["Audiencia Provincial de Granada"]),
        (SPAIN, "Se le recetó atorvastatina.", ["atorvastatina"]),
        (CHINA, "依照《劳动合同法》，王建国法官作出判决。", []),
        (CHINA, "依照《民法典》的规定，可以解除合同。", ["民法典"]),
        (CHINA, "本案已经审结。李晓明法官作出了判决。", ["李晓明"]),
    ],
)
def test_names_that_do_not_stand_in_the_passage(passage, answer, strange):
    assert unsupported(answer, passage) == strange


@given(st.text(max_size=300), st.text(max_size=300))
def test_total_and_of_the_text_itself(text, other):
    found = unsupported(text, other)
    assert found == unsupported(text, other)
    assert not unsupported(text, f"{other}\n{text}")


WORDS = [
    "Paris",
    "court",
    "of",
    "the",
    "Marta",
    "Ruiz",
    "held",
    "that",
    "in",
    "Act",
    "EU",
    "Dr.",
    "left",
    "1.",
    "and",
    ".",
]


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_what_the_passage_says_is_borne_out(text):
    assert not unsupported(text, text)
    assert not unsupported(text, text.upper())
    assert not list(names(text.lower()))


def test_the_filter_says_which_name_and_can_be_told_not_to_ask():
    row = candidate("The city relied on the Fair Housing Act in this matter.", passage=LAW)
    (verdict,) = Support(min_share=0)([row])
    assert (verdict.reason, verdict.detail) == ("unsupported_name", "not in the passage: Fair Housing Act")
    assert Support(min_share=0, names=False)([row])[0].reason is None
    asked = [{"role": "user", "content": "What of the Fair Housing Act?"}, {"role": "assistant", "content": row.reply}]
    assert Support(min_share=0)([candidate(row.reply, passage=LAW, messages=asked)])[0].reason is None

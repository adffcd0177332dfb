"""References to law: one form however they are written, and answers judged by what their passage names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.grounding.citations import Citations
from filters.text.numbers.numerals import from_roman
from filters.text.references import References
from tests.factories.candidates import candidate

GDPR = (
    "1. Personal data shall be: (a) processed lawfully (Article 6); (b) collected as Articles 12 to 14 and 22 say."
    " 2. Regulation (EU) 2016/679 and Directive 95/46/EC apply, as does Chapter VIII. See Case C-131/12,"
    " ECLI:EU:C:2014:317, and Annex III, point 4."
)
US = (
    "The plaintiffs sued under 42 U.S.C. § 1983 and Title VII, citing Roe v. Wade, 410 U.S. 113, and the Fourteenth"
    " Amendment, with 28 C.F.R. § 35.130 and Rule 23(b)(2). The docket is 1:14-cv-01234."
)
SPAIN = "El artículo 5 de la Ley 39/2015 y el Real Decreto 463/2020 regulan el plazo. 1. El plazo es de un mes."
CHINA = "第三十四条 依照《中华人民共和国劳动法》的规定：（一）提前三十日通知；（二）支付补偿。第三十五条之一另有规定。"

ROWS = [
    (GDPR, "Under Article 6 it is lawful.", None),
    (GDPR, "Under Art. 6 it is lawful.", None),
    (GDPR, "Under article six it is lawful.", None),
    (GDPR, "Under Article 6(1)(a) it is lawful.", None),
    (GDPR, "Under Article 6(3) it is lawful.", "unsupported_citation"),
    (GDPR, "Under Article 7 it is lawful.", "unsupported_citation"),
    (GDPR, "Under Section 6 it is lawful.", "unsupported_citation"),
    (GDPR, "Under Articles 12, 13 and 22 it is lawful.", None),
    (GDPR, "Under Articles 12, 15 and 22 it is lawful.", "unsupported_citation"),
    (GDPR, "Under Article 13 it is lawful.", None),
    (GDPR, "Paragraph 2 and point (b) say so.", None),
    (GDPR, "Para. 2 says so.", None),
    (GDPR, "Paragraph 3 says so.", "unsupported_citation"),
    (GDPR, "Regulation (EU) 2016/679 applies.", None),
    (GDPR, "Regulation (EU) No 2016/679 applies.", None),
    (GDPR, "Regulation (EU) 2016/680 applies.", "unsupported_citation"),
    (GDPR, "Directive (EU) 2016/679 applies.", "unsupported_citation"),
    (GDPR, "La Directiva 95/46/CE se aplica.", None),
    (GDPR, "Regulation (EU) 99999/12 applies.", "malformed_citation"),
    (GDPR, "Regulation (EU) applies.", "malformed_citation"),
    (GDPR, "The court said so in C-131/12.", None),
    (GDPR, "The court said so in C-132/12.", "unsupported_citation"),
    (GDPR, "See ECLI:EU:C:2014:317.", None),
    (GDPR, "See ECLI:EU:C:2014.", "malformed_citation"),
    (GDPR, "Chapter 8 and Annex 3 say so.", None),
    (GDPR, "Chapter IIX says so.", "malformed_citation"),
    (GDPR, "Article 6(1 says so.", "malformed_citation"),
    (GDPR, "Article [X] says so.", "malformed_citation"),
    (GDPR, "Article 0 says so.", "malformed_citation"),
    (GDPR, "This Article, and article by article the rest, is about data.", None),
    (US, "They sued under 42 USC 1983 and title 7.", None),
    (US, "They sued under Section 1983.", None),
    (US, "They sued under 42 U.S.C. § 1985.", "unsupported_citation"),
    (US, "They sued under 18 U.S.C. § 1983.", "unsupported_citation"),
    (US, "The 14th Amendment and Roe vs. Wade were cited.", None),
    (US, "Roe v. Doe was cited.", "unsupported_citation"),
    (US, "The Fifteenth Amendment was cited.", "unsupported_citation"),
    (US, "The class was certified under Rule 23(b)(2).", None),
    (US, "The class was certified under Rule 23(b)(3).", "unsupported_citation"),
    (US, "In 411 U.S. 113 the court held so.", "unsupported_citation"),
    (US, "The case is 1:14-cv-1234.", None),
    (US, "The case is 1:15-cv-01234.", "unsupported_citation"),
    (SPAIN, "Según el art. 5.1 de la Ley 39/2015, el plazo es de un mes.", None),
    (SPAIN, "Según el artículo cinco, el plazo es de un mes.", None),
    (SPAIN, "Según el artículo 6, el plazo es de un mes.", "unsupported_citation"),
    (SPAIN, "Según la Ley 40/2015, el plazo es de un mes.", "unsupported_citation"),
    (SPAIN, "El Real Decreto 463/2020 lo regula para 3 personas.", None),
    (CHINA, "根据第34条，应当提前通知。", None),
    (CHINA, "根据《劳动法》第三十四条第二款第（二）项，应当支付补偿。", None),
    (CHINA, "根据第三十六条，应当提前通知。", "unsupported_citation"),
    (CHINA, "根据第三十五条，应当提前通知。", "unsupported_citation"),
    (CHINA, "根据《劳动合同法》，应当提前通知。", "unsupported_citation"),
    (CHINA, "根据第X条，应当提前通知。", "malformed_citation"),
    (CHINA, "根据《劳动法，应当提前通知。", "malformed_citation"),
]

BIS = "El artículo 5 bis y la disposición adicional tercera se aplican. Véase el artículo 9, apartado 2, letra a)."
NOTES = "Article 5² applies, and points (a) to (f) of Article 6(1). Article 8(2)(c) does not. Under § 12a it is void."
ZH = "第十二条之一和第三章第二节适用，（2019）最高法民终123号判决、法释〔2018〕1号。"
ROWS += [
    (BIS, "Según el artículo 5 bis, se aplica.", None),
    (BIS, "Según el art. 5-bis, se aplica.", None),
    (BIS, "Según el artículo 5bis, se aplica.", None),
    (BIS, "Según el artículo 5 ter, se aplica.", "unsupported_citation"),
    (BIS, "Según el artículo 5 quáter, se aplica.", "unsupported_citation"),
    (BIS, "Según el artículo 5, se aplica.", "unsupported_citation"),
    (BIS, "La disposición adicional tercera se aplica.", None),
    (BIS, "La disposición adicional 3.ª se aplica.", None),
    (BIS, "La disposición adicional quinta se aplica.", "unsupported_citation"),
    (BIS, "La disposición transitoria tercera se aplica.", "unsupported_citation"),
    (BIS, "La disposición final tercera se aplica.", "unsupported_citation"),
    (BIS, "El artículo noveno, apartado 2, letra a), se aplica.", None),
    (BIS, "El artículo 9.2.a) se aplica.", None),
    (BIS, "El artículo 9.º se aplica.", None),
    (BIS, "El artículo 9, letra b), se aplica.", "unsupported_citation"),
    (BIS, "El párrafo segundo del artículo 9 se aplica.", None),
    ("Disposición adicional vigésimo primera. Libro segundo.", "La disposición adicional 21 del libro II.", None),
    ("Disposición adicional vigésimo primera.", "La disposición adicional vigésima.", "unsupported_citation"),
    ("Primera.- El precio. Segunda.- El plazo.", "Según la cláusula primera, el precio.", None),
    (NOTES, "Article 5 applies.", None),
    (NOTES, "Article 52 applies.", "unsupported_citation"),
    (NOTES, "Article 6(1)(e) applies.", None),
    (NOTES, "Article 6(1)(g) applies.", "unsupported_citation"),
    (NOTES, "Article 8(2)(c) does not apply.", None),
    (NOTES, "Article 6(2) applies.", "unsupported_citation"),
    (NOTES, "Under section 12a it is void.", None),
    (NOTES, "Under § 12b it is void.", "unsupported_citation"),
    (NOTES, "Under § 12 it is void.", "unsupported_citation"),
    ("Title vii and Chapter IX apply.", "Title VII and chapter ix apply.", None),
    ("Title VII applies.", "Title viii applies.", "unsupported_citation"),
    ("Article 6(1)(a) and (b) apply.", "Article 6(1)(b) applies.", None),
    ("Article 6(1)(a) and (b) apply.", "Article 6(1)(a) and (c) apply.", "unsupported_citation"),
    ("Article One applies.", "Article 1 applies.", None),
    ("It says so in that Schedule. (4) Nothing applies.", "It says so in the paragraph. 46 apply.", None),
    (ZH, "根据第12条之1，适用。", None),
    (ZH, "根据第十二条之二，适用。", "unsupported_citation"),
    (ZH, "根据第十二条，适用。", "unsupported_citation"),
    (ZH, "第3章适用。", None),
    (ZH, "第四章适用。", "unsupported_citation"),
    (ZH, "第三章第三节适用。", "unsupported_citation"),
    (ZH, "(2019)最高法民终123号判决适用。", None),
    (ZH, "（2019）最高法民终132号判决适用。", "unsupported_citation"),
    (ZH, "法释〔2019〕1号适用。", "unsupported_citation"),
]


@pytest.mark.parametrize(("passage", "answer", "reason"), ROWS, ids=lambda value: str(value)[:40])
def test_reason(passage, answer, reason):
    assert Citations()([candidate(answer, passage=passage)])[0].reason == reason


def test_what_the_prompt_names_is_borne_out():
    assert Citations()([candidate("Article 7 says so.", instruction="Explain GDPR, Article 7.")])[0].reason is None
    turns = [
        {"role": "user", "content": "What does Article 7 say?"},
        {"role": "assistant", "content": "Article 7: no."},
    ]
    assert Citations()([candidate("x", messages=turns)])[0].reason is None


def test_malformed_may_be_let_pass():
    assert Citations(malformed=False)([candidate("Article [X] says so.")])[0].reason is None


@pytest.mark.parametrize("text", [GDPR, US, SPAIN, CHINA])
def test_a_passage_bears_itself_out(text):
    (verdict,) = Citations()([candidate(text, passage=text)])
    assert verdict.reason is None
    assert len(References.read(text).items) > 2


@given(st.text(st.sampled_from("Article 5(1)ag§-–.,/VXI 第三条《法》 (EU) v. U.S.C"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_bears_itself_out(text):
    (verdict,) = Citations(malformed=False)([candidate(text, passage=text)])
    assert verdict.reason is None


@pytest.mark.parametrize(
    "text", ["1" * 50_000, "Article " + "1" * 40_000, "C-" + "1" * 9000 + "/12", "第" + "1" * 9000 + "条"]
)
def test_long_numbers_cost_no_more_than_others(text):
    assert len(Citations()([candidate(text, passage=text)])) == 1


def test_roman():
    assert [from_roman(text) for text in ("IV", "XIV", "MMXXVI", "IIII", "IC", "")] == [4, 14, 2026, None, None, None]


NO = "unsupported_citation"
KINDS = [
    # a rule or provision abbreviated
    ("Fed. R. Civ. P. 12(b)(6) applies.", "Rule 12(b)(6) applies.", None),
    ("Rule 12(b)(6) applies.", "Fed. R. Civ. P. 12(b)(6) applies.", None),
    ("Federal Rule of Civil Procedure 12(b)(6) applies.", "FRCP 12(b)(6) and Fed.R.Civ.P. 12(b)(6) apply.", None),
    ("The motion under Rule 12(b)(6) fails.", "Rule 12(b)(6) of the Federal Rules of Civil Procedure.", None),
    ("Fed. R. Civ. P. 12(b)(6) applies.", "Rule 12(b)(1) applies.", NO),
    ("Fed. R. Civ. P. 12(b)(6) applies.", "Rule 13(b)(6) applies.", NO),
    ("Rule 12(b)(6) applies.", "Fed. R. Civ. P. 12(b)(1) applies.", NO),
    ("Fed. R. Evid. 403 applies.", "FRE 403 applies.", None),
    ("Fed. R. Evid. 403 applies.", "FRE 404 applies.", NO),
    ("Fed. R. Crim. P. 11 applies.", "Fed. R. Civ. P. 11 applies.", NO),
    ("Rule 10b-5 applies.", "Rule 10b-6 applies.", NO),
    ("Amendment XIV applies.", "U.S. Const. amend. XIV applies.", None),
    ("U.S. Const. amend. XIV applies.", "The Fifth Amendment applies.", NO),
    ("Schedule 2 applies.", "Sch. 2 applies.", None),
    ("Disposición adicional tercera.", "La disp. adic. 3.ª se aplica.", None),
    ("Disposición adicional tercera.", "La D.A. 3.ª se aplica.", None),
    ("Disposición adicional tercera.", "La D.T. 3.ª se aplica.", NO),
    ("Párrafo 3 y apartado 2.", "El párr. 3 y el apdo. 2.", None),
    # a number with a suffix
    ("El artículo 5 bis se aplica.", "El art. 5.bis se aplica.", None),
    ("El artículo 5.bis se aplica.", "El artículo 5 (bis) se aplica.", None),
    ("El artículo 5 BIS se aplica.", "El artículo 5.º bis se aplica.", None),
    ("El artículo 5 bis se aplica.", "El art. 5.ter se aplica.", NO),
    ("El artículo 5 bis se aplica.", "El art. 5. Bisontes hay en el norte.", NO),
    ("El artículo 5 se aplica.", "El art. 5. Bisontes hay en el norte.", None),
    # a range supports what is within it
    ("Articles 5 to 7 apply.", "Article 6 applies.", None),
    ("Articles 5 to 7 apply.", "Article 8 applies.", NO),
    ("Articles 5 to 7 apply.", "Articles 5 to 8 apply.", NO),
    ("Articles 5 through 7 apply.", "Article 6 applies.", None),
    ("Article 5 to Article 7 apply.", "Article 6 applies.", None),
    ("Article 5 and Article 7 apply.", "Article 6 applies.", NO),
    ("Articles 5 and 7 apply.", "Article 6 applies.", NO),
    ("Los artículos 5 a 7.", "El artículo 6.", None),
    ("Los artículos 5 a 7.", "El artículo 4.", NO),
    ("Del artículo 5 al artículo 7.", "El artículo 6.", None),
    ("Desde el artículo 5 hasta el 7.", "El artículo 6.", None),
    ("Los artículos 5 bis a 7.", "El artículo 6.", None),
    ("§§ 10-12 apply.", "§ 11 applies.", None),
    ("§§ 10–12 apply.", "Section 13 applies.", NO),
    ("§§ 10a-10d apply.", "§ 10c applies.", None),
    ("§§ 10a-d apply.", "§ 10e applies.", NO),
    ("Sections 5.1 to 5.4 apply.", "Section 5.3 applies.", None),
    ("Sections 5.1 to 5.4 apply.", "Section 5.5 applies.", NO),
    ("Between Articles 5 and 7 it applies.", "Article 6 applies.", None),
    ("Entre los artículos 5 y 7.", "El artículo 8.", NO),
    ("Articles 5 bis to 5 quinquies apply.", "Article 5 quater applies.", None),
    ("Articles 5 bis to 5 quinquies apply.", "Article 5 sexies applies.", NO),
    ("Recitals (26) to (30) apply.", "Recital 28 applies.", None),
    ("Recitals (26) to (30) apply.", "Recital 31 applies.", NO),
    ("Chapters II to IV apply.", "Chapter III applies.", None),
    ("42 U.S.C. §§ 1981-1988 apply.", "42 U.S.C. § 1983 applies.", None),
    ("42 U.S.C. §§ 1981-1988 apply.", "42 U.S.C. § 1989 applies.", NO),
    ("42 U.S.C. 20e5-30 applies.", "42 U.S.C. 20e5 applies.", None),
    ("42 U.S.C. § 2000e-5 applies.", "42 U.S.C. § 2000f applies.", NO),
    ("第五至七条适用。", "第六条适用。", None),
    ("第五至七条适用。", "第八条适用。", NO),
    ("第五条至第七条适用。", "第6条适用。", None),
    ("第5-7条适用。", "第六条适用。", None),
    ("第五条到第七条适用。", "第五至八条适用。", NO),
    ("第五、七条适用。", "第七条适用。", None),
    ("第五、七条适用。", "第六条适用。", NO),
    ("第五条适用。", "第五、六条适用。", NO),
    ("第二至四章适用。", "第三章适用。", None),
    ("第三章、第五条适用。", "第三条适用。", NO),
    ("第廿一条适用。", "第21条适用。", None),
]


@pytest.mark.parametrize(("passage", "answer", "reason"), KINDS)
def test_abbreviations_suffixes_and_ranges(passage, answer, reason):
    assert Citations()([candidate(answer, passage=passage)])[0].reason == reason

"""The filters: a row each in a table of texts and reasons, and what holds for all of them."""

import dataclasses
import json
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.schema import Encoder, FilterSpec, Screen
from filters import FILTERS
from filters.build import build_filters, check_screen, filter_class, redact
from filters.language import identify
from filters.repetition import repeated_share
from stages.ports import Verdict, judged_by
from tests.factories.candidates import DOSE, EDGES, ES, GOOD, PASSAGE, ZH, candidate

# the others read a model or evaluation sets, and have test files of their own
ALONE = [
    name for name in FILTERS if name not in ("contamination", "domain", "grounded", "quality")
]  # without other files


@cache
def built(name):
    return filter_class(name, "")()


def distractor(text, plausibility=-0.1, language="en"):
    target = {"en": "Claims above 1,200 euros need a written form.", "zh": ZH}[language]
    scores = [{"filter": "plausibility", "score": plausibility}]
    return candidate("", language, writes="distractor", written=text, target=target, scores=scores)


ROWS = [
    ("length", candidate("Six years."), "too_short"),
    ("gain", candidate(GOOD), None),
    ("gain", candidate(GOOD, scores=[{"filter": "gain", "score": -0.1}]), "low_gain"),
    ("gain", candidate(GOOD, scores=[{"filter": "gain", "score": 0.1}]), None),
    ("gain", candidate("", writes="question", written="Why?", scores=[{"filter": "gain", "score": 1.2}]), "low_gain"),
    ("gain", candidate("", writes="question", written="Why?", scores=[{"filter": "gain", "score": 1.4}]), None),
    ("contrast", distractor("Claims above 1,200 euros need a written form."), "supported"),
    ("contrast", distractor("Claims below 1,200 euros need a written form."), None),
    ("contrast", distractor("Claims below 1,200 euros need a written form.", -0.5), "implausible"),
    ("contrast", distractor("Claims below 1,200 euros need a written form.", 0.3), "implausible"),
    ("contrast", distractor("劳动者解除劳动合同，可以提前三十日以书面形式通知用人单位。", language="zh"), None),
    ("truncation", candidate(GOOD, finish_reason="length"), "truncated"),
    ("truncation", candidate(GOOD.rstrip(".") + " of the debt by the"), "unfinished"),
    ("truncation", candidate("Six years"), None),
    ("truncation", candidate("劳动者应当提前三十日通知用人单位。", "zh"), None),
    ("secrets", candidate("Log in with password: hunter2!x."), "secret"),
    ("secrets", candidate("A trade secret is information that is kept secret."), None),
    ("privacy", candidate("Call Jane on 617-555-0188."), None),
    ("safety", candidate("You should just kill yourself."), "unsafe"),
    ("safety", candidate("An overdose of paracetamol is treated with acetylcysteine."), None),
    ("refusal", candidate("I'm sorry, but I cannot help with legal questions."), "refusal"),
    ("refusal", candidate("Lo siento, pero no puedo responder a esa pregunta.", "es"), "refusal"),
    ("refusal", candidate("很抱歉，我无法回答这个问题。", "zh"), "refusal"),
    ("refusal", candidate("As an AI language model, I think it is six years."), "model_disclaimer"),
    ("refusal", candidate("作为一个人工智能，我认为是三十日。", "zh"), "model_disclaimer"),
    ("refusal", candidate("The passage does not mention the period."), "no_answer"),
    ("refusal", candidate("文中没有提及这个期限。", "zh"), "no_answer"),
    ("refusal", candidate("The tenant said: I cannot pay the rent this month."), None),
    ("language", candidate(ES), "language"),
    ("language", candidate(GOOD, "zh"), "language"),
    ("language", candidate(ZH, "en"), "language"),
    ("language", candidate("六年", "en"), "language"),
    ("language", candidate("Six", "es"), None),
    ("language", candidate(ES, "es"), None),
    ("language", candidate(ZH, "zh"), None),
    ("repetition", candidate("The period is six years long. " * 8), "repeated_ngrams"),
    ("repetition", candidate("Six years for the debt\n" * 3 + "and no more than that"), "repeated_lines"),
    ("repetition", candidate("Six years" + "!" * 40), "repeated_character"),
    (
        "repetition",
        candidate(" ".join(f"limitation period {name}" for name in ("one", "two", "six", *"abcdefgh"))),
        "frequent_ngram",
    ),
    (
        "repetition",  # a term, three times: 23 % of the characters
        candidate(
            "Seats shall be reserved for the Scheduled Castes and the Scheduled Tribes, except the Scheduled Tribes in "
            "the autonomous districts of Assam, in the Assembly of every State. A seat is for one term."
        ),
        None,
    ),
    (
        "repetition",  # four times "of the" are 24 % of the words, and 9 % of the characters
        candidate(
            "The expiry of the limitation period of the claims arising under the provisions of the Regulation "
            "establishes an independent exception of the respondent undertaking concerning reimbursement obligations "
            "resulting from contractual arrangements previously concluded."
        ),
        None,
    ),
    ("repetition", candidate("劳动者应当提前三十日通知。" * 6, "zh"), "repeated_ngrams"),
    ("repetition", candidate("Name: ____________________ Date: ____________________"), None),
    (
        "prompt_echo",
        candidate("Write one question that the passage answers, and answer it in a full sentence: six."),
        "prompt_echo",
    ),
    ("prompt_echo", candidate(PASSAGE), "copy"),
    ("prompt_echo", candidate(ZH, "zh"), "copy"),
    ("prompt_echo", candidate("It is six years and begins when the breach occurs."), None),
    ("support", candidate("The statute of limitations for written contracts is 5 years."), "unsupported_number"),
    ("support", candidate("The statute of limitations for written contracts is five years."), "unsupported_number"),
    ("support", candidate("The statute of limitations for written contracts is 6 years."), None),
    ("support", candidate("Claims above 1200 euros need a written form."), None),
    ("support", candidate("1. Written contracts: six years.\n2. Claims need a written form."), None),
    ("support", candidate("Penguins inhabit southern oceans, hunting krill beneath frozen shelves."), "unsupported"),
    ("support", candidate("The daily dose is 1,500 mg in three parts.", passage=DOSE), None),
    ("support", candidate("The daily dose is 1,600 mg in three parts.", passage=DOSE), "unsupported_number"),
    ("support", candidate("The daily dose is 1,500 to 1,600 mg in three parts.", passage=DOSE), "unsupported_number"),
    ("support", candidate("劳动者应当提前六十日通知用人单位。", "zh"), "unsupported_number"),
    ("support", candidate("劳动者应当提前30日书面通知用人单位。", "zh"), None),
    ("support", candidate("企鹅生活在南极的海洋里，捕食磷虾和小鱼，冬季成群取暖。", "zh"), "unsupported"),
    ("support", candidate("El plazo de los contratos escritos es de 6 años desde el incumplimiento.", "es"), None),
    ("rules", candidate("The period is\x07 six years."), "control_character"),
    ("rules", candidate("The period is\u200b six years."), "invisible_character"),
    ("rules", candidate("The period is \u202esix years."), "invisible_character"),
    ("rules", candidate("期限是\U000e0041三十日。", "zh"), "invisible_character"),
    ("rules", candidate("It says that parents \U0001f468\u200d\U0001f469 may consent."), None),
    ("rules", candidate("El plazo de prescripciÃ³n es de seis aÃ±os.", "es"), "mojibake"),
    ("rules", candidate("The tenantâ€™s notice is void."), "mojibake"),
    ("rules", candidate("The period is six\ufffdyears."), "mojibake"),
    ("rules", candidate("锟斤拷期限是三十日。", "zh"), "mojibake"),
    ("rules", candidate("PENSIÓN Y AÑO: el plazo según Â. Müller y la señora São es de seis años.", "es"), None),
    ("rules", candidate("def f(x) { return x; }"), "code"),
    ("rules", candidate("Lorem ipsum dolor sit amet."), "code"),
    ("rules", candidate("Please enable JavaScript to read this page."), "code"),
    ("rules", candidate("<div>Six years</div>"), "code"),
    ("rules", candidate("A value of p < 0.05 and a platelet count > 100 per microlitre were found."), None),
    ("rules", candidate("The debt...\nThe claim...\nThe breach…\nSix years."), "ellipsis_lines"),
    ("rules", candidate("- The debt\n- The claim\n- The breach\n- The court\n- The six years of the statute"), None),
    ("rules", candidate("# a " * 30), "symbols"),
    ("rules", candidate("12 34 56 78 90 12 34 56 78 90 12 34"), "digits"),
    ("rules", candidate("+ - " * 12 + "The claim of the debt is void"), "few_letters"),
    ("rules", candidate("THE PERIOD OF THE STATUTE IS SIX YEARS AND IT BEGINS WHEN THE BREACH " * 2), "upper_case"),
    ("rules", candidate("a b c d e f g h i j k l m n o p q r s t u v w x y z"), "word_length"),
    ("rules", candidate("contract breach debt claim court " * 5), "no_stop_words"),
    ("rules", candidate("contrato deuda plazo juez demanda " * 5, "es"), "no_stop_words"),
    (
        "rules",
        candidate("Na 140 mmol/l, K 4.1 mmol/l, Cl 102 mmol/l, CRP 12 mg/l, Hb 13.2 g/dl, BP 120/80 mmHg."),
        None,
    ),
    (
        "rules",
        candidate("第一百四十三条　具备下列条件的民事法律行为有效：（一）行为人具有相应的民事行为能力。", "zh"),
        None,
    ),
    ("rules", candidate("Staphylococcus aureus and Streptococcus pneumoniae were cultured from the sputum."), None),
]


@pytest.mark.parametrize(("name", "row", "reason"), ROWS, ids=lambda value: str(value)[:40])
def test_reason(name, row, reason):
    assert filter_class(name, "")()([row])[0].reason == reason


@pytest.mark.parametrize("name", ALONE)
def test_good_answers_pass(name):
    judge = filter_class(name, "")()
    if "answer" not in judged_by(judge):
        pytest.skip("judges no answers")
    answers = [
        candidate(GOOD),
        candidate("在试用期内，劳动者提前三日通知用人单位就可以解除合同；其他情况要提前三十日书面通知。", "zh"),
        candidate("Los contratos escritos prescriben a los seis años, contados desde el incumplimiento.", "es"),
    ]
    assert [verdict.reason for verdict in judge(answers)] == [None, None, None]


@pytest.mark.parametrize("name", ALONE)
def test_total_at_the_edges(name):
    judge = filter_class(name, "")()
    batch = [candidate(text, language, passage=text[:1000]) for text in EDGES for language in ("en", "zh", "es")]
    verdicts = judge(batch)
    assert len(verdicts) == len(batch)
    assert verdicts == judge(batch)
    assert judge([]) == []


@pytest.mark.parametrize("text", ["word " * 200_000, "法律" * 300_000, "x" * 1_000_000, "a.\n" * 300_000])
def test_a_megabyte_is_judged(text):
    for name in ALONE:
        assert len(built(name)([candidate(text)])) == 1


@pytest.mark.parametrize(
    "part", ["\n", "_", "1", "1,", "½", "²", "千", "第", "(1)", "Article 5(1)", "[1-", "I can't ", "“", "- \n"]
)
def test_no_part_of_a_text_is_read_again_and_again(part):
    """A pattern that is quadratic in such a text would take minutes."""
    text = part * (15_000 // len(part))
    for name in ("truncation", "refusal", "rules", "support", "citations", "doses"):
        assert len(built(name)([candidate(text, passage=text)])) == 1


@given(st.text(st.characters(), max_size=200), st.text(max_size=100), st.sampled_from(["en", "zh", "es"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_total_and_independent_of_the_batch(text, passage, language):
    row = candidate(text, language, passage=passage)
    for name in ALONE:
        judge = built(name)
        alone = judge([row])
        assert judge([candidate(GOOD), row])[1:] == alone
        assert (alone[0].score or 0) >= 0
        json.dumps(alone[0].detail)


def test_the_reply_is_judged_and_not_the_prompt():
    turns = [
        {"role": "user", "content": "As an AI language model, what is it?"},
        {"role": "assistant", "content": GOOD},
    ]
    assert filter_class("refusal", "")()([candidate("x", messages=turns)])[0].reason is None


@pytest.mark.parametrize(
    ("text", "language"),
    [(GOOD, "en"), (ES, "es"), (ZH, "zh"), ("これは日本語の文章です。", "ja"), ("12 34 !!", None), ("", None)],
)
def test_identify(text, language):
    assert identify(text) == language


def test_repeated_share():
    assert repeated_share(list("abcdef"), 3) == 0
    assert repeated_share(list("abcabc"), 3) == 0.5
    assert repeated_share([], 3) == 0


def spec(name, **options):
    return FilterSpec(name=name, **options)


def test_build_keeps_order_and_options():
    built = build_filters([spec("truncation"), spec("length", min_chars=5)])
    assert [name for name, _ in built] == ["truncation", "length"]
    assert built[1][1].min_chars == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (spec("lenght"), r"screen.filters\[0\].name: no filter 'lenght'; did you mean length\?"),
        (spec("zzz"), "there are length, "),
        (spec("length", max_char=9), r"screen.filters\[0\].max_char: unknown option; length has min_chars, max_chars"),
        (spec("length", max_chars="many"), r"screen.filters\[0\].max_chars: .*integer.*'many'"),
        (spec("length", max_chars=True), r"screen.filters\[0\].max_chars: "),
        (spec("prompt_echo", max_copy=1.5), r"screen.filters\[0\].max_copy: .*less than or equal to 1"),
        (spec("quality"), "screen.encoder: missing"),
        (spec("quality", encoder="x"), "unknown option"),
    ],
)
def test_build_names_what_is_wrong(given, message):
    with pytest.raises(ConfigError, match=message):
        build_filters([given])


def test_a_screen_whose_filter_reads_embeddings_needs_an_encoder():
    check_screen(Screen(filters=(spec("length"), spec("quality")), encoder=Encoder()))
    with pytest.raises(ConfigError, match=r"screen\.encoder: missing, although screen\.filters\[1\] is quality"):
        check_screen(Screen(filters=(spec("length"), spec("quality"))))


@dataclasses.dataclass(frozen=True)
class Dockets:
    """Reason: none; docket numbers are masked."""

    def __call__(self, batch):
        return [Verdict(row=dataclasses.replace(row, text=self.redact(row.text, row.language))) for row in batch]

    def redact(self, text, language):
        return text.replace("C-131/12", "[DOCKET]")


def test_every_filter_that_declares_redact_masks_and_the_others_do_not():
    own = spec(f"{__name__}:Dockets")
    text = "Case C-131/12, password: hunter2!x, jane@example.org."
    assert redact([spec("length"), own], text, "en") == "Case [DOCKET], password: hunter2!x, jane@example.org."
    masked = redact([spec("secrets"), spec("privacy"), own], text, "en")
    assert masked == "Case [DOCKET], password: [SECRET], [EMAIL]."
    assert redact([spec("length"), spec("refusal")], text, "en") == text
    only = [spec("privacy", kinds=["phone"])]
    assert redact(only, text, "en") == text


def test_a_verdict_takes_the_former_name_of_its_findings():
    assert Verdict(found=("email",)) == Verdict(findings=("email",))
    assert Verdict().findings == ()


@pytest.mark.parametrize(
    "part", ["the passage you ", "I can't provide ", "Sorry - ", "no hay ", "您的问题没有提供的", "well, "]
)
def test_long_runs_are_judged_at_once(part):
    assert built("refusal")([candidate(part * 20_000)])[0].reason in (None, "refusal")

"""What a passage itself says that a term means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.definitions import Definition, find_definitions

CONTROLLER = "‘controller’ means the person which determines the purposes and means of the processing"
PROCESSOR = "‘processor’ means a body which handles personal data on behalf of somebody else"
PANCREAS = "Annular pancreas: A congenital anomaly in which the organ surrounds the duodenum as a ring."
ANGIOMA = "Spider angioma: Dilated blood vessels that radiate from a central arteriole, as the legs of an insect."


def terms(passage: str, language: str = "en") -> list[str]:
    return [definition.term for definition in find_definitions(passage, language)]


def test_a_definition_is_quoted_verbatim() -> None:
    assert find_definitions(f"For the purposes of this Act: (1) {CONTROLLER}; (2) {PROCESSOR}.", "en") == [
        Definition("controller", CONTROLLER.partition(" means ")[2], f"{CONTROLLER}."),
        Definition("processor", PROCESSOR.partition(" means ")[2], f"{PROCESSOR}."),
    ]


@pytest.mark.parametrize(
    ("language", "passage", "term", "meaning", "statement"),
    [
        ("en", "“Lease”, in relation to land, means the right to use what somebody else owns for a time. A lease ends.",
         "Lease", "the right to use what somebody else owns for a time",
         "“Lease”, in relation to land, means the right to use what somebody else owns for a time."),
        ("es", "A los efectos de esta ley: 1) «cliente»: toda persona que compra un bien para su propia casa;",
         "cliente", "toda persona que compra un bien para su propia casa",
         "«cliente»: toda persona que compra un bien para su propia casa."),
        ("es", "Se entiende por «arrendador» la persona que cede a otra el uso de una finca por un precio. Y cobra.",
         "arrendador", "la persona que cede a otra el uso de una finca por un precio",
         "Se entiende por «arrendador» la persona que cede a otra el uso de una finca por un precio."),
        ("zh", "第二条 本法所称湿地，是指具有显著生态功能的积水地带、水域。国家保护湿地。",
         "湿地", "具有显著生态功能的积水地带、水域", "本法所称湿地，是指具有显著生态功能的积水地带、水域。"),
        ("zh", "（三）后处理，是指对反应堆乏燃料进行分离并回收可裂变物质的过程；（四）其他。",
         "后处理", "对反应堆乏燃料进行分离并回收可裂变物质的过程",
         "后处理，是指对反应堆乏燃料进行分离并回收可裂变物质的过程。"),
        ("zh", "“出票人”是指依照法定方式签发票据并且将票据交付给收款人的人。",
         "出票人", "依照法定方式签发票据并且将票据交付给收款人的人",
         "“出票人”是指依照法定方式签发票据并且将票据交付给收款人的人。"),
    ],
)  # fmt: skip
def test_statutes_define_in_their_own_ways(language, passage, term, meaning, statement) -> None:
    assert find_definitions(passage, language) == [Definition(term, meaning, statement)]


@pytest.mark.parametrize(
    "passage",
    [
        "",
        "The controller means the person who holds the keys of the house and of the garden.",  # no term is marked
        "‘Controller’ means it.",
        "‘controller’ means controller as defined in Article 4, point (7), of the Regulation;",
        "‘major port’ means a port that is declared to be a major port by Parliament in an Act;",  # says what it says
        "‘office’ means any of the following, if it is open to the public: (a) a desk; (b) a chair;",
        "‘profiling’ means any form of automated processing of data consisting of the use of personal",  # cut off
        "‘goods’ means all things that can be moved from one place to another;\n"
        "‘goods’ means all things that can be bought and sold in the market;",
        "‘price’ means the sum of money that the ‘buyer pays to the seller of the goods;",  # a quotation is cut off
        "‘you’ means the person to whom we lease a flat and who pays for it;",
    ],
)
def test_what_defines_nothing_by_itself_is_no_definition(passage: str) -> None:
    assert find_definitions(passage, "en") == []


def test_an_apostrophe_is_no_quotation_mark() -> None:
    assert terms("“keeper” means the person who looks after another person’s goods for a time;") == ["keeper"]


def test_the_entries_of_a_glossary_are_definitions() -> None:
    assert find_definitions(f"{PANCREAS}\n{ANGIOMA}", "en") == [
        Definition(*PANCREAS.rstrip(".").split(": "), PANCREAS),
        Definition(*ANGIOMA.rstrip(".").split(": "), ANGIOMA),
    ]


@pytest.mark.parametrize(
    "passage",
    [
        PANCREAS,  # one paragraph with a colon is no glossary
        f"{PANCREAS}\nThe pancreas makes the enzymes with which we digest what we eat.",
        "Background: Diabetes is a common disease of the elderly and of the obese.\n"
        "Methods: Insulin was given to forty patients with diabetes for three weeks.",
        "Doctor: Have there been any changes in the medicines that were prescribed?\n"
        "Patient: None that anybody has told the family about in the last year.",
    ],
)
def test_headings_and_speakers_are_no_terms(passage: str) -> None:
    assert find_definitions(passage, "en") == []


def test_an_entry_that_talks_about_itself_is_left_out() -> None:
    remark = "Long thumb: A thumb that reaches beyond the middle of the next finger. Note that this term is rare."
    assert terms(f"{PANCREAS}\n{remark}") == ["Annular pancreas"]


@given(st.text("‘’“”«»:;.\n（）是指所称 means Aa本法，。一二", max_size=400), st.sampled_from(["en", "es", "zh", "fr"]))
def test_terms_and_meanings_are_parts_of_the_passage(passage: str, language: str) -> None:
    for definition in find_definitions(passage, language):
        assert definition.term in passage
        assert definition.meaning in passage
        assert definition.term in definition.statement


def test_long_runs_take_linear_time() -> None:
    for run in ("‘a’ means ", "a: b\n", "本法所称", "“" * 3, " " * 7):
        assert find_definitions(run * 20_000, "en") == []
        assert find_definitions(run * 20_000, "zh") == []

"""Where a text has ended, and where it breaks off."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.text.ending import unfinished

FILL = "The court found that the tenant had paid the rent for the whole of the year before the notice was given"
ES = "El tribunal declaró que el arrendatario había pagado la renta de todo el año antes de que llegara el aviso"
ZH = "法院认为承租人在收到通知之前已经支付了全年的租金，因此出租人不得以此为由解除双方签订的房屋租赁合同"

ENDED = [
    f"{FILL}.",
    f"{FILL}?",
    f"{FILL}…",
    f"{FILL}. [1]",
    f"{FILL}.[2][3]",
    f"{FILL} [4]",
    f"{FILL}.¹",
    f"{FILL}. (See [1, 2])",
    f"{FILL}. https://example.org/cases/12",
    f"{FILL}: https://example.org/cases/12?page=3",
    f"{FILL}; write to help@example.org",
    f"{FILL} 😊",
    f"{FILL} ✅",
    f"{FILL}. 👩‍⚖️",
    f"{FILL} (see Article 5)",
    f"{FILL}: “the rent is paid”",
    f'{FILL}: "the rent is paid"',
    f"{FILL}, called the ‘rent rule’",
    f"{FILL}:\n- rent\n- deposit",
    f"{FILL}:\n1. the rent\n2. the deposit",
    f"{FILL}:\n\n* **Rent:** paid\n* **Deposit:** returned",
    f"{FILL}:\n(a) the rent\n(b) the deposit",
    f"{FILL}.\nConclusion: claim dismissed",
    f"{FILL}.\n**Outcome:** granted in part",
    f"{FILL}:\n\n| rent | paid |\n|---|---|\n| deposit | returned |",
    f"{FILL}:\nrent\tpaid\ndeposit\treturned",
    f"{FILL}:\n```\nrent = 5\n```",
    f"{FILL}, as in `rent = 5`",
    f"**{FILL}.**",
    f"_{FILL}._",
    '{"rent": "paid", "deposit": ["returned", "' + FILL + '"]}',
    f"{ES}. ¿Por qué?",
    f"{ES}: «la renta está pagada»",
    f"{ES}:\n• la renta\n• la fianza",
    f"{ES}, véase la nota [1]",
    f"{ZH}。",
    f"{ZH}。”",
    f"{ZH}，依据是《民法典》",
    f"{ZH}，这就是“买卖不破租赁”",
    f"{ZH}：\n1、租金\n2、押金",
    f"{ZH}：\n（一）租金\n（二）押金",
    f"{ZH}（见第七百二十五条）",
    f"{ZH}[1]",
    f"{ZH}！",
    "Work of the state of the art. " * 3,
    f"{FILL}, and the answer is no.",
    "ศาลเห็นว่าผู้เช่าได้ชำระค่าเช่าครบถ้วนแล้วก่อนที่จะได้รับหนังสือบอกกล่าว" * 2,
    "عدالت نے قرار دیا کہ کرایہ دار نے نوٹس سے پہلے پورے سال کا کرایہ ادا کر دیا تھا اور معاہدہ برقرار ہے۔",
]
BROKEN = [
    FILL,
    f"{FILL} and the",
    f"{FILL}, and",
    f"{FILL}:",
    f"{FILL},",
    f"{FILL} -",
    f"{FILL} (see",
    f"{FILL} (see Article",
    f"{FILL} as required by Art.",
    f"{FILL} in Roe v.",
    f"{FILL}, e.g.",
    f"{FILL} by Dr.",
    f"{FILL} said “the rent",
    f'{FILL} said "the rent',
    f"{FILL}:\n- rent\n- the return of the",
    f"{FILL}:\n1. the rent\n2.",
    f"{FILL}:\n- rent\n-",
    f"{FILL}:\n1. the rent,\n2. the deposit,",
    f"{FILL}:\n```\nrent = 5",
    f"{FILL}:\n| rent | paid |\n| deposit | ret",
    '{"rent": "paid", "deposit": ["returned", "' + FILL,
    f"{FILL} and [1]",
    f"{FILL}.\nConclusion: the claim of the",
    ES,
    f"{ES} y que la",
    f"{ES}, según el art.",
    f"{ES}:\n• la renta\n• la fianza de",
    f"{ES}. ¿Por qué",
    ZH,
    f"{ZH}，并且",
    f"{ZH}，",
    f"{ZH}：",
    f"{ZH}，依据是《民法典",
    f"{ZH}：\n（一）租金\n（二）",
]

ENDED_BY_WHAT_NO_SENTENCE_NEEDS = [
    # references to provisions, acts, cases and pages
    f"{FILL}. 42 U.S.C. § 1983",
    f"{FILL}. See 410 U.S. 113",
    f"{FILL}, as required by §§ 5–7",
    f"{FILL}, as required by Article 6(1)(f)",
    f"{FILL}. Regulation (EU) 2016/679",
    f"{FILL}, Annex IV",
    f"{ES}. Véase el art. 5 bis",
    f"{ES}, conforme al artículo 27.2",
    f"{ES}. Ley 29/1994",
    f"{ZH}。参见《合同法》第五条",
    f"{ZH}。见《民法典》第５６３条第二款",
    f"{ZH}，依据第十二条之一",
    f"{ZH}。法释〔2020〕17号",
    f"{ZH}。详见附件二",
    # markup and hashtags
    f"{FILL}.</p>",
    f"<div><p>{FILL}</p></div>",
    f"{FILL}.</b><br/>",
    f"{FILL}.<sup>3</sup>",
    f"<ul><li>{FILL}</li></ul>",
    f"{FILL}.\n\n---",
    f"{ES}.\n* * *",
    f"{ZH}。\n————",
    f"{FILL}.\n\n#law #rent",
    f"{ES} #derecho",
    f"{ZH}。 #法律# #租赁#",
    # full-width, small and vertical punctuation, other brackets
    f"{ZH}﹗",
    f"{ZH}﹖",
    f"{ZH}．",
    f"{ZH}︒",
    f"{ZH}。～",
    f"{ZH}～",
    f"{ZH}〔2020〕",
    f"{ZH}［一］",
    f"{ZH}﹙一﹚",
    f"{ZH}〖完〗",
    f"{ZH}。｣",
    # signatures and dates
    f"{FILL}.\nSigned,\nJohn Smith",
    f"{FILL}.\n\nYours sincerely,\n\nJane O'Neill\nAttorney at Law",
    f"{FILL}.\n/s/ John Smith",
    f"{FILL}.\nMay 5, 2020",
    f"{ES}.\nFdo.: Juan Pérez",
    f"{ES}.\nAtentamente,\nMaría de la Fuente",
    f"{ES}.\nFirmado por Ana Ruiz",
    f"{ES}.\nMadrid, a 5 de mayo de 2020",
    f"{ZH}。\n此致\n敬礼",
    f"{ZH}。\n此致\n某某人民法院",
    f"{ZH}。\n二〇二〇年五月一日",
    # ordinals as items
    f"{ES}:\nPrimero.- pagar la renta\nSegundo.- reparar el tejado",
    f"{ES}. Primero.- pagar. Segundo.- reparar el tejado",
    f"{ES}:\n1.- la renta\n2.- la fianza",
    f"{ES}:\n1º la renta\n2º la fianza",
    f"{FILL}:\nFirst: the rent\nSecond - the deposit",
    f"{FILL}:\n1.1 the rent\n1.2 the deposit",
    f"{ZH}：\n第一，租金\n第二，押金",
    f"{FILL}. Total: $1,200",
]
BROKEN_BESIDE_THEM = [
    f"{FILL} under §",
    f"{FILL} under section",
    f"{FILL}. Under Article 5",
    f"{FILL}. CHAPTER V",
    f"{FILL}.\n\n## Article 5",
    f"{FILL}:\n\nThird-Party",
    f"{ES}. Artículo 5",
    f"{ZH}。第五条",
    f"{FILL}. 42 U.S.C.  §",
    f"{FILL} (see Article 5",
    f"{FILL} of the 5",
    f"{ES}. Según el artículo 5",
    f"{ES}, conforme al artículo",
    f"{ES}, de la",
    f"{ZH}，参见《合同法》第",
    f"{ZH}，参见《合同法》第五",
    f"{ZH}。根据《合同法》第五条",
    f"{ZH}，参见（第五条",
    f"{ZH}，因为",
    f"{FILL}</b>",
    f"<p>{FILL} and the</p>",
    f"<p>{FILL},</p>",
    f"<p>{FILL}</p",
    f"{FILL}\n\n---",
    f"{FILL} and the\n---",
    f"{FILL} --",
    f"{FILL} and #",
    f"{FILL} of the #law",
    f"{ZH}，",
    f"{ZH}﹐",
    f"{ZH}︓",
    f"{ZH}从5～",
    f"{ZH}〔2020",
    f"{FILL}.\nSigned,",
    f"{FILL}.\nYours sincerely,\nSigned by:",
    f"{FILL}.\nSigned,\nJohn Smith of the",
    f"{FILL}.\nSincerely,\nthe tenant had paid the",
    f"{FILL}.\nBy contrast, the tenant",
    f"{FILL}.\nBest practice\nJohn Smith",
    f"{ES}.\nFdo.:",
    f"{ES}.\nAtentamente,",
    f"{ES}.\nMadrid, a 5 de",
    f"{ZH}。\n此致\n因为",
    f"{ES}:\nPrimero.- pagar\nSegundo.-",
    f"{ES}:\nPrimero.- pagar\nSegundo.- reparar el",
    f"{FILL}:\n1.1 the rent\n1.2 the",
]

ENDED_BY_A_NAME_OR_AN_ADDRESS = [
    f"{FILL}. — The Editor",
    f"{FILL}.” – Anna Smith",
    f"{FILL}. -- The Editors of Law Today",
    f"{ES}. — La Redacción",
    f"{ZH}。——编者",
    f"{ZH}。https://a.cn/x",
    f"{ZH}，详见https://a.cn/x",
    f"{FILL}.https://example.org/x",
    f"{FILL} :(",
]
BROKEN_AFTER_A_DASH = [f"{FILL}. — The", f"{FILL} — The Editor", f"{FILL}. — The tenant", f"{ZH}。——因为"]
OPENED = [
    "The tenant pays the rent (",
    "The tenant pays “",
    'The tenant pays "',
    "The tenant pays ‘",
    "El arrendatario paga (",
    "El arrendatario paga: «",
    "El arrendatario paga. ¿",
    "出租人应当提供房屋（",
    "出租人应当提供以下材料：（",
    "依据是《",
    "出租人应当提供房屋…《",
]
CLOSED = ["„Miete“", "„Czynsz”", "»Miete«", "the ‘rent rule’", 'a screen of 24 "', "I am sad :(", "“Yes,” “no”"]


@pytest.mark.parametrize(
    "text", [*ENDED, *ENDED_BY_WHAT_NO_SENTENCE_NEEDS, *ENDED_BY_A_NAME_OR_AN_ADDRESS], ids=lambda text: text[-40:]
)
def test_ended(text):
    assert unfinished(text, short=False) is None


@pytest.mark.parametrize("text", [*BROKEN, *BROKEN_BESIDE_THEM, *BROKEN_AFTER_A_DASH], ids=lambda text: text[-40:])
def test_broken_off(text):
    assert unfinished(text, short=False)


@pytest.mark.parametrize("text", ["", "Six years", "Sí", "三十日", "No."])
def test_a_short_text_may_be_a_phrase(text):
    assert unfinished(text, short=True) is None


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("text", OPENED)
def test_a_text_that_ends_in_an_opening_mark_goes_on(text, short):
    assert unfinished(text, short=short)


@pytest.mark.parametrize("text", CLOSED)
def test_a_short_text_may_end_in_a_closing_mark(text):
    assert unfinished(text, short=True) is None


@given(st.text(st.sampled_from("a ,.的“”"), max_size=20), st.sampled_from("([{（《【“「"))
def test_no_text_ends_in_an_opening_mark(text, mark):
    assert unfinished(f"{text} a {mark}", short=True)


@given(st.text(st.sampled_from("a .,:;|`\"'()[]《》“”1-\n\t…{}。的"), max_size=80), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_text_is_judged(text, short):
    why = unfinished(text, short)
    assert why is None or why
    if not short and why is None:
        assert unfinished(text, short=True) is None


@pytest.mark.parametrize(
    "part",
    [
        "</p>",
        "#a ",
        "\n---",
        "- ",
        "A",
        "A, ",
        "§",
        "art. 5 ",
        "Segundo.- ",
        "第五条",
        "1.",
        "(",
        "～",
        ". — A",
        "。——编",
    ],
)
def test_long_runs_are_judged_at_once(part):
    assert unfinished(part * 20_000 + "and the", short=False)

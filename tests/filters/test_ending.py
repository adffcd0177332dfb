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


@pytest.mark.parametrize("text", ENDED, ids=lambda text: text[-40:])
def test_ended(text):
    assert unfinished(text, short=False) is None


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[-40:])
def test_broken_off(text):
    assert unfinished(text, short=False)


@pytest.mark.parametrize("text", ["", "Six years", "Sí", "三十日", "No."])
def test_a_short_text_may_be_a_phrase(text):
    assert unfinished(text, short=True) is None


@given(st.text(st.sampled_from("a .,:;|`\"'()[]《》“”1-\n\t…{}。的"), max_size=80), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_text_is_judged(text, short):
    why = unfinished(text, short)
    assert why is None or why
    if not short and why is None:
        assert unfinished(text, short=True) is None

"""Personal data and credentials: every kind in its layouts, what looks like them and is none, how rows are masked."""

import dataclasses
import json
import re
from itertools import pairwise
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.privacy import ALL_KINDS, Privacy, mask
from filters.secrets import Secrets, entropy
from filters.text.personal import Kind, find
from stages.screen import Screen
from stages.storage.stats import ShardStats
from tests.factories.candidates import candidate

FOUND = [
    ("en", "email", "Write to Jane.Doe+law@mail.example.co.uk, please", "Jane.Doe+law@mail.example.co.uk"),
    ("en", "email", "jane (at) firm [dot] org", "jane (at) firm [dot] org"),
    ("zh", "email", "邮箱zhang_san@163.com。", "zhang_san@163.com"),
    ("zh", "email", "邮箱：ｌｉ＠ｑｑ．ｃｏｍ", "ｌｉ＠ｑｑ．ｃｏｍ"),
    ("en", "phone", "He called (212) 555-0123 twice", "(212) 555-0123"),
    ("en", "phone", "phone: 415.555.2671", "415.555.2671"),
    ("en", "phone", "her number +44 20 7946 0958", "+44 20 7946 0958"),
    ("en", "phone", "ring 07911 123456 (home)", "07911 123456"),
    ("en", "phone", "reach us at 617-555-0188 ext. 42", "617-555-0188 ext. 42"),
    ("en", "phone", "the office (020 7946 0958) was closed", "020 7946 0958"),
    ("en", "phone", "call 555-0123 before noon", "555-0123"),
    ("en", "phone", "+34 612 345 678 2019", "+34 612 345 678"),
    ("en", "phone", "CA 94041 1.800.239.5230, or", "1.800.239.5230"),
    ("es", "phone", "al 0034 91.131.22.55 o", "0034 91.131.22.55"),
    ("es", "phone", "llame al 612 34 56 78", "612 34 56 78"),
    ("es", "phone", "tel. 912345678", "912345678"),
    ("es", "phone", "en el 91 234 56 78 o", "91 234 56 78"),
    ("es", "phone", "su móvil es el +52 55 1234 5678", "+52 55 1234 5678"),
    ("zh", "phone", "手机13812345678，", "13812345678"),
    ("zh", "phone", "请拨打（０１０）６２３４５６７８", "（０１０）６２３４５６７８"),
    ("zh", "phone", "电话：0755-26543210。", "0755-26543210"),
    ("en", "ip", "from 93.184.216.34 at noon", "93.184.216.34"),
    ("en", "ip", "the IP address 8.8.4.4", "8.8.4.4"),
    ("en", "ip", "and 2606:4700:4700::1111.", "2606:4700:4700::1111"),
    ("en", "ssn", "SSN 536-22-8726", "536-22-8726"),
    ("en", "ssn", "social security number 536228726", "536228726"),
    ("es", "dni", "con DNI 12.345.678-Z y", "12.345.678-Z"),
    ("es", "dni", "NIE X1234567L", "X1234567L"),
    ("es", "curp", "CURP HEGG560427MVZRRL04", "HEGG560427MVZRRL04"),
    ("zh", "resident_id", "身份证号11010519491231002X", "11010519491231002X"),
    ("en", "nhs", "NHS number 943 476 5919", "943 476 5919"),
    ("en", "nino", "insurance number AB 12 34 56 C", "AB 12 34 56 C"),
    ("en", "aadhaar", "Aadhaar 2341 2341 2346", "2341 2341 2346"),
    ("en", "passport", "passport no. 123456789", "123456789"),
    ("zh", "passport", "护照号码：E12345678", "E12345678"),
    ("en", "card", "card 4111 1111 1111 1111 12/27", "4111 1111 1111 1111"),
    ("en", "card", "3782-822463-10005", "3782-822463-10005"),
    ("en", "iban", "to GB82 WEST 1234 5698 7654 32 NOW", "GB82 WEST 1234 5698 7654 32"),
    ("es", "iban", "ES9121000418450200051332", "ES9121000418450200051332"),
    ("en", "record", "MRN: 00482913.", "00482913"),
    ("en", "record", "patient ID is 445-99812-A", "445-99812-A"),
    ("es", "record", "historia clínica n.º 482913", "482913"),
    ("zh", "record", "住院号：ZY20230456，", "ZY20230456"),
]
NONE = {
    "en": """Case C-131/12|ECLI:EU:C:2014:317|42 U.S.C. § 1983|Regulation (EU) 2016/679|No. 1:09-cv-01234-ABC
    45 C.F.R. § 164.512|DFARS 252.227-7013|410 U.S. 113, 164-65 (1973)|HP:0001250|ICD-10 E11.9
    blood pressure 120/80|glucose 126 mg/dL|NCT01234567|PMID: 12345678|doi:10.1016/j.jclinepi.2009.06.005
    EC 3.4.21.68 and 1.14.13.39|section 12.3.4.1|500 mg|CAS 50-78-2|192.168.0.12|127.0.0.1|203.0.113.7
    2a02:8::/32|ISBN 978-3-16-148410-0|pages 1234-1250|1998-2004|2024-11-05T10:22:33|chr17:7668402-7687550
    95% CI 1.23-4.56|000-12-3456|666-12-3456|123-00-4567|4111 1111 1111 1112|GB82 WEST 1234 5698 7654 33
    medical record of 2019|patient 12345 of the study|HP:0001250, HP:0002133|100 200 300 400|icon@2x.png
    1,234,567,890""",
    "es": """artículo 24.2|Ley Orgánica 3/2018|STC 292/2000|BOE-A-2018-16673|612.345.678 euros|950 000 000 habitantes
    12345678A|historia clínica de 2019|presión 120/80|CIE-10 E11.9|entre 1998 y 2004|X1234567A
    expediente 2019/00345""",
    "zh": """（2021）京01民终4567号|国发〔2015〕12号|血压120/80mmHg|人民币13800000000元|110105194912310021|住院3天
    编号20231105004|国药准字H20123456|GB/T 35273-2020|白细胞7.5×10^9/L|第4.2.1.3节""",
}


@pytest.mark.parametrize(("language", "kind", "text", "item"), FOUND)
def test_every_kind_is_found_in_its_layouts(language, kind, text, item):
    assert [(text[start:end], of) for start, end, of in find(text, language, frozenset(ALL_KINDS))] == [(item, kind)]


def test_no_kind_is_without_an_example():
    assert {kind for _, kind, _, _ in FOUND} == set(get_args(Kind))


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language, of in NONE.items() for text in re.split(r"\||\n\s*", of)]
)
def test_what_is_public_is_left(language, text):
    assert mask(f"{text}.", language) == (f"{text}.", [])


def row(**changes):
    turns = [
        {"role": "user", "content": "Whose number is 617-555-0188?"},
        {"role": "assistant", "content": "It is Jane's (jane@firm.org); 617-555-0188 is at home.\r\n"},
    ]
    text = "\n\n".join(turn["content"] for turn in turns)
    return candidate(text, messages=turns, rejected="Ask jane@firm.org.", **changes)


def test_all_that_is_published_is_masked_and_counted_once():
    (verdict,) = Privacy()([row()])
    masked = verdict.row
    assert verdict.reason is None
    assert verdict.findings == ("phone", "email", "phone", "email")
    assert [turn["content"] for turn in masked.messages] == [
        "Whose number is [PHONE]?",
        "It is Jane's ([EMAIL]); [PHONE] is at home.\r\n",
    ]
    assert masked.text == "\n\n".join(turn["content"] for turn in masked.messages)
    assert masked.rejected == "Ask [EMAIL]."
    changed = {name for name in vars_of(masked) if vars_of(masked)[name] != vars_of(row())[name]}
    assert changed == {"text", "messages", "rejected"}
    assert Privacy()([masked])[0].row is None


def vars_of(of):
    return {field.name: getattr(of, field.name) for field in dataclasses.fields(of)}


@pytest.mark.parametrize("options", [{"action": "drop"}, {"drop": ("email",)}])
def test_a_drop_names_kinds_and_never_what_it_found(options):
    (verdict,) = Privacy(**options)([row()])
    assert (verdict.reason, verdict.detail) == ("privacy", "email, phone")
    assert "jane@" not in json.dumps(vars_of(verdict.row))


def test_kinds_that_are_not_named_are_left():
    (verdict,) = Privacy(kinds=("phone",), drop=("email",))([row()])
    assert verdict.reason is None
    assert verdict.findings == ("phone", "phone")
    assert "jane@firm.org" in verdict.row.text


@given(
    st.lists(st.sampled_from([item for *_, item in FOUND] + list(" .,-:/()+0123456789\n是A@")), max_size=12),
    st.sampled_from(["en", "es", "zh"]),
)
@settings(max_examples=200, deadline=None)
def test_masking_twice_is_masking_once_and_touches_nothing_else(parts, language):
    text = "".join(parts)
    masked, found = mask(text, language)
    assert mask(masked, language) == (masked, [])
    assert len(re.findall(r"\[[A-Z_]+\]", masked)) <= len(found)
    kept = re.split("|".join(rf"\[{kind.upper()}\]" for kind in ALL_KINDS), masked)
    place = 0
    for piece in kept:
        place = text.index(piece, place) + len(piece)


@given(st.text("0123456789 -.()+/@:aAxX是", max_size=120))
@settings(max_examples=300, deadline=None)
def test_findings_stand_apart_and_in_order(text):
    found = find(text, "en", frozenset(ALL_KINDS))
    assert all(0 <= start < end <= len(text) for start, end, _ in found)
    assert all(left[1] <= right[0] for left, right in pairwise(found))


@pytest.mark.parametrize("label", ["SSN", "Aadhaar", "MRN", "card", "call"])
@given(number=st.integers(0, 10**12))
@settings(max_examples=60, deadline=None)
def test_any_number_after_a_label_is_judged(label, number):
    masked, _ = mask(f"{label} {number} x", "en")
    assert masked.startswith(label)
    assert masked.endswith(" x")


SECRETS = [
    ("private_key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"),
    ("aws_key", "AKIA" + "Q7R2" * 4),
    ("google_key", "AIza" + "Sy-d3" * 7),
    ("github_token", "ghp_" + "a1B2" * 9),
    ("gitlab_token", "glpat-" + "x9Yz-" * 4),
    ("slack_token", "xoxb-" + "123456789012-abc"),
    ("openai_key", "sk-proj-" + "aB3_" * 8),
    ("anthropic_key", "sk-ant-" + "api03-" + "aB3_" * 6),
    ("stripe_key", "sk_live_" + "4eC39HqLyjWDarjt"),
    ("huggingface_token", "hf_" + "aBcDeF1234" * 3),
    ("registry_token", "npm_" + "a1B2" * 9),
    ("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"),
    ("url_password", "postgres://admin:s3cr3tpa55@db.host:5432/x"),
    ("password", "password: hunter2!x"),
    ("password", "DB_PASSWORD='correct7horse'"),
    ("password", "contraseña: S3creta!9"),
    ("password", "密码：Abc12345。"),
    ("key", "api_key = 'f3J8kLq92mZx7PdR4tVb'"),
    ("key", "密钥是f3J8kLq92mZx7PdR4tVb"),
]


@pytest.mark.parametrize(("kind", "text"), SECRETS)
def test_secrets_drop_and_are_not_repeated(kind, text):
    (verdict,) = Secrets()([candidate(f"Use this: {text}", rejected=text)])
    assert (verdict.reason, kind in verdict.detail) == ("secret", True)
    for part in re.findall(r"[A-Za-z0-9_!+/\-]{10,}", text.split("=")[-1].split("：")[-1].split("://")[-1]):
        assert part in ("PRIVATE", "postgres") or part not in json.dumps([verdict.row.text, verdict.detail]), part
    assert "[SECRET]" in verdict.row.rejected


@pytest.mark.parametrize(
    "text",
    [
        "The password must be at least 8 characters long and hold 1 digit.",
        "password: ${DB_PASSWORD} or password=<your-password>",
        "A trade secret is information of 1996-identified value; a secret ballot; the token of 2019.",
        "api_key = 'your_api_key_goes_here'",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "ECLI:EU:C:2014:317, NCT01234567, doi:10.1016/j.jclinepi.2009.06.005",
        "The access key: the right of access (Article 15) and its limits.",
        "smb://user:password@server/share",
        "La contraseña es personal; 密码应当定期更换。",
    ],
)
def test_what_only_speaks_of_secrets_passes(text):
    assert Secrets()([candidate(text)])[0].reason is None


def test_a_secret_in_any_turn_drops():
    turns = [{"role": "user", "content": "key " + SECRETS[3][1]}, {"role": "assistant", "content": "Fine."}]
    (verdict,) = Secrets()([candidate("Fine.", messages=turns)])
    assert verdict.reason == "secret"
    assert "ghp_" not in json.dumps(verdict.row.messages)


def test_entropy():
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2


def test_no_reject_holds_what_a_filter_masked():
    rejects = []
    out = SimpleNamespace(reject=lambda rows, **_: rejects.extend(rows), stats=ShardStats())
    body = Screen(list, (), Privacy().redact)
    kept = body._apply(SimpleNamespace(stage="screen"), "privacy", Privacy(action="drop"), [row()], out)
    assert (kept, [reject["reason"] for reject in rejects]) == ([], ["privacy"])
    assert "jane@" not in json.dumps(rejects)

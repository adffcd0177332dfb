"""The shipped policy streams what the data engine's filters make of the whole text, however the text is cut."""

import itertools
import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from filters.privacy import Privacy
from filters.safety import Safety, folded
from filters.secrets import Secrets
from model.serve.sandbox import GuardPolicy, Release
from model.serve.sandbox.folding import folded_with_places
from model.serve.sandbox.pattern_scanner import MAX_HELD_CHARS
from pipeline.serving.policies import load_policies
from tests.factories.candidates import candidate

CASES = Path(__file__).parents[2] / "filters" / "cases"
MAX_CHARS_OF_PAIRS = 32  # of texts that are cut at two places
HARMLESS = {
    "en": "The court found that both parties had signed a fair agreement before witnesses came forward in spring",
    "es": "La sentencia recoge que ambas partes firmaron un acuerdo justo antes de comenzar aquel largo verano",
    "zh": "法院认为双方当事人在春天签订了公平合理的书面协议，随后证人也到庭作证。",
}


@cache
def policy() -> GuardPolicy:
    return load_policies("").default


def cases(file: str) -> list[tuple[str, str]]:
    """Language and text of the hand-made cases of a filter."""
    content = yaml.safe_load((CASES / f"{file}.yaml").read_text("utf-8"))
    groups = [content["pass"], *content.get("drop", {}).values(), *content.get("find", {}).values()]
    return [(language, text) for group in groups for language, texts in group.items() for text in texts]


TEXTS = [(file, *case) for file in ("privacy", "secrets", "safety") for case in cases(file)]


def streamed(pieces: list[str], of_policy: GuardPolicy | None = None) -> Release:
    guard = (of_policy or policy()).guard()
    releases = [*map(guard.feed, pieces), guard.finish()]
    masked = tuple(span for release in releases for span in release.masked)
    last = releases[-1]
    return Release("".join(release.text for release in releases), last.source_end, masked, last.blocked)


def filtered(text: str) -> Release:
    """What the findings of the whole text make of it."""
    findings = [finding for scanner in policy().scanners for finding in scanner.scan(text)]
    block = min((one for one in findings if one.action == "block"), key=lambda one: one.start, default=None)
    end = block.start if block else len(text)
    parts, masked, position = [], [], 0
    for finding in sorted((one for one in findings if one.action == "mask"), key=lambda one: one.start):
        if finding.end > end:
            end = min(end, finding.start)
            break
        parts.append(f"{text[position : finding.start]}[{finding.kind.upper()}]")
        masked.append((finding.start, finding.end))
        position = finding.end
    return Release("".join([*parts, text[position:end]]), end, tuple(masked), block.kind if block else None)


@pytest.mark.parametrize(("file", "language", "text"), TEXTS)
def test_every_cut_of_every_case(file, language, text):
    expected = filtered(text)
    assert policy().filter(text) == expected
    for cut in range(len(text) + 1):
        assert streamed([text[:cut], text[cut:]]) == expected
    assert streamed(list(text)) == expected
    if len(text) <= MAX_CHARS_OF_PAIRS:
        for first, second in itertools.combinations(range(1, len(text)), 2):
            assert streamed([text[:first], text[first:second], text[second:]]) == expected


@pytest.mark.parametrize(("file", "language", "text"), TEXTS)
def test_the_scanners_find_what_the_filters_find(file, language, text):
    row = candidate(text, language, domain="law")
    release = policy().filter(text)
    kinds = [finding.kind for scanner in policy().scanners for finding in scanner.scan(text)]
    (private,), (secret,), (unsafe,) = (judge([row]) for judge in (Privacy(), Secrets(), Safety()))
    assert release.blocked in (None, unsafe.detail, *secret.findings)
    assert bool(release.blocked) == bool(secret.reason or unsafe.reason)
    assert set(private.findings) <= set(kinds)  # more where another language's labels count
    if release.blocked is None:
        assert release.text == Privacy().redact(text, "")


@pytest.mark.parametrize(("file", "language", "text"), TEXTS)
def test_nothing_forbidden_has_left_at_any_moment(file, language, text):
    """After each character: nothing of a finding has left, and all before what may become one has."""
    findings = [finding for scanner in policy().scanners for finding in scanner.scan(text)]
    guard, sent = policy().guard(), ""
    for position, char in enumerate(text):
        release = guard.feed(char)
        sent += release.text
        for finding in findings:
            assert release.source_end <= finding.start or (finding.end <= release.source_end)
            assert finding.action == "mask" or release.source_end <= finding.start
            assert text[finding.start : finding.end] not in sent
        assert release.blocked or position + 1 - release.source_end <= MAX_HELD_CHARS


PARTS = [part for _, _, text in TEXTS for part in re.findall(r"\S+|\s+", text)]
GLUE = [
    " ",
    "\n",
    ". ",
    "",
    "-",
    ",",
    "。",
    ":",
    "@",
    "(at)",
    " (dot) ",
    "x",
    "０",
    "é",
    "e\u0301",
    "\u200b",
    " ext. 12",
]
GLUE += [" USD", " million", "/", "\u00a0", "   ", "1", "22", "333", "4444"]
MIXTURES = st.lists(st.sampled_from(PARTS) | st.sampled_from(GLUE) | st.sampled_from([text for *_, text in TEXTS]))


@given(MIXTURES.map("".join), st.lists(st.integers(1, 9), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_mixtures_in_any_pieces(text, lengths):
    expected = filtered(text)
    pieces, position = [], 0
    for length in itertools.cycle(lengths):
        if position >= len(text):
            break
        pieces.append(text[position : position + length])
        position += length
    assert streamed(pieces) == policy().filter(text) == expected


@pytest.mark.parametrize("language", HARMLESS)
def test_ordinary_words_leave_one_token_later(language):
    text = HARMLESS[language]
    tokens = list(text) if language == "zh" else re.findall(r" ?\w+|\W", text)
    guard, before = policy().guard(), 0
    for token in tokens:
        assert guard.feed(token).source_end >= before
        before += len(token)
    assert guard.finish().source_end == len(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Write to jane.doe@exam", "Write to "),
        ("Call 617-555-01", "Call "),
        ("He paid 617-555-0188 milli", "He paid "),
        ("The password is hunter", "The password is "),
        ("token: ghp_0123", "token: "),
        ("a risk-free sk-", "a risk-free "),
        ("Medical record no. 4829", "Medical record no. "),
        ("Here is how to make a pip", "Here is "),
        ("You should just kill yourself, he ", "You should "),
        ("如何在家制作冰毒，", ""),
        ("密码：abc123", "密码："),
        ("The year 2019 was ", "The year 2019 "),
    ],
)
def test_what_is_held(text, left):
    guard = policy().guard()
    assert "".join(guard.feed(char).text for char in text).rstrip() == left.rstrip()


def test_a_mention_later_in_the_sentence_lets_it_leave():
    text = "Steps to make methamphetamine were shown to the jury. More"
    assert policy().filter(text) == Release(text, len(text))
    assert streamed(list(text)) == Release(text, len(text))
    blocked = streamed(list("Steps to make methamphetamine were shown to all. The jury"))
    assert (blocked.text, blocked.blocked) == ("", "drug_synthesis")


@pytest.mark.parametrize(
    "text", ["Tel.: 55 1234 5678", "Teléfono: 11 4345 6789", "电话：2345 6789", "Phone: 02 9876 5432"]
)
def test_the_language_of_a_stream_need_not_be_known(text):
    assert streamed(list(text)).text.endswith("[PHONE]")


@pytest.mark.parametrize(
    "text",
    [
        ")6()+2(5-4)66971 1 6+98)7 3 2 /1.(6139",
        "jane@example.org+34 612 345 678",
        "jane@example.org+34 612 345 678+34 612 345 678",
        "4111 1111 1111 1111+34 612 345 678 x",
        "(617) 555-0188(617) 555-0188",
    ],
)
def test_what_a_mask_reveals_is_masked_too(text):
    """A number that is glued to another finding counts once that is masked."""
    expected = filtered(text)
    assert expected.text == Privacy().redact(text, "")
    for cut in range(len(text) + 1):
        assert streamed([text[:cut], text[cut:]]) == expected
    assert streamed(list(text)) == expected


def test_choices_are_independent():
    guards = [policy().guard() for _ in range(3)]
    texts = ["Write to jane@example.org now.", "The password is hunter2!x now.", "Nothing is to be seen in here."]
    sent = ["", "", ""]
    for position in range(30):
        for index, (guard, text) in enumerate(zip(guards, texts, strict=True)):
            sent[index] += guard.feed(text[position : position + 1]).text
    ends = [guard.finish() for guard in guards]
    assert [before + end.text for before, end in zip(sent, ends, strict=True)] == [
        "Write to [EMAIL] now.",
        "The password is ",
        texts[2],
    ]
    assert [end.blocked for end in ends] == [None, "password", None]


@given(MIXTURES.map("".join))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_folding_letter_by_letter_is_folding(text):
    plain, starts, ends = folded_with_places(text, folded)
    assert plain == folded(text)
    assert all(text[start:end] and folded(text[start:end]) for start, end in zip(starts, ends, strict=True))


def policy_file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, "utf-8")
    return str(path)


OWN = """
classes:
  advice: {phrases: {en: [you should sue]}}
domains:
  law: {allow: [advice]}
"""


def test_a_policy_of_ones_own(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN, "utf-8")
    text = f"""
filters:
  - {{name: privacy, drop: [iban], kinds: [email, iban]}}
  - {{name: safety, policy: {tmp_path / "own.yaml"}}}
prompts: block
policies:
  lawyers: {{filters: [{{name: safety, policy: {tmp_path / "own.yaml"}}}], domain: law}}
  strict: {{filters: [{{name: privacy, action: drop}}]}}
models: {{law: lawyers}}
"""
    policies = load_policies(policy_file(tmp_path, text))
    default, lawyers, strict = policies.default, policies.select("law@0123456789ab"), policies.select("law", "strict")
    assert default.filter("Ask jane@example.org on 617-555-0188.").text == "Ask [EMAIL] on 617-555-0188."
    assert default.filter("To ES91 2100 0418 4502 0005 1332.") == Release("To ", 3, (), "iban")
    assert default.filter("So you should sue.") == Release("So ", 3, (), "advice")
    assert default.filter("password: hunter2!x").blocked is None
    assert lawyers.filter("So you should sue jane@example.org.").text == "So you should sue jane@example.org."
    assert strict.filter("Ask jane@example.org.") == Release("Ask ", 4, (), "email")
    assert default.check_prompt("Should I ask jane@example.org?") == "email"
    assert lawyers.check_prompt("jane@example.org") is None
    assert strict.check_prompt("jane@example.org") is None  # prompts: pass


def test_no_filters_at_all(tmp_path):
    policies = load_policies(policy_file(tmp_path, "filters: []"))
    assert (
        policies.default.filter("password: hunter2!x jane@example.org").text == "password: hunter2!x jane@example.org"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filtres: []", "mine.yaml: filtres: unknown key, did you mean 'filters'?"),
        ("filters: [{name: privcy}]", "filters: 'privcy' cannot filter a stream; did you mean privacy?"),
        ("filters: [{name: length}]", "'length' cannot filter a stream; there are secrets, privacy, safety"),
        ("filters: [{name: privacy}, {name: privacy}]", "named twice: privacy"),
        (
            "filters: [{name: privacy, acton: mask}]",
            "filters[0].acton: unknown option; privacy has action, kinds, drop",
        ),
        ("filters: [{name: secrets}, {name: privacy, action: hide}]", "filters[1].action"),
        ("filters: [{name: safety, policy: none.yaml}]", "filters[0].policy: none.yaml: cannot be read"),
        ("prompts: mask", "prompts"),
        ("policies: {a: {filters: [{name: privacy, action: x}]}}", "policies.a.filters[0].action"),
        ("policies: {strict: {}}\nmodels: {law: strct}", "models.law: no policy 'strct'; did you mean strict?"),
        ("models: {law: strict}", "no policy 'strict'; there are none"),
        ("policies: {strict: {promts: block}}", "policies.strict.promts: unknown key, did you mean 'prompts'?"),
        ("- privacy", "mine.yaml: a mapping was expected"),
    ],
)
def test_wrong_files_are_refused_with_the_key(tmp_path, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_policies(policy_file(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_policies(str(tmp_path / "none.yaml"))

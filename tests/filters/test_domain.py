"""The domain filter on heads trained here, and the cache that lets filters share an embedding."""

import json
import random

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.schema import FilterSpec
from filters.build import build_filters
from filters.heads.cached_encoder import CachedEncoder
from filters.heads.domain_training import train_domains
from filters.heads.examples import Example
from filters.heads.head import DomainHead, QualityHead
from tests.factories.candidates import candidate
from tests.factories.encoders import BagOfPairs

LAW = "the court grants the claim of the tenant against the owner under the lease and the statute of that state"
MEDICINE = "a patient with fever and rash received ten milligrams of the drug and the wound healed after surgery"
GENERAL = "install the package then open the network settings and restart the server to load the new kernel"


def page(vocabulary: str, number: int) -> str:
    rng = random.Random(number)
    return " ".join(rng.choice(vocabulary.split()) for _ in range(40)) + "."


def pages() -> list[Example]:
    made = []
    for number in range(120):
        for domain, vocabulary in (("law", LAW), ("medicine", MEDICINE), ("general", GENERAL)):
            source = f"{domain}-{number % 2}"
            made.append(Example(page(vocabulary, number), 1, "", source, domain, "en", number))
            made.append(Example("spoilt", 0, "vague", source, domain, "en", number))
        made.append(Example(page(GENERAL, 500 + number), 1, "", f"general-{number % 2}", "general", "es", number))
    return made


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "domain.json"
    return path, train_domains(pages(), BagOfPairs(), path, 17)


def test_each_domain_is_told_from_the_rest_on_sources_left_out(head) -> None:
    path, report = head
    assert {row["group"] for row in report if "language" not in row["group"]} == {"domain law", "domain medicine"}
    assert all(row["auc"] > 0.95 for row in report)
    card = DomainHead.read(str(path)).card
    assert card["pages"] == {"general": 240, "law": 120, "medicine": 120}
    assert DomainHead.read(str(path)).abstains == {"law": ["es"], "medicine": ["es"]}, "no such pages in Spanish"


def test_rows_of_another_domain_are_dropped(head) -> None:
    ((_, judge),) = build_filters([FilterSpec(name="domain", head=str(head[0]))], BagOfPairs)
    rows = [
        candidate(page(LAW, 900), domain="law"),
        candidate(page(MEDICINE, 901), domain="law"),
        candidate(page(GENERAL, 902), domain="medicine"),
        candidate(page(GENERAL, 903), domain="poetry"),
        candidate("Six.", domain="law"),
        candidate(page(GENERAL, 904), "es", domain="law"),
    ]
    verdicts = judge(rows)
    assert [verdict.reason for verdict in verdicts] == [None, "off_domain", "off_domain", None, None, None]
    assert verdicts[0].score > verdicts[1].score
    assert verdicts[3].score is verdicts[4].score is verdicts[5].score is None
    assert judge([]) == []


def test_one_domain_alone_gives_no_head(tmp_path) -> None:
    law = [row for row in pages() if row.domain == "law"]
    assert train_domains(law, BagOfPairs(), tmp_path / "x.json", 17) == []
    assert not (tmp_path / "x.json").exists()


def test_a_head_that_does_not_fit_is_refused(head, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"screen\.filters\[0\]\.head: no such file"):
        build_filters([FilterSpec(name="domain", head=str(tmp_path / "none.json"))], BagOfPairs)
    other = json.loads(head[0].read_text()) | {"encoder_sha256": "2" * 64}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match="trained on pairs with weights 2222"):
        build_filters([FilterSpec(name="domain", head=str(tmp_path / "other.json"))], BagOfPairs)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not a domain head"):
        build_filters([FilterSpec(name="domain", head=str(tmp_path / "broken.json"))], BagOfPairs)


class Counting(BagOfPairs):
    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts, depths=(1.0,)):
        self.asked += texts
        return super().encode(texts, depths)


def test_what_was_embedded_is_not_embedded_again() -> None:
    encoder = Counting()
    cached = CachedEncoder(encoder, max_texts=3)
    texts = ["one two", "three four", "one two"]
    first = cached.encode(texts)
    assert encoder.asked == ["one two", "three four"]
    assert np.array_equal(first, BagOfPairs().encode(texts))
    assert np.array_equal(cached.encode(["three four"]), first[1:2])
    assert len(encoder.asked) == 2
    cached.encode(["three four"], (0.5, 1.0))
    assert encoder.asked[2:] == ["three four"], "another depth is another vector"
    cached.encode(["a", "b", "c", "d"])
    cached.encode(["one two"])
    assert encoder.asked[-1] == "one two", "only so many are kept"
    assert cached.encode([]).shape[0] == 0


@pytest.mark.parametrize("encoder", ["multilingual-e5-small", "all-minilm-l6-v2"])
def test_the_shipped_heads_judge_only_where_they_were_measured(encoder: str) -> None:
    quality, domain = QualityHead.read(encoder), DomainHead.read(encoder)
    assert quality.encoder_sha256 == domain.encoder_sha256
    held_out = {row["group"]: row["auc"] for row in quality.card["report"] if row["split"] == "held_out"}
    assert all(held_out[f"language {language}"] >= 0.75 for language in quality.limits if " " not in language)
    measured = {row["group"]: row["auc"] for row in domain.card["report"]}
    for name, languages in domain.abstains.items():
        for language in ("en", "es", "zh"):
            auc = measured.get(f"domain, language {name} {language}", 0.0)
            assert (auc < 0.75) == (language in languages), (name, language)

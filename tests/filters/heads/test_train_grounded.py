"""`gristmill filter train grounded` and `filter evaluate grounded`, on two small sources."""

import json

import pytest

from filters.heads.grounded.verifier_card import VerifierCard
from tests.factories.command_line import call
from tests.factories.documents import FACTUAL_TEXTS as TEXTS
from tests.factories.documents import write_config

pytestmark = pytest.mark.weights


@pytest.fixture
def config(tmp_path):
    for name in "ab":
        rows = [{"text": f"Part {name}. {text} It ends with part {number}."} for number, text in enumerate(TEXTS[:1])]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [f"{{path: {tmp_path}/{name}.jsonl, licence: MIT}}" for name in "ab"]
    return ["--config", write_config(tmp_path, tmp_path), "--set", f"domains.law.seeds=[{', '.join(sources)}]"]


def test_a_verifier_is_trained_and_evaluated(tmp_path, config):
    labels = tmp_path / "labels.jsonl"
    rows = [{"passage": f"The fine is {n} euros.", "answer": f"A fine of {n + n % 2} euros."} for n in range(8)]
    labels.write_text(
        "".join(
            json.dumps(row | {"faithful": 1 - n % 2, "domain": "law", "generator": "g"}) + "\n"
            for n, row in enumerate(rows)
        )
    )
    verifier = tmp_path / "verifier"
    done = call("filter", "train", "grounded", *config, "--head", verifier, "--labels", labels, "--json")
    assert done.code == 0, done.err
    assert done.line["limits"] == {"g law en": None}
    assert VerifierCard.read(verifier).card["kinds"]["removed"] > 0
    flags = ["--labels", labels, "--head", verifier, "--to", tmp_path / "out"]
    done = call("filter", "evaluate", "grounded", *config, *flags, "--json")
    assert done.code == 0, done.err
    assert done.line["labels"][0]["rows"] == 8
    assert "| all | 8 | 4 |" in (tmp_path / "out" / "evaluation.md").read_text("utf-8")


def test_what_cannot_be_measured_or_read_is_an_error(tmp_path, config):
    refused = call("filter", "evaluate", "grounded", *config, "--to", tmp_path / "out")
    assert refused.code == 1
    assert "nothing to measure" in refused.err
    refused = call("filter", "train", "grounded", *config, "--labels", tmp_path / "none.jsonl")
    assert refused.code == 1
    assert "cannot read" in refused.err

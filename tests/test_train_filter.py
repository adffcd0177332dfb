"""`gristmill filter train` on the real encoder: a head is written, its AUCs are printed, and the filter takes it."""

import json
from types import SimpleNamespace

import pytest
from conftest import gristmill, passage, write_config, write_documents

from configs.errors import InputError
from configs.load import load
from filters.quality import Head
from pipeline import train_filter


def test_a_head_is_trained_and_reported(tmp_path):
    for name, numbers in (("a", range(12)), ("b", range(100, 112))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": passage(n)}) + "\n" for n in numbers))
    config = write_config(tmp_path, tmp_path)
    sources = [f"{{path: {tmp_path}/{name}.jsonl, licence: MIT}}" for name in "ab"]
    flags = ["--set", f"domains.law.seeds=[{', '.join(sources)}]", "--per-source", 12, "--head", tmp_path / "head.json"]
    encoder = ["--set", "screen.encoder={model: all-minilm-l6-v2}"]
    done = gristmill("filter", "train", "--config", config, "--json", *flags, *encoder)
    assert done.code == 0, done.err
    assert {row["split"] for row in done.line["report"]} == {"in_source", "held_out", "unseen_kind"}
    head = Head.read(str(tmp_path / "head.json"))
    assert head.encoder == "all-minilm-l6-v2"
    assert head.card["pages"] == 24
    assert "AUC" in gristmill("filter", "train", "--config", config, *flags, *encoder).out
    refused = gristmill("filter", "train", "--config", config, *flags)
    assert refused.code == 2
    assert "screen.encoder: missing" in refused.err


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config whose encoder is never opened."""
    card = SimpleNamespace(name="none")
    monkeypatch.setattr("model.encoder.open_encoder", lambda *_: SimpleNamespace(card=card, encode=None))
    file = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(2)))
    return load(str(file), ["screen.encoder={model: none}"])


def test_a_group_without_both_kinds_has_a_dash(config, tmp_path, monkeypatch, capsys):
    row = {"split": "held_out", "group": "language es", "rows": 3, "auc": None, "auc_length": 0.5, "auc_distinct": None}
    monkeypatch.setattr(train_filter, "train_and_report", lambda *_: [row])
    monkeypatch.setattr(train_filter, "train_domains", lambda *_: [])
    assert train_filter.train(config, str(tmp_path / "h.json"), 2, as_json=False) == 0
    out = capsys.readouterr().out
    assert out.count("–") == 2
    assert "0.500" in out


def test_a_head_that_cannot_be_written_is_named(config, tmp_path, monkeypatch):
    head = tmp_path / "d.jsonl" / "folder" / "h.json"  # below a file
    monkeypatch.setattr(train_filter, "train_and_report", lambda *a: a[3].parent.mkdir(parents=True))
    with pytest.raises(InputError, match=r"^--head: cannot write .*h\.json"):
        train_filter.train(config, str(head), 2, as_json=False)

"""`gristmill filter train` on the real encoder: a head is written, its AUCs are printed, and the filter takes it."""

import json

from conftest import gristmill, passage, write_config

from filters.quality import Head


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

"""Evaluation: figures against hand computations, windows that count each token once, groups, and what is refused."""

import json
import math
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories.documents import passage

torch = pytest.importorskip("torch")
from configs.errors import ConfigError, InputError  # noqa: E402
from model.data.shards import HeldOutRule, read_texts  # noqa: E402
from model.data.tokenize import tokenize  # noqa: E402
from model.evaluation import held_out, lm_eval_tasks, passkey  # noqa: E402
from model.evaluation.evaluated_model import EvaluatedModel  # noqa: E402
from model.evaluation.groups import dense_twin, group_models  # noqa: E402
from model.evaluation.loaded_model import LoadedModel  # noqa: E402
from model.evaluation.options import EvaluationOptions  # noqa: E402
from model.evaluation.perplexity import Score, score, windows  # noqa: E402
from model.evaluation.seeds import mean_and_error, ratio_and_error  # noqa: E402
from model.evaluation.unigram import Unigram  # noqa: E402
from model.lm import DsaConfig, DsaForCausalLM  # noqa: E402
from pipeline.cli import main  # noqa: E402
from stages.sources.documents import Document  # noqa: E402

pytestmark = pytest.mark.weights
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "gate_dim": 8, "block": 4, "top": 5}


# --- perplexity ------------------------------------------------------------------------------------------------------
@given(st.integers(0, 300), st.integers(1, 40), st.data())
@settings(deadline=None)
def test_windows_count_each_prediction_once(count, window, data):
    stride = data.draw(st.integers(1, window))
    counted = []
    for place, (begin, first, end) in enumerate(windows(count, window, stride)):
        assert 0 <= begin <= first < end <= count
        assert end - begin <= window
        assert place == 0 or first - begin >= window - stride  # context of the first that counts
        counted += range(first, end)
    assert counted == list(range(count))


@pytest.mark.parametrize("stride", [0, 9])
def test_a_stride_outside_the_window_is_refused(stride):
    with pytest.raises(ConfigError, match="--stride"):
        list(windows(20, 8, stride))


def test_bits_per_byte_by_hand():
    # 2 documents; 6 predicted tokens of 2 bits each, 2 first ones of log2(16) = 4 bits: 20 bits over 10 bytes
    result = Score(nats=6 * 2 * math.log(2), tokens=6, documents=2, bytes=10, vocabulary=16)
    assert result.bits_per_byte == pytest.approx(2.0)
    assert result.perplexity == pytest.approx(4.0)


def network(**changes):
    torch.manual_seed(0)
    return DsaForCausalLM(DsaConfig(vocab_size=64, eos_token_id=0, **SIZES | changes)).eval()


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(attention):
    model = network(attention=attention)
    torch.nn.init.zeros_(model.embed_tokens.weight)  # tied: all logits are 0
    documents = [list(range(1, 60)), [5], [7, 8]]
    result = score(model, documents, 124, window=16, stride=8)
    assert result.perplexity == pytest.approx(64, rel=1e-5)
    assert (result.tokens, result.documents) == (58 + 0 + 1, 3)
    assert result.bits_per_byte == pytest.approx(62 * 6 / 124, rel=1e-5)


@pytest.mark.parametrize(("window", "stride"), [(64, 64), (16, 4), (7, 7)])
def test_windows_give_what_the_model_says_of_each_token(window, stride):
    model = network(attention="dense")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    documents = [torch.randint(64, (length,), generator=generator).tolist() for length in (40, 3, 17)]
    nats = 0.0
    for document in documents:
        for begin, first, end in windows(len(document) - 1, window, stride):
            logits = model(torch.tensor([document[begin:end]]), use_cache=False).logits[0].log_softmax(-1)
            nats -= sum(float(logits[at - begin, document[at + 1]]) for at in range(first, end))
    result = score(model, documents, 1, window, stride)
    assert result.nats == pytest.approx(nats, rel=1e-5)
    assert result.tokens == 39 + 2 + 16


def test_unigram_by_hand():
    result = Unigram(iter([[0, 0, 1], [0]]), 4).score([[3, 0, 2]], 5)  # counts 3 1 0 0, plus one each: of 8
    assert result.nats == pytest.approx(-math.log(4 / 8) - math.log(1 / 8))
    assert result.tokens == 2


# --- held-out text ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("domain", ["law", "medicine"])
def test_real_text_is_capped_and_no_document_comes_twice(domain):
    texts = held_out.read_corpora(domain, 50_000)
    assert 49_990 <= texts.bytes <= 50_000
    assert texts.bytes == sum(len(text.encode()) for text in texts.documents)
    assert len(set(texts.documents)) == len(texts.documents)
    assert len(texts.sources) > 2
    assert not any("Context (1)" in text for text in texts.documents)


def test_text_is_cut_between_characters():
    texts = held_out.HeldOutText("x", [])
    assert texts.add("abc", 5)
    assert not texts.add("§§", 5)
    assert (texts.documents, texts.bytes) == (["abc", "§"], 5)


def test_a_domain_without_held_out_text_is_named():
    with pytest.raises(InputError, match=r"--domains: no held-out text for 'finance', only for general, law, medicine"):
        held_out.read_corpora("finance", 1000)


# --- retrieval -------------------------------------------------------------------------------------------------------
def encode(text: str) -> list[int]:
    return list(text.encode())


class Reader:
    """A network of bytes that finds the key in its text, if it knows how to."""

    device = torch.device("cpu")

    def __init__(self, knows: bool) -> None:
        self.knows, self.lengths = knows, []

    def __call__(self, ids, use_cache, logits_to_keep):
        text = bytes(ids[0].tolist()).decode()
        self.lengths.append(len(text) + 1)
        key = text.split(passkey.BEFORE_KEY, 1)[1].split(passkey.AFTER_KEY)[0] if self.knows else "x" * logits_to_keep
        logits = torch.zeros(1, logits_to_keep, 256)
        for place, byte in enumerate(key.encode()):
            logits[0, place, byte] = 50.0
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("knows", [True, False])
def test_keys_are_found_by_one_who_knows_them(knows):
    reader = Reader(knows)
    filler = encode("A clause of the lease. " * 60)
    cells = passkey.retrieve(reader, encode, filler, 700, trials=2, seed=1, watch=lambda _: None)
    assert [(cell.length, cell.depth) for cell in cells] == [(L, d) for L in (256, 512) for d in passkey.DEPTHS]
    assert reader.lengths == [256] * 10 + [512] * 10
    assert {cell.keys_found for cell in cells} == {2 if knows else 0}
    assert all((cell.nats < 1e-6) == knows for cell in cells)
    results = passkey.sum_over_depths(cells)
    assert [(row.length, row.trials, row.share, row.error) for row in results] == [
        (256, 10, float(knows), 0.0),
        (512, 10, float(knows), 0.0),
    ]


def test_retrievals_standard_error_by_hand():
    cells = [passkey.Cell(256, 0.0, 4, 4, 1.0), passkey.Cell(256, 1.0, 4, 0, 3.0)]
    (result,) = passkey.sum_over_depths(cells)
    assert (result.share, result.nats) == (0.5, 2.0)
    assert result.error == pytest.approx(math.sqrt(0.25 / 8))


def test_a_key_stands_at_its_depth():
    filler = encode("." * 400)
    for depth, place in ((0.0, 0), (1.0, 1)):
        tokens, size = passkey.build_text(encode, filler, "amber lemon", 300, depth)
        text = bytes(tokens).decode()
        assert len(tokens) == 300
        assert text.endswith(" amber lemon")
        assert size == 12
        assert text.count("amber") == 2
        assert text.startswith(".") == bool(place)


@pytest.mark.parametrize(("length", "filler", "message"), [(20, 400, "--max-length"), (300, 10, "raise --bytes")])
def test_no_room_for_a_key(length, filler, message):
    with pytest.raises((ConfigError, InputError), match=message):
        passkey.build_text(encode, [0] * filler, "amber lemon", length, 0.5)


# --- groups ----------------------------------------------------------------------------------------------------------
def evaluated_model(name, attention="sparse", family="a", label=None):
    return EvaluatedModel(Path(name), attention, family, "16x1", label)


def test_models_that_differ_in_seed_alone_are_a_group():
    models = [
        evaluated_model("s1"),
        evaluated_model("d1", "dense"),
        evaluated_model("s2"),
        evaluated_model("d2", "dense"),
    ]
    groups = group_models(models)
    assert groups == {"sparse": [0, 2], "dense": [1, 3]}
    assert dense_twin(groups, models, "sparse") == dense_twin(groups, models, "dense") == "dense"


def test_labels_and_other_families():
    models = [
        evaluated_model("s1", label="ours"),
        evaluated_model("d1", "dense"),
        evaluated_model("t", "sparse", "b", "theirs"),
    ]
    groups = group_models(models)
    assert groups == {"ours": [0], "dense": [1], "theirs": [2]}
    assert dense_twin(groups, models, "ours") == "dense"
    assert dense_twin(groups, models, "theirs") is None
    with pytest.raises(ConfigError, match="two groups are both"):
        group_models([evaluated_model("s1"), evaluated_model("s2", family="b")])
    with pytest.raises(ConfigError, match="given twice"):
        group_models([evaluated_model("s1"), evaluated_model("s1")])


def test_means_errors_and_ratios_by_hand():
    assert mean_and_error([3.0]) == (3.0, None)
    mean, error = mean_and_error([8.0, 12.0])  # deviation √8, over √2
    assert (mean, error) == (10.0, pytest.approx(2.0))
    value, error = ratio_and_error([8.0, 12.0], [19.0, 21.0])
    assert value == 0.5
    assert error == pytest.approx(0.5 * math.hypot(2 / 10, 1 / 20))
    assert ratio_and_error([8.0], [16.0, 16.0]) == (0.5, None)


# --- tasks of lm-eval ------------------------------------------------------------------------------------------------
def test_questions_and_their_choices():
    listed = Document("Which?\nA. one\nB. two\nor three", "", "", answer="B. two\nor three")
    question = lm_eval_tasks.to_question(listed, ["A. one"] * 9)
    assert question == lm_eval_tasks.Question("Which?", ["one", "two\nor three"], 1)
    question = lm_eval_tasks.to_question(Document("A text.\nIs it?", "", "", answer="no"), ["maybe", "no", "yes"])
    assert question == lm_eval_tasks.Question("A text.\nIs it?", ["maybe", "no", "yes"], 1)
    assert lm_eval_tasks.to_question(Document("Q\nA. x\nB. y", "", "", answer="D. z"), []) is None


@pytest.mark.parametrize("name", ["pubmedqa-labelled", "medqa", "contracts", "legal-support"])
def test_a_task_holds_the_corpus_and_its_chance_level(tmp_path, name):
    task = lm_eval_tasks.write(name, tmp_path, 60)
    rows = pq.read_table(tmp_path / f"{name}.parquet").to_pylist()
    assert task.questions == len(rows) == 60
    assert task.left_out == 0
    assert all(0 <= row["label"] < len(row["choices"]) for row in rows)
    levels = {"pubmedqa-labelled": 1 / 3, "contracts": 1 / 2, "legal-support": 1 / 2}
    assert task.chance == pytest.approx(levels.get(name, task.chance))
    assert task.majority >= task.chance - 0.05


def test_a_model_asked_by_lm_eval_says_what_it_says_alone():
    asked = pytest.importorskip("model.evaluation.lm_eval_model").LmEvalModel(
        model := network(attention="dense"), encode, 32
    )
    pieces = [([1, 2, 3], [4]), ([9], [10, 11, 12]), (list(range(40)), [5, 6])]
    answers = asked._loglikelihood_tokens([(("", ""), *piece) for piece in pieces])
    for (context, answer), (value, greedy) in zip(pieces, answers, strict=True):
        tokens = [*context, *answer][-33:]
        logits = model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0, -len(answer) :].log_softmax(-1)
        picked = logits.gather(1, torch.tensor(answer)[:, None]).sum()
        assert value == pytest.approx(float(picked), abs=1e-4)
        assert greedy == (logits.argmax(-1).tolist() == answer)


# --- the command -----------------------------------------------------------------------------------------------------
CONFIG = """
name: small
out: {out}
steps: 3
seed: {seed}
data: {{vocabulary: 320, held_out: 0.2}}
model: {{preset: tiny, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2,
  num_key_value_heads: 1, gate_dim: 8, block: 4, top: 5, attention: {attention}}}
batch: {{length: 64, sequences: 4, micro: 4}}
optimizer: {{name: adamw, learning_rate: 3.0e-3}}
schedule: {{warmup: 1}}
held_out: {{every: 3, batches: 64}}
checkpoints: {{every: 3, keep: 1}}
threads: 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data set, and models of it: two seeds with sparse attention, one with dense."""
    from configs.load import load_training
    from model.training.distributed import ProcessGroup
    from model.training.loop import train

    folder = tmp_path_factory.mktemp("evaluate")
    for domain, first in (("law", 0), ("medicine", 30)):
        numbers = range(first, first + 30)
        rows = [{"text": f"{domain} {passage(n)}", "seed_id": f"{domain}{n}", "domain": domain} for n in numbers]
        (folder / "data").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / "data" / f"{domain}.parquet")
    for name, attention, seed in (("s1", "sparse", 1), ("s2", "sparse", 2), ("d1", "dense", 1)):
        path = folder / f"{name}.yaml"
        path.write_text(CONFIG.format(out=folder / name, seed=seed, attention=attention))
        train(load_training(str(path), []), sorted((folder / "data").glob("*")), ProcessGroup.join(), lambda _: None)
    return folder


def test_end_to_end(trained, tmp_path, capsys):
    pytest.importorskip("lm_eval")
    models = [str(trained / name / "model") for name in ("s1", "s2", "d1")]
    line = ["evaluate", "--model", *models, "--data", str(trained / "data"), "--out", str(tmp_path), "--bytes", "4000"]
    line += ["--trials", "1", "--max-length", "256", "--lm-eval", "pubmedqa-labelled", "--questions", "6"]
    assert main(line) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "sparse ×2" in shown
    assert "No model gives any key back" in shown
    result = json.loads((tmp_path / "evaluation.json").read_text())
    sparse, dense = result["groups"]
    assert (sparse["name"], len(sparse["models"]), sparse["dense_twin"], dense["name"]) == (
        "sparse",
        2,
        "dense",
        "dense",
    )
    assert set(result["texts"]) == {"law", "medicine", "law, data", "medicine, data"}
    assert {row["window"] for row in result["models"]} == {64}  # its training's sequences
    law = sparse["perplexity"]["law"]
    values = [row["perplexity"]["law"]["perplexity"] for row in result["models"][:2]]
    assert law["perplexity"] == pytest.approx(sum(values) / 2)
    assert law["perplexity_se"] == pytest.approx(abs(values[0] - values[1]) / 2)
    assert law["to_dense"] == pytest.approx(law["perplexity"] / dense["perplexity"]["law"]["perplexity"])
    assert 0 < sparse["perplexity"]["law, data"]["unigram_perplexity"] < 320
    assert sparse["retrieval"][0] | {"nats": 0} == {
        "length": 256, "share": 0.0, "share_se": 0.0, "nats": 0, "found": 0, "trials": 10,
    }  # fmt: skip
    task = sparse["tasks"]["pubmedqa-labelled"]
    assert 0 <= task["accuracy"] <= 1
    assert task["accuracy_se"] >= 0
    assert result["tasks"]["pubmedqa-labelled"]["chance"] == pytest.approx(1 / 3)
    assert (tmp_path / "evaluation.png").stat().st_size > 10_000


def test_the_same_command_gives_the_same_figures(trained, tmp_path, capsys):
    line = ["evaluate", "--model", f"mine={trained / 's1' / 'model'}", "--domains", "law", "--bytes", "3000"]
    line += ["--max-length", "256", "--trials", "1", "--window", "32", "--stride", "16", "--json", "--out"]
    results = []
    for name in ("a", "b"):
        assert main([*line, str(tmp_path / name)]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    assert results[0]["groups"][0]["name"] == "mine"
    assert (results[0]["models"][0]["window"], results[0]["models"][0]["stride"]) == (32, 16)


def test_held_out_rows_score_as_in_training(trained, tmp_path, capsys):
    """Whole documents in one window are what training's held-out loss measures, but for the end of each."""
    folder = trained / "s1"
    line = ["evaluate", "--model", str(folder / "model"), "--data", str(trained / "data"), "--out", str(tmp_path)]
    assert main([*line, "--bytes", "3000", "--trials", "0", "--window", "2048", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"][0]["perplexity"]
    nats = sum(rows[f"{name}, data"]["nats"] for name in ("law", "medicine"))
    tokens = sum(rows[f"{name}, data"]["tokens"] for name in ("law", "medicine"))
    assert nats / tokens == pytest.approx(json.loads((folder / "result.json").read_text())["held_out"], abs=0.05)


# --- what is refused -------------------------------------------------------------------------------------------------
def refused(capsys, *line) -> str:
    assert main(["evaluate", *map(str, line)]) in (1, 2)
    return capsys.readouterr().err


def test_bad_input_is_named(trained, tmp_path, capsys, monkeypatch):
    model, out = trained / "s1" / "model", ["--out", tmp_path / "out"]
    assert "--model: no such folder" in refused(capsys, "--model", tmp_path / "none", *out)
    message = refused(capsys, "--model", trained / "s1", *out)
    assert "no config.json" in message
    assert str(model) in message
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("config.json", "model.safetensors"):
        os.link(model / name, copied / name)
    assert "no tokenizer.json" in refused(capsys, "--model", copied, *out)
    assert "no held-out text for 'cooking'" in refused(capsys, "--model", model, *out, "--domains", "cooking")
    message = refused(capsys, "--model", model, *out, "--lm-eval", "bar-exam")
    assert "no task 'bar-exam'; the tasks are consumer-contracts, contracts" in message
    assert "--max-length: 100" in refused(capsys, "--model", model, *out, "--max-length", "100")
    assert "--bytes: 0" in refused(capsys, "--model", model, *out, "--bytes", "0")
    assert "--data: no such file" in refused(capsys, "--model", model, *out, "--data", tmp_path / "no")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    message = refused(capsys, "--model", model, *out, "--lm-eval", "contracts")
    assert "pip install 'gristmill[evaluate]'" in message
    assert not (tmp_path / "out").exists()


def shutil_copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def held_out_texts(trained, rule: HeldOutRule) -> set[str]:
    paths = sorted((trained / "data").glob("*"))
    return {row.text for path in paths for rows in read_texts(path, rule) for row in rows if row.held_out}


def test_a_model_says_itself_which_rows_it_was_not_trained_on(trained, tmp_path):
    """Not what lies beside it: token files of another share in the training's folder, or no folder at all."""
    run = shutil_copy(trained / "s1", tmp_path / "run")
    tokenize(sorted((trained / "data").glob("*")), run / "model", run / "tokens", held_out=0.9, eos="<|endoftext|>")
    (run / "config.yaml").write_text("data: {held_out: 0.7}")
    for folder in (
        run / "model",
        run / "checkpoints" / "step-00000003",
        shutil_copy(run / "model", tmp_path / "alone"),
    ):
        assert EvaluatedModel.open(str(folder)).held_out(None) == HeldOutRule(0.2)
    rows = held_out.read_rows(sorted((trained / "data").glob("*")), [HeldOutRule(0.2)], 10**6)
    scored = {text for domain in rows.texts.values() for text in domain.documents}
    assert scored <= held_out_texts(trained, HeldOutRule(0.2))
    assert scored


def test_a_model_of_an_earlier_version_is_scored_by_its_own_share(trained, tmp_path):
    run = shutil_copy(trained / "s1", tmp_path / "run")
    (run / "model" / "training.json").unlink()
    tokenize(sorted((trained / "data").glob("*")), run / "model", run / "tokens", held_out=0.9, eos="<|endoftext|>")
    model = EvaluatedModel.open(str(run / "model"))
    assert model.held_out(None) == HeldOutRule(0.2, "seed")
    (run / "config.yaml").write_text("data: {held")
    with pytest.raises(InputError, match=r"config\.yaml: damaged"):
        model.held_out(None)
    (run / "config.yaml").unlink()
    with pytest.raises(InputError, match="--held-out"):  # the token files have two shares
        model.held_out(None)
    assert model.held_out(0.2) == HeldOutRule(0.2, "seed")


def test_a_share_at_which_a_model_has_seen_the_rows_is_refused(trained, tmp_path, capsys):
    line = ["--model", trained / "s1" / "model", "--data", trained / "data", "--out", tmp_path / "out", "--trials", "0"]
    assert "was trained with 0.2" in refused(capsys, *line, "--held-out", "0.3")
    assert EvaluatedModel.open(str(trained / "s1" / "model")).held_out(0.1) == HeldOutRule(0.1)


def test_models_of_several_shares_are_scored_on_rows_that_none_has_seen(trained):
    shards = sorted((trained / "data").glob("*"))
    rows = held_out.read_rows(shards, [HeldOutRule(0.6), HeldOutRule(0.3, "seed")], 10**6)
    scored = {text for domain in rows.texts.values() for text in domain.documents}
    assert scored == held_out_texts(trained, HeldOutRule(0.6)) & held_out_texts(trained, HeldOutRule(0.3))


def test_the_unigram_baseline_of_much_data_counts_rows_of_every_shard(trained):
    shards = sorted((trained / "data").glob("*"))
    rows = held_out.read_rows(shards, [HeldOutRule(0.2)], 10**6)
    whole, some = list(rows.sample(10**9)), list(rows.sample(rows.characters // 5 + 1))
    assert len(whole) == 60 - len(held_out_texts(trained, HeldOutRule(0.2)))
    assert some == whole[::5]
    assert {text.split()[0] for text in some} == {"law", "medicine"}


def test_an_out_that_cannot_be_written_is_named(trained, tmp_path, capsys):
    (tmp_path / "file").touch()
    line = ["--model", trained / "s1" / "model", "--trials", "0", "--bytes", "500", "--domains", "law"]
    assert f"--out: {tmp_path / 'file'} is a file" in refused(capsys, *line, "--out", tmp_path / "file" / "below")
    (tmp_path / "out" / "evaluation.json" / "full").mkdir(parents=True)
    assert "cannot be written" in refused(capsys, *line, "--out", tmp_path / "out")
    assert not list((tmp_path / "out").glob(".tmp-*"))


def test_options_are_checked():
    with pytest.raises(ConfigError, match="--held-out: 1"):
        EvaluationOptions(held_out=1)


def test_a_damaged_training_configuration_is_named(tmp_path):
    model = SimpleNamespace(_training_folder=tmp_path)
    assert LoadedModel._trained_length(model) is None
    (tmp_path / "config.yaml").write_text("batch: {length: 96}\n", "utf-8")
    assert LoadedModel._trained_length(model) == 96
    (tmp_path / "config.yaml").write_text("batch: {len", "utf-8")
    with pytest.raises(InputError, match=r"config\.yaml: damaged .* --window"):
        LoadedModel._trained_length(model)

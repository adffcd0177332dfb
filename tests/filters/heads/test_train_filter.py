"""`gristmill filter train` on the real encoder: a head is written, its AUCs are printed, and the filter takes it."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.schema import Encoder, FilterSpec
from filters.build import build_filters
from filters.heads.head import DEPTHS, QualityHead
from model.encoder import open_encoder
from model.encoder.tuning import MAX_TEXTS_PER_BATCH, RANKING_WEIGHT, page_batches, tune, tuning_loss
from model.encoder.weights import identify_encoder
from pipeline.filtering import head_training as train_filter
from stages.ports import TuningEpoch
from tests.factories.command_line import call
from tests.factories.documents import passage, write_config
from tests.factories.encoders import save_small_bert

pytestmark = pytest.mark.weights

SPLITS = {"in_source", "held_out", "unseen_kind", "unseen_kind_known_source"}


def write_sources(folder):
    """Two sources of twelve short pages: an encoder reads each thirty times, and is trained on them as often."""
    for name, numbers in (("a", range(12)), ("b", range(100, 112))):
        texts = [". ".join(passage(n).split(". ")[:4]) + "." for n in numbers]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_a_head_is_trained_and_reported(tmp_path):
    write_sources(tmp_path)
    config = write_config(tmp_path, tmp_path)
    sources = [f"{{path: {tmp_path}/{name}.jsonl, licence: MIT}}" for name in "ab"]
    flags = ["--set", f"domains.law.seeds=[{', '.join(sources)}]", "--per-source", 12, "--head", tmp_path / "head.json"]
    encoder = ["--set", "screen.encoder={model: all-minilm-l6-v2}"]
    done = call("filter", "train", "--config", config, "--json", *flags, *encoder)
    assert done.code == 0, done.err
    assert {row["split"] for row in done.line["report"]} == SPLITS
    head = QualityHead.read(str(tmp_path / "head.json"))
    assert head.encoder == "all-minilm-l6-v2"
    assert head.card["pages"] == 24
    refused = call("filter", "train", "--config", config, *flags)
    assert refused.code == 2
    assert "screen.encoder: missing" in refused.err


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory):
    """A config of two sources of law, and the flags that name them and a small encoder."""
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder)
    sources = [f"{{path: {folder}/{name}.jsonl, licence: MIT}}" for name in "ab"]
    flags = ["--set", f"domains.law.seeds=[{', '.join(sources)}]", "--per-source", 12]
    return write_config(folder, folder), [*flags, "--set", "screen.encoder={model: all-minilm-l6-v2, adapter: none}"]


@pytest.mark.weights
@pytest.mark.slow
def test_heads_are_evaluated_without_being_kept(two_sources, tmp_path):
    config, flags = two_sources
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "text,domain,language,score,by\n" + "".join(f"{passage(n)[:200]!r},law,en,{n % 6},human\n" for n in range(9))
    )
    done = call("filter", "evaluate", "--config", config, *flags, "--to", tmp_path / "out", "--labels", labels)
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"evaluation.json", "evaluation.md", "auc.png"}
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert {row["split"] for row in told["report"]} == SPLITS | {"human"}
    assert "| held_out | domain, language law en |" in (tmp_path / "out" / "evaluation.md").read_text("utf-8")
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 5_000
    refused = call("filter", "evaluate", "--config", config, *flags, "--to", labels / "x")
    assert refused.code == 1
    assert "--to: cannot write" in refused.err


@pytest.mark.weights
@pytest.mark.slow
def test_a_tuned_encoder_is_written_beside_its_heads(two_sources, tmp_path):
    config, flags = two_sources
    model = save_small_bert(tmp_path / "small-bert")
    flags = [*flags, "--set", f"screen.encoder={{model: {model}, adapter: none}}"]  # it is trained thirty times
    flags += ["--per-source", 4, "--head", tmp_path / "quality-mine.json"]
    done = call("filter", "train", "--config", config, *flags, "--tune", "--folds", 2, "--json")
    assert done.code == 0, done.err
    folder = tmp_path / "encoder-mine"
    assert done.line["encoder_adapter"] == str(folder)
    adapted = Encoder(model=model, adapter=str(folder))
    plain = Encoder(model=model, adapter="none")
    head = QualityHead.read(str(tmp_path / "quality-mine.json"))
    assert head.encoder_sha256 == identify_encoder(adapted).sha256 != identify_encoder(plain).sha256
    build_filters(
        [FilterSpec(name="quality", head=str(tmp_path / "quality-mine.json"))], lambda: open_encoder(adapted, 1)
    )
    with pytest.raises(ConfigError, match="trained on small-bert with weights"):
        build_filters(
            [FilterSpec(name="quality", head=str(tmp_path / "quality-mine.json"))], lambda: open_encoder(plain, 1)
        )
    card = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    assert card["base_model_name_or_path"] == "small-bert"


@pytest.mark.weights
def test_tuning_learns_and_is_what_its_folder_makes_of_the_encoder(tmp_path):
    config = Encoder(model="all-minilm-l6-v2", dtype="float32")
    good = [passage(n)[:120] for n in range(12)]
    texts = good + [" ".join(sorted(text.split())) for text in good]
    y = np.array([1] * 12 + [0] * 12)
    epochs = [TuningEpoch(texts, y, np.ones(24), np.arange(24) % 12)] * 3
    made = [tune(config, 2 / 3, epochs, 5) for _ in range(2)]
    assert made[0].adapter == made[1].adapter
    assert made[0].card.sha256 == made[1].card.sha256
    made[0].write(tmp_path / "adapter")
    opened = open_encoder(config.model_copy(update={"adapter": str(tmp_path / "adapter")}), 1)
    assert opened.card.sha256 == made[0].card.sha256
    assert np.allclose(opened.encode(texts, DEPTHS), made[0].encode(texts, DEPTHS), atol=1e-5)
    plain = open_encoder(config, 1).encode(texts, (2 / 3,))
    tuned = opened.encode(texts, (2 / 3,))

    def apart(x):
        return np.linalg.norm(x[:12].mean(0) - x[12:].mean(0))

    assert apart(tuned) > apart(plain)


def test_a_bad_text_is_ranked_against_the_good_one_of_its_page_alone():
    def loss(*score):
        good, weight, page = torch.tensor([1.0, 0, 1, 0]), torch.tensor([1.0, 1, 1, 3]), torch.tensor([4, 4, 5, 5])
        score = torch.tensor(score)
        plain = torch.nn.functional.binary_cross_entropy_with_logits(score, good, weight=weight)
        return float(tuning_loss(score, good, weight, page) - plain) / RANKING_WEIGHT

    softplus = np.log1p(np.exp([-1.0, 2.0]))
    assert loss(3.0, 2.0, -5.0, -3.0) == pytest.approx((softplus[0] + 3 * softplus[1]) / 2, rel=1e-5)
    assert loss(103.0, 102.0, -5.0, -3.0) == pytest.approx(loss(3.0, 2.0, -5.0, -3.0), rel=1e-3)
    one = torch.tensor([1.0, 2.0])
    alone = tuning_loss(one, torch.tensor([1.0, 0.0]), torch.ones(2), torch.tensor([1, 2]))
    assert alone == torch.nn.functional.binary_cross_entropy_with_logits(one, torch.tensor([1.0, 0.0]))


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(-90, 90)), min_size=1, max_size=300), st.integers(0, 9))
def test_batches_hold_every_text_once_and_a_page_whole(texts, seed):
    page = np.array([page % (len(texts) // 3 + 1) for _, page in texts])
    made = page_batches([length for length, _ in texts], page, random.Random(seed))
    assert sorted(index for batch in made for index in batch) == list(range(len(texts)))
    assert all(len(batch) <= MAX_TEXTS_PER_BATCH or len({int(page[index]) for index in batch}) == 1 for batch in made)
    assert len({(int(page[index]), number) for number, batch in enumerate(made) for index in batch}) == len(set(page))
    assert made == page_batches([length for length, _ in texts], page, random.Random(seed))


def test_an_adapter_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"screen.encoder.adapter: .* is not an adapter's folder"):
        identify_encoder(Encoder(model="all-minilm-l6-v2", adapter=str(tmp_path)))


def test_a_group_without_both_kinds_has_a_dash(capsys):
    row = {"split": "held_out", "group": "language es", "rows": 3, "auc": None, "auc_length": 0.5, "auc_distinct": None}
    train_filter.print_report([row], "heads")
    out = capsys.readouterr().out
    assert out.count("–") == 6
    assert "0.500" in out


@pytest.mark.weights
@pytest.mark.slow
def test_a_head_that_cannot_be_written_is_named(two_sources, tmp_path):
    config, flags = two_sources
    (tmp_path / "file").write_text("")
    refused = call("filter", "train", "--config", config, *flags, "--head", tmp_path / "file" / "folder" / "h.json")
    assert refused.code == 1
    assert "--head: cannot write" in refused.err
    one = ["--set", "domains.law.seeds=[{path: " + str(config.parent / "a.jsonl") + ", licence: MIT}]", *flags[2:]]
    refused = call("filter", "train", "--config", config, *one, "--head", tmp_path / "h.json")
    assert refused.code == 1
    assert "two sources" in refused.err

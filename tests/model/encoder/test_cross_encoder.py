"""The cross-encoder: windows over long passages, training on quadruples, the models that it takes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from configs.errors import BackendError, ConfigError
from filters.heads.grounded.verifier_card import SHIPPED, VerifierCard
from model.encoder.cross_encoder import CrossEncoder, windows_of
from model.encoder.cross_encoder_tuning import CrossEncoderTuning, contrast_loss, tune_cross_encoder

MINILM = "all-minilm-l6-v2"
SMOLLM2 = "smollm2-135m-instruct"
FACT = "The fine for a late return is twelve euros."
FILLER = "The library opens at nine and offers rooms for groups. "


@dataclass(frozen=True)
class Item:
    passages: tuple[str, str]
    claims: tuple[str, str]
    answers: tuple[str, str] | tuple[()] = ()
    sure: bool = True
    easy: bool = True


@pytest.fixture(scope="module")
def shipped():
    return CrossEncoder(MINILM, str(SHIPPED), 1)


def test_the_shipped_verifier_is_the_one_of_its_card(shipped):
    VerifierCard.read(SHIPPED).check(shipped.card)


def test_it_tells_a_claim_of_the_passage_from_one_of_another(shipped):
    right, wrong = shipped.score([FACT + FILLER, FILLER], [FACT, FACT])
    assert right > wrong + 1


def test_a_long_passage_is_read_to_its_end(shipped):
    long = FILLER * 200
    without, at_the_end = shipped.score([long, long + FACT], [FACT, FACT])
    assert at_the_end > without + 1
    windows = windows_of(shipped.tokenizer, [long], [FACT], shipped.max_tokens)
    assert len(windows) > 3
    assert max(len(window.ids) for window in windows) <= shipped.max_tokens


def test_scores_do_not_depend_on_the_batch(shipped):
    passages, claims = [FACT, FILLER * 30, FILLER], [FACT, FACT, "x"]
    together = shipped.score(passages, claims)
    alone = [shipped.score([p], [c])[0] for p, c in zip(passages, claims, strict=True)]
    np.testing.assert_allclose(together, alone, atol=2e-2)
    assert shipped.score([], []).shape == (0,)
    assert np.isfinite(shipped.score(["", "\ud800", FACT], ["", "\x00", "word " * 5000])).all()


def test_training_ranks_what_it_saw(tmp_path):
    quadruples = [
        Item(("The cat slept.", "The dog barked."), ("A cat was asleep.", "A dog made noise.")),
        Item(("The cat slept.", "The dog barked."), ("A cat was asleep.", "A dog made noise."), ("cat!", "dog!")),
        Item(("The cat slept.", "The dog barked."), ("cat!", "dog!"), sure=False, easy=False),
    ]
    options = CrossEncoderTuning(MINILM, epochs=12, learning_rate=2e-3, threads=1)
    tune_cross_encoder(options, quadruples, tmp_path)
    trained = CrossEncoder(MINILM, str(tmp_path), 1, "float32")
    right, wrong = trained.score(["The cat slept.", "The dog barked."], ["A cat was asleep."] * 2)
    assert right > wrong
    with pytest.raises(ValueError, match="no quadruples"):
        tune_cross_encoder(options, [], tmp_path)


def test_the_loss_counts_only_what_is_known():
    score = torch.tensor([[[2.0, -2.0], [-2.0, 2.0]]])
    sure, unsure = contrast_loss(score, torch.tensor([True])), contrast_loss(score, torch.tensor([False]))
    assert 0 < unsure < sure
    worse = contrast_loss(-score, torch.tensor([True]))
    assert worse > sure
    answers = torch.cat([score, torch.zeros_like(score)], 2)
    assert contrast_loss(answers, torch.tensor([True])) > sure


def test_a_claim_alone_cannot_lower_the_loss():
    """A score that depends on the claim only has the loss of a score of 0, or a higher one."""
    for shift in (-1.0, 1.0, 3.0):
        by_claim = torch.tensor([[[shift, 0.0], [shift, 0.0]]])
        for sure in (True, False):
            known = torch.tensor([sure])
            assert contrast_loss(by_claim, known) >= contrast_loss(torch.zeros(1, 2, 2), known) - 1e-6


def test_models_that_do_not_fit_are_errors(tmp_path):
    with pytest.raises(BackendError, match="model: 'all-minilm-l6-v2' cannot be loaded as a cross-encoder"):
        CrossEncoder(MINILM)
    with pytest.raises(ConfigError, match=r"^model: "):
        CrossEncoder("./nowhere")
    with pytest.raises(ConfigError, match=r"has no adapter_model\.safetensors"):
        CrossEncoder(MINILM, str(tmp_path))


@pytest.mark.parametrize(
    ("labels", "supported"),
    [
        (["contradiction", "neutral", "entailment"], 2),
        (["entailment", "not_entailment"], 0),
        (["LABEL_0", "LABEL_1"], 1),
    ],
)
def test_any_sequence_classification_model_is_read_by_its_labels(tmp_path, labels, supported):
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from model.weights.resolve import resolve_model

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(resolve_model(MINILM, "transformers", None).path).save_pretrained(tmp_path)
    opened = CrossEncoder(str(tmp_path), threads=1)
    assert opened.supported == supported
    assert opened.score([FACT], [FACT]).shape == (1,)


@pytest.mark.parametrize("kind", ["distilbert", "modernbert", "roberta", "llama"])
def test_models_of_other_kinds_than_bert_score_each_pair_alike_in_any_batch(tmp_path, kind):
    """Models that take no segments, and decoders, which are read at their last token."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from model.weights.resolve import resolve_model

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    known = SMOLLM2 if kind == "llama" else MINILM
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(known, "transformers", None).path)
    special = {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2} if kind == "llama" else {"pad_token_id": 0}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), num_labels=2, **sizes, **special)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    opened = CrossEncoder(str(tmp_path), threads=1, dtype="float32")
    passages, claims = [FACT, FILLER * 3, FILLER], [FACT, FACT, "It opens."]
    alone = [opened.score([p], [c])[0] for p, c in zip(passages, claims, strict=True)]
    np.testing.assert_allclose(opened.score(passages, claims), alone, atol=1e-5)
    assert len({round(float(score), 6) for score in alone}) == 3
    joined = opened.tokenizer.decode(windows_of(opened.tokenizer, ["One."], ["Two."], 64)[0].ids).lower()
    assert "two." in joined.replace(" .", ".")
    assert "one.two" not in joined.replace(" ", "")


def test_labels_that_say_nothing_are_an_error(tmp_path):
    from types import SimpleNamespace

    from model.encoder.cross_encoder import _supported_label

    with pytest.raises(ConfigError, match="none of its outputs"):
        _supported_label(SimpleNamespace(id2label={0: "a", 1: "b", 2: "c"}, num_labels=3))

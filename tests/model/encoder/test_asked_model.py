"""A language model that is asked whether a passage supports a claim."""

import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from configs.errors import ConfigError  # noqa: E402
from filters.heads.grounded.verifier_card import SHIPPED  # noqa: E402
from model.encoder import asked_model, open_verifier  # noqa: E402
from model.encoder.asked_model import AskedModel  # noqa: E402
from model.encoder.cross_encoder import CrossEncoder  # noqa: E402

pytestmark = pytest.mark.weights
SMOLLM2 = "smollm2-135m-instruct"
FACT = "The fine for a late return is twelve euros."
FILLER = "The library opens at nine and offers rooms for groups. "


@pytest.fixture(scope="module")
def asked() -> AskedModel:
    model = open_verifier(SMOLLM2, "", 1)
    assert isinstance(model, AskedModel)
    return model


def test_its_score_is_how_much_likelier_yes_is_than_no(asked: AskedModel) -> None:
    prompt = asked._prompt(FACT, FACT)
    assert asked.tokenizer.decode(prompt).count(FACT) == 2
    with torch.no_grad():
        p_V = asked.model(torch.tensor([prompt])).logits[0, -1].float().softmax(-1)
    yes, no = (sum(float(p_V[token]) for token in tokens) for tokens in (asked.yes, asked.no))
    assert {"Yes", "yes"} <= {asked.tokenizer.decode([token]).strip() for token in asked.yes}
    assert asked.score([FACT], [FACT])[0] == pytest.approx(np.log(yes) - np.log(no), abs=1e-3)


def test_scores_do_not_depend_on_the_batch(asked: AskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    passages, claims = [FACT, FILLER * 6, FILLER], [FACT, FACT, "x"]
    together = asked.score(passages, claims)
    alone = [asked.score([p], [c])[0] for p, c in zip(passages, claims, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    monkeypatch.setitem(asked_model._TOKENS_PER_BATCH, "cpu", 1)
    np.testing.assert_allclose(asked.score(passages, claims), alone, atol=1e-3)
    assert asked.score([], []).shape == (0,)
    assert np.isfinite(asked.score(["", "\ud800"], ["", "\x00"])).all()


def test_the_best_window_of_a_long_passage_counts(asked: AskedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_model, "MAX_PASSAGE_TOKENS", 40)
    monkeypatch.setattr(asked_model, "OVERLAP", 20)
    windows = asked._windows(FILLER * 8 + FACT)
    assert len(windows) > 3
    assert windows[-1].endswith(FACT)
    assert all(first[-30:] in second for first, second in itertools.pairwise(windows))
    whole = asked.score([FILLER * 8 + FACT], [FACT])[0]
    assert whole == pytest.approx(max(asked.score(windows, [FACT] * len(windows))), abs=1e-3)


def test_what_classifies_is_no_language_model(tmp_path: Path) -> None:
    assert isinstance(open_verifier("all-minilm-l6-v2", str(SHIPPED), 1), CrossEncoder)
    with pytest.raises(ConfigError, match="model: "):
        open_verifier(str(tmp_path), "", 1)

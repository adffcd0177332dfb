"""Encoders: unit vectors in order, near each other when the meaning is, whatever the text."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize, scaled_dot_product_attention

from configs.errors import BackendError, ConfigError
from configs.schema import Encoder
from model.encoder import open_encoder
from model.encoder.encoder import BertEncoder, attend_by_products

pytestmark = pytest.mark.weights

LAW = "The controller shall erase personal data without undue delay."
TEXTS = [LAW, "The controller must delete personal information promptly.", "Chickenpox causes an itchy rash.", "x"]


@pytest.fixture(scope="module", params=["multilingual-e5-small", "all-minilm-l6-v2"])
def encoder(request: pytest.FixtureRequest) -> BertEncoder:
    made = open_encoder(Encoder(model=request.param, batch_tokens=512), 1)
    assert isinstance(made, BertEncoder)
    return made


def test_rows_are_unit_vectors(encoder: BertEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, 384)


def test_meaning_is_nearness(encoder: BertEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.05


def test_order_and_neighbours_do_not_matter(encoder: BertEncoder) -> None:
    texts = [f"{LAW} {'It is so. ' * (i * 7 % 23)}{i}" for i in range(16)]
    vectors, backwards = encoder.encode(texts), encoder.encode(texts[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in texts[:5]])
    assert float((vectors * backwards).sum(1).min()) > 0.999
    assert float((vectors[:5] * alone).sum(1).min()) > 0.999


def test_odd_texts_have_vectors_too(encoder: BertEncoder) -> None:
    vectors = encoder.encode(["", "\x00", "\ud800", "a\x00b", "x" * 1_000_000, "法" * 400_000, "\n" * 5000, "🙂"])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_two_languages_meet() -> None:
    encoder = open_encoder(Encoder(), 1)
    english, spanish, chinese, other = encoder.encode(
        [LAW, "El responsable suprimirá sin dilación los datos personales.", "控制者应当立即删除个人数据。", TEXTS[2]]
    )
    assert min(english @ spanish, english @ chinese) > english @ other


def test_low_precision_keeps_the_direction() -> None:
    encoders = (open_encoder(Encoder(model="all-minilm-l6-v2", dtype=dtype), 1) for dtype in ("float32", "auto"))
    exact, fast = (encoder.encode(TEXTS) for encoder in encoders)
    assert float((exact * fast).sum(1).min()) > 0.998


def test_errors_name_the_encoder() -> None:
    with pytest.raises(ConfigError, match=r"screen\.encoder\.sha256"):
        open_encoder(Encoder(sha256="0" * 64), 1)
    with pytest.raises(ConfigError, match=r"screen\.encoder\.model"):
        open_encoder(Encoder(model="./nowhere"), 1)


def test_a_language_model_is_no_encoder() -> None:
    with pytest.raises(BackendError, match=r"screen\.encoder\.model"):
        open_encoder(Encoder(model="smollm2-135m-instruct"), 1)


def test_odd_lengths_are_as_without_padding() -> None:
    encoder = open_encoder(Encoder(model="all-minilm-l6-v2", dtype="float32"), 1)
    assert isinstance(encoder, BertEncoder)
    texts = ["rash " * count for count in (1, 13, 14, 15, 29, 30, 31, 600)]
    padded, rows = encoder.encode(texts), [encoder.tokenizer(text, truncation=True, max_length=256) for text in texts]
    with torch.inference_mode():
        plain = [encoder.model(**row.convert_to_tensors("pt", True)).last_hidden_state[0].mean(0) for row in rows]
    np.testing.assert_allclose(padded, normalize(torch.stack(plain)).numpy(), atol=2e-6)


def test_a_batch_holds_so_many_tokens() -> None:
    encoder = open_encoder(Encoder(model="all-minilm-l6-v2", batch_tokens=512), 1)
    assert isinstance(encoder, BertEncoder)
    lengths = [3, 17, 256, 240, 16, 100, 31, 33] * 9
    batches = list(encoder._batches(lengths))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        widths = [lengths[index] for index in batch]
        assert len(batch) * encoder._width(max(widths)) <= 512
        assert widths == sorted(widths, reverse=True)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=4), st.booleans())
def test_products_attend_as_torch_does(lengths: list[int], masked: bool) -> None:
    width = max(lengths)
    q, k, v = torch.randn(3, len(lengths), 2, width, 8, generator=torch.Generator().manual_seed(width))
    real = torch.arange(width) < torch.tensor(lengths)[:, None, None, None]
    bias = torch.zeros(real.shape).masked_fill(~real, torch.finfo(torch.float32).min).expand(-1, 1, width, -1)
    found, _ = attend_by_products(torch.nn.Module(), q, k, v, bias if masked else None, 0.3)
    wanted = scaled_dot_product_attention(q, k, v, real if masked else None, scale=0.3)
    torch.testing.assert_close(found, wanted.transpose(1, 2), atol=2e-6, rtol=1e-5)


def test_products_give_the_vectors_of_transformers_own_attention() -> None:
    encoder = open_encoder(Encoder(model="all-minilm-l6-v2", dtype="bfloat16"), 1)
    assert isinstance(encoder, BertEncoder)
    texts = [f"{LAW} " * count for count in (1, 2, 7)] + TEXTS
    found = encoder.encode(texts, (0.5, 2 / 3, 1.0)).reshape(len(texts), 3, -1)
    assert (encoder.model.config._attn_implementation == "sdpa") == (encoder.device.type == "cuda")
    encoder.model.set_attn_implementation("sdpa")
    wanted = encoder.encode(texts, (0.5, 2 / 3, 1.0)).reshape(len(texts), 3, -1)
    assert float((found * wanted).sum(2).min()) > 0.9999

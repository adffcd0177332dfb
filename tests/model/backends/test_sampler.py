"""Drawing tokens and the decoding loop, against transformers' own."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from configs.schema import Sampling
from model.backends import likelihood
from model.backends.decode import Draft, decode
from model.backends.sampler import Draws, draw, uniforms

pytestmark = pytest.mark.weights

SETTINGS = [
    {"temperature": 0.7, "top_p": 0.9, "top_k": 10},
    {"temperature": 1.3, "top_p": 1.0, "top_k": 0},
    {"temperature": 1.0, "top_p": 0.5, "top_k": 0},
    {"temperature": 0.9, "top_p": 1.0, "top_k": 3, "repetition_penalty": 1.5},
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With several threads on busy cores the tiny model's steps are all waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def expected(logits: torch.Tensor, sampling: Sampling, seen: list[int]) -> torch.Tensor:
    """The distribution of one row by transformers' processors, in their order."""
    ids, scores = torch.tensor([seen]), logits[None].clone()
    scores = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(ids, scores)  # type: ignore[arg-type]
    scores = TemperatureLogitsWarper(sampling.temperature)(ids, scores)  # type: ignore[arg-type]
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(ids, scores)  # type: ignore[arg-type]
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(ids, scores)  # type: ignore[arg-type]
    return scores.softmax(-1)[0]


@pytest.mark.parametrize("setting", SETTINGS)
def test_draws_follow_the_distribution_of_transformers(setting: dict) -> None:
    sampling, count, seen = Sampling(**setting, max_tokens=1), 20_000, [3, 5, 3]
    logits = torch.randn(40, generator=torch.Generator().manual_seed(1)) * 2
    rows = [Draws.from_seed(sampling, seed) for seed in range(count)]
    tokens = draw(logits.expand(count, -1), rows, [0] * count, [seen] * count)
    found = torch.bincount(torch.tensor(tokens), minlength=40) / count
    wanted = expected(logits, sampling, seen)
    assert not found[wanted == 0].any()
    assert float((found - wanted).abs().max()) < 0.015


def test_a_draw_depends_on_its_row_alone() -> None:
    logits = torch.randn(6, 200, generator=torch.Generator().manual_seed(2))
    rows = [Draws.from_seed(Sampling(**SETTINGS[index % 4], max_tokens=9), index) for index in range(6)]
    seen = [[index, 7] for index in range(6)]
    together = draw(logits, rows, [4] * 6, seen)
    assert together == [draw(logits[i : i + 1], rows[i : i + 1], [4], seen[i : i + 1])[0] for i in range(6)]


def test_random_numbers_are_the_same_everywhere() -> None:
    np.testing.assert_allclose(uniforms(17, 3), uniforms(17, 9)[:3])
    assert uniforms(17, 1) != uniforms(18, 1)
    assert uniforms(-1, 2).shape == uniforms(2**80, 2).shape == (2,)


def tiny(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    size = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "eos_token_id": 1}
    if kind == "sliding":
        return MistralForCausalLM(MistralConfig(**size, **heads, sliding_window=8)).eval()
    return LlamaForCausalLM(LlamaConfig(**size, **heads)).eval()


@pytest.mark.parametrize("kind", ["full", "sliding"])
@pytest.mark.parametrize("slots", [1, 4, 16])
def test_rows_that_come_and_go_get_the_tokens_of_transformers(kind: str, slots: int) -> None:
    model, rng = tiny(kind), np.random.default_rng(3)
    prompts = [rng.integers(2, 97, size=rng.integers(1, 30)).tolist() for _ in range(13)]
    lengths = [int(length) for length in rng.integers(1, 100, size=13)]
    drafts = [
        Draft(prompt, Draws.from_seed(Sampling(temperature=0, max_tokens=length), 0))
        for prompt, length in zip(prompts, lengths, strict=True)
    ]
    decode(model, drafts, slots=slots, ends=frozenset([1]), filler=0)
    for draft in drafts:
        ids = torch.tensor([draft.prompt])
        count = draft.draws.sampling.max_tokens
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False)  # type: ignore[operator]
        wanted = out[0, ids.shape[1] :].tolist()
        assert draft.stopped == (wanted[-1] == 1)
        assert draft.tokens == [token for token in wanted if token != 1]


@pytest.mark.parametrize("kind", ["full", "sliding"])
@pytest.mark.parametrize("slots", [2, 16])
def test_rows_that_share_a_prompt_get_the_tokens_of_rows_that_do_not(kind: str, slots: int) -> None:
    model = tiny(kind)

    def drafts(prompts: list[list[int]]) -> list[Draft]:
        seeds = enumerate(prompts)
        return [Draft(prompt, Draws.from_seed(Sampling(temperature=1, max_tokens=12), seed)) for seed, prompt in seeds]

    prompts = [prompt for prompt in ([5, 6, 7, 8], [9, 3], [4, 4, 4]) for _ in range(3)]
    together, alone = drafts(prompts), drafts(prompts)
    decode(model, together, slots=slots, ends=frozenset([1]), filler=0)
    for draft in alone:
        decode(model, [draft], slots=1, ends=frozenset([1]), filler=0)
    assert [draft.tokens for draft in together] == [draft.tokens for draft in alone]
    assert len({tuple(draft.tokens) for draft in together[:3]}) > 1


@pytest.mark.parametrize("kind", ["full", "sliding"])
def test_log_probabilities_are_those_of_one_pass_over_each_row(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(likelihood._TOKENS_PER_BATCH, "cpu", 64)  # several batches
    model, rng = tiny(kind), np.random.default_rng(5)
    rows = [
        (rng.integers(2, 97, size=rng.integers(1, 20)).tolist(), rng.integers(2, 97, size=length).tolist())
        for length in (0, 1, 2, 7, 19, 19, 40)
    ]
    values = likelihood.log_probabilities(model, [*rows, rows[3]])
    for (prompt, answer), value in zip(rows, values, strict=False):
        with torch.inference_mode():
            logits_TV = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        log_p_TV = logits_TV.double().log_softmax(-1)
        assert value == pytest.approx(float(sum(log_p_TV[t, token] for t, token in enumerate(answer))), abs=1e-3)
    assert values[-1] == values[3]
    assert likelihood.log_probabilities(model, []) == []


def test_decoding_reports_tokens_before_a_row_is_finished() -> None:
    drafts = [Draft([3, 4, 5], Draws.from_seed(Sampling(temperature=0, max_tokens=length), 0)) for length in (5, 9, 7)]
    calls: list[tuple[int, int]] = []
    ends: frozenset[int] = frozenset()  # every draft runs to its limit
    decode(tiny("full"), drafts, slots=2, ends=ends, filler=0, progress=lambda *totals: calls.append(totals))
    assert calls[0] == (0, 2)
    assert calls[-1] == (3, 5 + 9 + 7)
    assert calls == sorted(calls)

"""The embedded engine: each answer is what the model's own `generate` gives, whatever else runs beside it."""

import asyncio
import dataclasses
import random
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from configs.errors import ConfigError  # noqa: E402
from model.serve.embedded import EmbeddedEngine, EmbeddedOptions  # noqa: E402
from model.serve.embedded.loading import load_slots  # noqa: E402
from model.serve.port import (  # noqa: E402
    AdapterRef,
    EngineDownError,
    GenerationRequest,
    GenerationStep,
    RequestError,
    SamplingOptions,
)
from tests.factories.serving.tiny_models import VOCABULARY, save_adapter, save_dsa, save_llama  # noqa: E402

pytestmark = pytest.mark.weights
LENGTHS = (1, 3, 21, 60, 4, 37, 90, 2)  # some dense, some sparse, some longer than a chunk
SMALL = EmbeddedOptions(slots=3, max_length=128, prefill_tokens=16)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "dsa": (folder / "dsa", save_dsa(folder / "dsa")),
        "llama": (folder / "llama", save_llama(folder / "llama")),
    }


def prompts(seed: int, lengths: Sequence[int] = LENGTHS) -> list[tuple[int, ...]]:
    random_ = random.Random(seed)
    return [tuple(random_.randrange(1, VOCABULARY) for _ in range(length)) for length in lengths]


def greedy(max_tokens: int = 12, **changes: Any) -> SamplingOptions:
    return SamplingOptions(max_tokens=max_tokens, temperature=0.0, **changes)


def with_engine(
    folder: Path, work: Callable[[EmbeddedEngine], Coroutine[Any, Any, Any]], options: EmbeddedOptions = SMALL
) -> Any:
    async def run() -> Any:
        engine = EmbeddedEngine(folder, options)
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


async def answer(engine: EmbeddedEngine, request: GenerationRequest) -> list[GenerationStep]:
    return [step async for step in await engine.submit(request)]


def tokens_of(steps: list[GenerationStep]) -> list[int]:
    return [token for step in steps for token in step.tokens]


def reference(network: Any, prompt: Sequence[int], max_tokens: int = 12) -> list[int]:
    output = network.generate(
        torch.tensor([prompt]), max_new_tokens=max_tokens, do_sample=False, eos_token_id=0, pad_token_id=0
    )
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", ["dsa", "llama"])
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_answers_equal_generate_over_ragged_chunked_batches(models: Any, kind: str, slots: int) -> None:
    folder, network = models[kind]

    async def work(engine: EmbeddedEngine) -> list[list[GenerationStep]]:
        requests = [GenerationRequest(str(i), prompt, greedy()) for i, prompt in enumerate(prompts(1))]
        return await asyncio.gather(*(answer(engine, request) for request in requests))

    answers = with_engine(folder, work, dataclasses.replace(SMALL, slots=slots))
    assert [tokens_of(steps) for steps in answers] == [reference(network, prompt) for prompt in prompts(1)]
    assert all(steps[-1].finish_reason for steps in answers)


def test_attending_everything_gives_other_answers(models: Any, tmp_path: Path) -> None:
    """Else the test above would not see whether the sparse path is taken."""
    _, network = models["dsa"]
    dense = save_dsa(tmp_path, top=36, beam=32, roots=64)
    assert any(reference(network, prompt) != reference(dense, prompt) for prompt in prompts(1, (60, 90)))


def test_requests_that_come_later_change_nothing(models: Any) -> None:
    folder, network = models["dsa"]

    async def work(engine: EmbeddedEngine) -> list[list[int]]:
        async def late(place: int, prompt: tuple[int, ...]) -> list[int]:
            await asyncio.sleep(0.01 * place)
            return tokens_of(await answer(engine, GenerationRequest(f"r{place}", prompt, greedy(30))))

        return await asyncio.gather(*(late(i, prompt) for i, prompt in enumerate(prompts(2) * 4)))

    assert with_engine(folder, work) == [reference(network, prompt, 30) for prompt in prompts(2)] * 4


@pytest.mark.parametrize("kind", ["dsa", "llama"])
def test_prompt_logprobs_are_those_of_one_pass(models: Any, kind: str) -> None:
    folder, network = models[kind]
    (prompt,) = prompts(3, (50,))

    async def work(engine: EmbeddedEngine) -> list[GenerationStep]:
        options = greedy(2, logprobs=3, prompt_logprobs=2)
        return await answer(engine, GenerationRequest("a", prompt, options))

    steps = with_engine(folder, work)
    entries = steps[0].prompt_logprobs
    with torch.no_grad():
        log_p = network(torch.tensor([prompt])).logits[0].log_softmax(-1)
    assert entries[0] is None
    assert len(entries) == 50
    for place, entry in enumerate(entries[1:]):
        assert entry.token == prompt[place + 1]
        assert entry.logprob == pytest.approx(float(log_p[place, entry.token]), abs=1e-4)
        assert entry.top[0][1] == pytest.approx(float(log_p[place].max()), abs=1e-4)
        assert len(entry.top) == 2
    first = steps[0].logprobs[0]
    assert first.token == first.top[0][0] == steps[0].tokens[0]
    assert first.logprob == first.top[0][1]  # exactly: harnesses compare them for equality


def test_no_token_is_drawn_where_none_is_asked_for(models: Any) -> None:
    folder, _ = models["dsa"]

    async def work(engine: EmbeddedEngine) -> list[GenerationStep]:
        return await answer(engine, GenerationRequest("a", (5, 6, 7), greedy(0, prompt_logprobs=0)))

    (step,) = with_engine(folder, work)
    assert (step.tokens, step.finish_reason) == ((), "length")
    assert [entry and entry.token for entry in step.prompt_logprobs] == [None, 6, 7]


def test_draws_depend_on_the_seed_alone(models: Any) -> None:
    folder, _ = models["dsa"]
    options = SamplingOptions(max_tokens=20, temperature=1.3, top_p=0.9, top_k=40, seed=11, ignore_eos=True)

    async def work(engine: EmbeddedEngine) -> list[list[int]]:
        alone = tokens_of(await answer(engine, GenerationRequest("alone", (3, 4), options)))
        others = [GenerationRequest(f"o{i}", p, options) for i, p in enumerate(prompts(4))]
        mixed = await asyncio.gather(
            answer(engine, GenerationRequest("again", (3, 4), options)),
            answer(engine, GenerationRequest("other seed", (3, 4), dataclasses.replace(options, seed=12))),
            *(answer(engine, request) for request in others),
        )
        return [alone, tokens_of(mixed[0]), tokens_of(mixed[1])]

    alone, again, other_seed = with_engine(folder, work)
    assert alone == again != other_seed


def test_end_tokens_and_stop_tokens(models: Any) -> None:
    folder, network = models["dsa"]
    (prompt,) = prompts(5, (9,))
    expected = reference(network, prompt, 12)
    stop = expected[4]

    async def work(engine: EmbeddedEngine) -> Any:
        stopped = await answer(engine, GenerationRequest("a", prompt, greedy(stop_token_ids=(stop,))))
        longer = await answer(engine, GenerationRequest("b", prompt, greedy(stop_token_ids=(stop,), min_tokens=9)))
        return stopped, longer

    stopped, longer = with_engine(folder, work)
    assert tokens_of(stopped) == expected[: expected.index(stop) + 1]
    assert (stopped[-1].finish_reason, stopped[-1].ended_by) == ("stop", stop)
    assert len(tokens_of(longer)) >= 9
    assert stop not in tokens_of(longer)[:9]


def test_adapters_in_one_batch_do_not_mix(models: Any, tmp_path: Path) -> None:
    for kind in ("dsa", "llama"):
        folder, _ = models[kind]
        references = [AdapterRef(f"a@{i}", str(tmp_path / f"{kind}{i}"), f"{kind}{i}" * 8) for i in range(2)]
        from transformers import AutoModelForCausalLM

        fresh = AutoModelForCausalLM.from_pretrained(folder)
        for seed, adapter in enumerate(references):
            save_adapter(fresh, Path(adapter.path), seed)

        async def work(engine: EmbeddedEngine, references: list[AdapterRef] = references) -> Any:
            base = await asyncio.gather(
                *(answer(engine, GenerationRequest(f"b{i}", p, greedy())) for i, p in enumerate(prompts(6)))
            )
            for adapter in references:
                await engine.load_adapter(adapter)
                await engine.load_adapter(adapter)
            mixed = await asyncio.gather(
                *(
                    answer(engine, GenerationRequest(f"{i} {adapter}", p, greedy(), adapter))
                    for adapter in (None, *references)
                    for i, p in enumerate(prompts(6))
                )
            )
            await engine.unload_adapter(references[0])
            last = await asyncio.gather(
                *(
                    answer(engine, GenerationRequest(f"l{i}", p, greedy(), references[1]))
                    for i, p in enumerate(prompts(6))
                )
            )
            return [list(map(tokens_of, part)) for part in (base, mixed, last)]

        base, mixed, last = with_engine(folder, work)
        from peft import PeftModel

        expected = []
        for adapter in references:
            merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter.path)
            expected.append([reference(merged.merge_and_unload().eval(), p) for p in prompts(6)])
        count = len(LENGTHS)
        assert mixed[:count] == base
        assert mixed[count : 2 * count] == expected[0] != base
        assert mixed[2 * count :] == last == expected[1] != expected[0]


def test_an_aborted_request_frees_its_slot(models: Any) -> None:
    folder, _ = models["dsa"]

    async def work(engine: EmbeddedEngine) -> None:
        long = greedy(100, ignore_eos=True)
        streams = [await engine.submit(GenerationRequest(str(i), (1, 2, 3), long)) for i in range(6)]
        await anext(streams[0])
        for stream in streams[:3]:
            await stream.aclose()
        engine.abort("3")
        assert len([step async for step in streams[3]]) <= 1  # it ends
        left = [[step async for step in stream] for stream in streams[4:]]
        assert all(len(tokens_of(steps)) == 100 for steps in left)
        stats = engine.stats()
        assert (stats.running, stats.waiting, stats.kv_cache_usage) == (0, 0, 0)

    with_engine(folder, work)


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ((), greedy(), "empty"),
        ((1,) * 127, greedy(), "context is 128 tokens"),
        ((VOCABULARY,), greedy(), "not in the vocabulary"),
        ((1,), greedy(logit_bias={-1: 1.0}), "not in the vocabulary"),
    ],
)
def test_impossible_requests_are_refused(models: Any, prompt: tuple[int, ...], options: Any, words: str) -> None:
    async def work(engine: EmbeddedEngine) -> None:
        with pytest.raises(RequestError, match=words):
            await engine.submit(GenerationRequest("a", prompt, options))

    with_engine(models["dsa"][0], work)


def test_closing_ends_the_streams_and_refuses_new_ones(models: Any) -> None:
    async def work(engine: EmbeddedEngine) -> None:
        stream = await engine.submit(GenerationRequest("a", (1,), greedy(100, ignore_eos=True)))
        await anext(stream)
        await engine.close()
        with pytest.raises(EngineDownError):
            [step async for step in stream]
        with pytest.raises(EngineDownError):
            await engine.submit(GenerationRequest("b", (1,), greedy()))

    with_engine(models["dsa"][0], work)


def test_what_does_not_fit_is_named(models: Any) -> None:
    async def work(engine: EmbeddedEngine) -> None: ...

    folder = models["dsa"][0]
    with pytest.raises(ConfigError, match="lower slots or max_length"):
        with_engine(folder, work, EmbeddedOptions(slots=1000, max_length=256, cpu_cache_bytes=2**16))
    with pytest.raises(ConfigError, match="reads at most 256"):
        with_engine(folder, work, EmbeddedOptions(max_length=257))


@pytest.mark.skipif(torch.cuda.is_available() or not torch.backends.mkl.is_available(), reason="is for MKL alone")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_are_stored_by_columns_where_products_of_few_rows_are_faster_so(models: Any, dtype: str) -> None:
    folder, network = models["llama"]
    served = dict(load_slots(folder, dtype, 2, 64, 2**26).network.named_parameters())
    for name, weight in network.named_parameters():
        assert torch.equal(served[name], weight.to(served[name].dtype))
        by_columns = "_proj" in name and dtype == "float32"
        assert served[name].stride() == (weight.t().contiguous().t() if by_columns else weight).stride()

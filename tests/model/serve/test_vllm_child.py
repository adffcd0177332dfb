"""The supervised vLLM on its CPU build: equal to Hugging Face's generation, aborts, schemas, adapters and deaths."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from configs.errors import BackendError
from model.serve.port import AdapterRef, EngineDownError, GenerationRequest, GenerationStep, RequestError
from model.serve.port import SamplingOptions as Sampling
from model.serve.vllm_child.engine import VllmChildEngine
from model.serve.vllm_child.options import VllmChildOptions
from model.weights.adapter import adapter_sha256
from tests.factories.serving.byte_llama import EOS, VOCABULARY, save_adapter, save_byte_llama

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

OPTIONS = VllmChildOptions(
    dtype="float32",
    max_model_len=256,
    kv_cache_gib=0.25,
    max_num_seqs=8,
    max_adapters=2,
    max_adapter_rank=8,
    poll_interval_s=0.1,
    restart_wait_s=600,
)
PROMPTS = [tuple(range(10, 10 + length)) for length in (1, 5, 17, 60)]
LONG = Sampling(200, ignore_eos=True)
SCHEMA = {"type": "object", "required": ["ok"], "additionalProperties": False, "properties": {"ok": {"enum": [1, 2]}}}


class Served:
    """An engine and the event loop that it runs in."""

    def __init__(self, folder: Path):
        self.runner, self.number = asyncio.Runner(), 0
        self.engine = VllmChildEngine(folder, OPTIONS)
        self.run = self.runner.run

    def request(self, prompt: tuple[int, ...], sampling: Sampling, **more: Any) -> GenerationRequest:
        self.number += 1
        return GenerationRequest(f"r{self.number}", prompt, sampling, **more)

    async def steps(self, *arguments: Any, **more: Any) -> list[GenerationStep]:
        return [step async for step in await self.engine.submit(self.request(*arguments, **more))]

    async def answer(self, *arguments: Any, **more: Any) -> tuple[int, ...]:
        return sum((step.tokens for step in await self.steps(*arguments, **more)), ())

    async def until(self, condition: Any) -> None:
        while not condition(self.engine.stats()):
            await asyncio.sleep(0.05)

    def processes(self) -> dict[int, str]:
        """The command lines of vLLM's processes, by their ids."""
        supervisor = self.engine._supervisor
        assert supervisor is not None
        assert supervisor.child is not None
        return group(supervisor.child.pid)


def group(number: int) -> dict[int, str]:
    """The names of the processes of a group that are no zombies, by their ids."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, rest = (folder / "stat").read_text().rpartition(")")
            state, _, process_group, *_ = rest.split()
            if int(process_group) == number and state != "Z":
                found[int(folder.name)] = head.partition("(")[2] + (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny") / "model"
    save_byte_llama(made)
    return made


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    made = Served(folder)
    made.run(made.engine.start())
    number = made.engine._supervisor.child.pid  # type: ignore[union-attr]
    assert len(group(number)) > 1
    yield made
    made.run(made.engine.close())
    made.runner.close()
    assert group(number) == {}


def greedy(model: Any, prompt: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Hugging Face's greedy answer, end tokens included as any other."""
    import torch

    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=count, min_new_tokens=count, do_sample=False, eos_token_id=None
    )
    return tuple(out[0, len(prompt) :].tolist())


def log_probabilities(model: Any, tokens: tuple[int, ...]) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].log_softmax(-1)


async def drain(stream: Any) -> None:
    async for _ in stream:
        pass


async def together(*awaitables: Any) -> list[Any]:
    return await asyncio.gather(*awaitables)


def test_greedy_answers_are_those_of_hugging_face(served: Served, reference: Any) -> None:
    sampling = Sampling(40, temperature=0, ignore_eos=True)
    answers = served.run(together(*(served.answer(prompt, sampling) for prompt in PROMPTS)))
    assert answers == [greedy(reference, prompt, 40) for prompt in PROMPTS]
    assert served.engine.info.max_length == 256
    assert served.engine.info.vocab_size == VOCABULARY


@pytest.mark.parametrize("count", [0, 3])
def test_log_probabilities_are_those_of_the_model(served: Served, reference: Any, count: int) -> None:
    sampling = Sampling(6, temperature=0.8, seed=3, logprobs=count, ignore_eos=True, logit_bias={5: 4.0})
    steps = served.run(served.steps(PROMPTS[1], sampling))
    places = [place for step in steps for place in step.logprobs or ()]
    tokens = PROMPTS[1] + tuple(place.token for place in places)
    assert tokens[len(PROMPTS[1]) :] == sum((step.tokens for step in steps), ())
    for at, place in enumerate(places):
        expected = log_probabilities(reference, tokens)[len(PROMPTS[1]) + at - 1]
        best = expected.topk(count)
        assert place.logprob == pytest.approx(float(expected[place.token]), abs=1e-4)
        assert [token for token, _ in place.top] == best.indices.tolist()
        assert [value for _, value in place.top] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize("max_tokens", [0, 2])
def test_log_probabilities_of_the_prompt(served: Served, reference: Any, max_tokens: int) -> None:
    sampling = Sampling(max_tokens, temperature=0, logprobs=1, prompt_logprobs=2, ignore_eos=True)
    (step,) = served.run(served.steps(PROMPTS[2], sampling))
    assert step.tokens == greedy(reference, PROMPTS[2], 2)[:max_tokens]
    assert step.finish_reason == "length"
    assert len(step.logprobs or ()) == max_tokens
    assert step.prompt_logprobs is not None
    assert step.prompt_logprobs[0] is None
    expected = log_probabilities(reference, PROMPTS[2])
    for at, place in enumerate(step.prompt_logprobs[1:]):
        assert place is not None
        assert place.token == PROMPTS[2][at + 1]
        assert place.logprob == pytest.approx(float(expected[at, place.token]), abs=1e-4)
        assert [token for token, _ in place.top] == expected[at].topk(2).indices.tolist()


def test_prompts_are_scored_beside_other_requests(served: Served, reference: Any) -> None:
    scoring, plain = Sampling(1, temperature=0, prompt_logprobs=0), Sampling(20, temperature=0, ignore_eos=True)
    results = served.run(
        together(*(served.steps(prompt, sampling) for prompt in PROMPTS for sampling in (plain, scoring)))
    )
    for prompt, steps, scored in zip(PROMPTS, results[::2], results[1::2], strict=True):
        assert sum((step.tokens for step in steps), ()) == greedy(reference, prompt, 20)
        expected = log_probabilities(reference, prompt)
        values = [place.logprob for place in scored[0].prompt_logprobs[1:]]
        assert values == pytest.approx([float(expected[at, token]) for at, token in enumerate(prompt[1:])], abs=1e-4)


def test_what_ends_an_answer(served: Served, reference: Any) -> None:
    answer = greedy(reference, PROMPTS[1], 20)
    stop = answer[7]
    first = answer.index(stop)
    steps = served.run(served.steps(PROMPTS[1], Sampling(20, temperature=0, stop_token_ids=(stop,), ignore_eos=True)))
    assert sum((step.tokens for step in steps), ()) == answer[: first + 1]
    assert (steps[-1].finish_reason, steps[-1].ended_by) == ("stop", stop)
    (step,) = served.run(served.steps(PROMPTS[1], Sampling(20, logit_bias={EOS: 100})))
    assert (step.tokens, step.finish_reason, step.ended_by) == ((EOS,), "stop", EOS)
    forced = Sampling(4, logit_bias={EOS: 100}, ignore_eos=True)
    assert served.run(served.answer(PROMPTS[1], forced)) == (EOS,) * 4
    late = served.run(served.answer(PROMPTS[1], Sampling(20, logit_bias={EOS: 100}, min_tokens=3)))
    assert (len(late), late[-1], EOS in late[:-1]) == (4, EOS, False)


def test_seeds_and_restrictions_of_what_is_drawn(served: Served, reference: Any) -> None:
    sampled = {"temperature": 1.0, "ignore_eos": True}
    first, again, second = served.run(
        together(*(served.answer(PROMPTS[1], Sampling(30, seed=seed, **sampled)) for seed in (2**63 + 5, 5, 6)))
    )
    assert first == again != second
    best = greedy(reference, PROMPTS[1], 30)
    for restriction in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert served.run(served.answer(PROMPTS[1], Sampling(30, seed=1, **sampled, **restriction))) == best


def test_what_cannot_be_answered_is_refused_at_once(served: Served) -> None:
    impossible = [
        ((), Sampling(1), "prompt"),
        ((VOCABULARY,), Sampling(1), "prompt"),
        ((-1,), Sampling(1), "prompt"),
        ((1,) * 256, Sampling(1), "prompt"),
        ((1,) * 200, Sampling(57), "max_tokens"),
        ((1,), Sampling(1, min_tokens=2), "min_tokens"),
        ((1,), Sampling(1, logit_bias={VOCABULARY: 1.0}), "logit_bias"),
        ((1,), Sampling(1, stop_token_ids=(VOCABULARY,)), "stop_token_ids"),
        ((1,), Sampling(1, logprobs=21), "logprobs"),
        ((1,), Sampling(1, prompt_logprobs=21), "prompt_logprobs"),
        ((1,), Sampling(1, top_p=7.0), "top_p"),
    ]
    for prompt, sampling, parameter in impossible:
        with pytest.raises(RequestError) as refusal:
            served.run(served.answer(prompt, sampling))
        assert refusal.value.param == parameter
    assert len(served.run(served.answer((1,) * 200, Sampling(56, ignore_eos=True)))) == 56


def test_an_aborted_request_frees_its_place(served: Served, reference: Any) -> None:
    async def abort() -> None:
        requests = [served.request(PROMPTS[1], LONG) for _ in range(3)]
        streams = [await served.engine.submit(request) for request in requests]
        kept = asyncio.ensure_future(served.answer(PROMPTS[1], Sampling(60, temperature=0, ignore_eos=True)))
        await served.until(lambda stats: stats.running == 4)
        assert served.engine.stats().seconds_since_step is not None
        with pytest.raises(RequestError, match="running already"):
            await served.engine.submit(requests[0])
        served.engine.abort(requests[0].id)
        assert sum([len(step.tokens) async for step in streams[0]]) < 200
        for stream in streams[1:]:
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
            assert sum([len(step.tokens) async for step in stream]) < 200
        served.engine.abort("unknown")
        assert await kept == greedy(reference, PROMPTS[1], 60)
        waiting = asyncio.ensure_future(served.engine.submit(served.request(PROMPTS[1], LONG)))
        await asyncio.sleep(0)
        waiting.cancel()
        await served.until(lambda stats: stats.running == 0)
        assert served.engine.stats().seconds_since_step is None

    served.run(abort())


def test_a_schema_guides_the_answer(served: Served) -> None:
    async def guided(**more: Any) -> Any:
        answer = await served.answer(PROMPTS[1], Sampling(60, temperature=0), json_schema=SCHEMA)
        return json.loads(bytes_of(answer[:-1] if answer[-1] == EOS else answer))

    validate(served.run(guided()), SCHEMA)
    with pytest.raises(RequestError):
        served.run(served.answer(PROMPTS[1], Sampling(9), json_schema={"type": "no such type"}))
    assert len(served.run(served.answer(PROMPTS[1], Sampling(3, ignore_eos=True)))) == 3


def bytes_of(tokens: tuple[int, ...]) -> bytes:
    """The text of token ids: the tokenizer's tokens are the bytes, in the order of their printable forms."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = [byte for byte in range(256) if byte not in plain]
    values = {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(shifted)}
    return bytes(values[alphabet[token]] for token in tokens)


def adapter(path: Path) -> AdapterRef:
    sha256 = adapter_sha256(path)
    return AdapterRef(f"law@{sha256[:12]}", str(path), sha256)


@pytest.fixture(scope="module")
def law(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    path = tmp_path_factory.mktemp("adapters") / "law"
    save_adapter(folder, path)
    return adapter(path)


def test_requests_with_and_without_an_adapter_run_side_by_side(
    served: Served, folder: Path, reference: Any, law: AdapterRef
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), law.path).eval()
    served.run(served.engine.load_adapter(law))
    served.run(served.engine.load_adapter(law))
    sampling = Sampling(20, temperature=0, ignore_eos=True)
    pairs = [(prompt, chosen) for prompt in PROMPTS for chosen in (None, law)]
    answers = served.run(together(*(served.answer(prompt, sampling, adapter=chosen) for prompt, chosen in pairs)))
    assert answers == [greedy(adapted if chosen else reference, prompt, 20) for prompt, chosen in pairs]
    assert answers[0] != answers[1]


def test_an_adapter_that_is_gone_or_broken_is_refused(served: Served, folder: Path, tmp_path: Path) -> None:
    save_adapter(folder, tmp_path / "other", seed=5)
    other = adapter(tmp_path / "other")
    served.run(served.engine.load_adapter(other))
    assert served.run(served.answer(PROMPTS[1], Sampling(2), adapter=other))
    served.run(served.engine.unload_adapter(other))
    with pytest.raises(RequestError):
        served.run(served.answer(PROMPTS[1], Sampling(2), adapter=other))
    save_adapter(folder, tmp_path / "large", r=16)
    with pytest.raises(RequestError, match="rank"):
        served.run(served.engine.load_adapter(adapter(tmp_path / "large")))
    assert served.run(served.answer(PROMPTS[1], Sampling(2)))


@pytest.mark.parametrize("victim", ["EngineCore", "launch.py"])
def test_a_killed_process_ends_its_requests_and_is_replaced(
    served: Served, reference: Any, law: AdapterRef, victim: str
) -> None:
    restarts, generated = served.engine.stats().restarts, served.engine.stats().generated_tokens

    async def kill() -> None:
        await served.engine.load_adapter(law)
        streams = [await served.engine.submit(served.request(PROMPTS[1], LONG)) for _ in range(3)]
        for stream in streams:
            await anext(stream)
        scoring = asyncio.ensure_future(served.answer(PROMPTS[3], Sampling(2, prompt_logprobs=1, ignore_eos=True)))
        await served.until(lambda stats: (stats.running, stats.waiting) == (3, 1))
        processes = [number for number, name in served.processes().items() if victim in name]
        assert processes
        os.kill(min(processes), signal.SIGKILL)
        for stream in streams:
            with pytest.raises(EngineDownError):
                await drain(stream)
        assert len(await scoring) == 2  # it had not been sent yet
        sampling = Sampling(20, temperature=0, ignore_eos=True)
        plain, adapted = await together(
            served.answer(PROMPTS[1], sampling), served.answer(PROMPTS[1], sampling, adapter=law)
        )
        assert plain == greedy(reference, PROMPTS[1], 20) != adapted
        await served.until(lambda stats: stats.running == 0)

    served.run(kill())
    stats = served.engine.stats()
    assert (stats.restarts, stats.is_alive) == (restarts + 1, True)
    assert stats.generated_tokens >= generated + 3


def test_a_model_that_does_not_start_says_why(folder: Path) -> None:
    async def start() -> None:
        options = VllmChildOptions(dtype="float32", max_model_len=100_000, kv_cache_gib=0.25)
        await VllmChildEngine(folder, options).start()

    with pytest.raises(BackendError, match=r"max_model_len \(100000\) is greater"):
        asyncio.run(start())

"""The contract of generator backends, over all of them."""

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from configs import schema
from model.backends import BACKENDS, Backend, get, identify, open_generator, open_trainer
from stages.ports import Completion, Generator
from tests.factories.chat_server import chat_server
from tests.factories.command_line import environment
from tests.factories.requests import PASSAGE, answered, ask
from tests.factories.serving.byte_llama import save_byte_chat

pytestmark = pytest.mark.weights

SMOL = "smollm2-135m-instruct"


# A row for each backend: options of the contract's generator. The service is a real one, on this machine.
CONTRACT: dict[str, dict[str, schema.Section]] = {
    "echo": {"echo": schema.EchoOptions(defect_rate=0)},
    "transformers": {},
    "vllm": {"vllm": schema.VllmOptions(max_num_seqs=16, kv_cache_gib=1, gpu_memory_utilization=0.3)},
    "openai": {},
}
NAMES = [pytest.param(name, marks=[pytest.mark.vllm] * (name == "vllm")) for name in CONTRACT]


@contextmanager
def opened(name: str, model: str, max_model_len: int = 512) -> Iterator[Generator]:
    """A generator of the backend, which computes in float32."""
    common = {"backend": name, "model": model, "dtype": "float32", "max_model_len": max_model_len, "batch_size": 4}
    config = schema.Generator.model_validate(common | CONTRACT[name])
    with chat_server() as server:
        config = config.model_copy(update={"openai": schema.OpenAIOptions(base_url=server.url)})
        config = config.for_process(1, adapters=get(name).scores_with_adapters)
        made = open_generator(config, identify(config), 1)  # more threads stall when others use the cores
        yield made
        made.close()
        made.close()


@pytest.fixture(scope="module", params=NAMES)
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    """With a tiny model over bytes, where the backend needs one."""
    if request.param not in ("transformers", "vllm"):
        with opened(request.param, SMOL) as made:
            yield made
        return
    folder = tmp_path_factory.mktemp("tiny") / "bytes"
    save_byte_chat(folder, max_length=2048)
    with opened(request.param, str(folder), 2048) as made:
        yield made


@pytest.fixture(scope="module", params=NAMES)
def reading(request: pytest.FixtureRequest) -> Iterator[Generator]:
    """With a model that has learnt to read."""
    with opened(request.param, SMOL) as made:
        yield made


def backend_of(generator: Generator) -> Backend:
    """The declaration in whose package the generator is."""
    return next(get(name) for name in BACKENDS if type(generator).__module__.split(".")[2] == name)


def test_every_backend_is_tested() -> None:
    assert set(CONTRACT) == set(BACKENDS)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_declaration_loads_no_tensors(name: str) -> None:
    code = f"import sys; from model import backends; backends.get({name!r}).readiness()"
    code += "; sys.exit(','.join({'torch', 'transformers', 'peft', 'vllm'} & set(sys.modules)) or 0)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", BACKENDS)
def test_a_card_names_its_backend_and_is_the_same_each_time(name: str) -> None:
    config = schema.Generator.model_validate({"backend": name, "model": SMOL})
    card = identify(config)
    assert (card.name, card.backend, len(card.sha256)) == (SMOL, name, 64)
    assert identify(config) == card


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_opens_in_another_process(name: str) -> None:
    card = identify(schema.Generator.model_validate({"backend": name, "model": SMOL}))
    opener = partial(open_trainer, schema.Lora(), card, 1, 17)
    assert pickle.loads(pickle.dumps(opener)).args == opener.args
    assert (opener() is None) == (get(name).open_trainer is None)


def test_every_request_is_answered_in_order(generator: Generator) -> None:
    prompts = [f"{PASSAGE}\n\nExplain point {i}." + " Please." * (7 * i % 40) for i in range(7)]
    rows = generator.generate([ask(prompt, i) for i, prompt in enumerate(prompts)])
    assert all(map(answered, rows))
    assert {row.finish_reason for row in rows} <= {"stop", "length"}
    alone = [generator.generate([ask(prompt, i)])[0].prompt_tokens for i, prompt in enumerate(prompts[:3])]
    assert [row.prompt_tokens for row in rows[:3]] == alone


def test_the_same_shard_gives_the_same_answers(generator: Generator) -> None:
    shard = [ask(f"{PASSAGE}\n\nExplain.", seed) for seed in range(6)]
    first = generator.generate(shard)
    assert generator.generate(shard) == first
    assert len({row.text for row in first}) > 1, "the seed makes no difference"


def test_progress_counts_up_to_all_requests(generator: Generator) -> None:
    calls: list[tuple[int, int]] = []
    requests = [*(ask(f"{PASSAGE}\n\nExplain.", seed) for seed in range(6)), ask("word " * 600)]
    rows = generator.generate(requests, lambda rows, tokens: calls.append((rows, tokens)))
    assert calls[-1] == (len(rows), sum(row.output_tokens for row in rows))
    for column in zip(*calls, strict=True):
        assert list(column) == sorted(column)


def test_at_temperature_zero_the_seed_is_nothing(generator: Generator) -> None:
    rows = generator.generate([ask(PASSAGE, seed, sampling={"temperature": 0}) for seed in (1, 2)])
    assert rows[0].text == rows[1].text


def test_each_row_has_its_own_length(generator: Generator) -> None:
    rows = generator.generate([ask(PASSAGE, 5, max_tokens=count) for count in (1, 3, 9)])
    assert all(row.output_tokens <= count for row, count in zip(rows, (1, 3, 9), strict=True))
    assert rows[0].finish_reason == "length"


def test_a_prompt_that_is_too_long_fails_alone(generator: Generator) -> None:
    rows = generator.generate([ask(PASSAGE), ask("word " * 600), ask(PASSAGE, 2)])
    assert answered(rows[0])
    assert answered(rows[2])
    assert rows[1].finish_reason == "error"
    assert "prompt_too_long" in (rows[1].error or "")
    assert rows[1].text == ""


def test_odd_texts_do_no_harm(generator: Generator) -> None:
    texts = ["", "\x00", "\ud800 half", "<|im_end|>", "{{ passage }}", "法律规定，" * 20]
    assert len(generator.generate([ask(text) for text in texts])) == len(texts)
    assert generator.generate([]) == []


def test_sampling_extremes(generator: Generator) -> None:
    settings = [
        {"top_k": 0, "top_p": 1},
        {"top_k": 1},
        {"top_p": 0.01},
        {"temperature": 2},
        {"repetition_penalty": 1.3},
    ]
    assert all(answered(row) for row in generator.generate([ask(PASSAGE, sampling=setting) for setting in settings]))


def test_an_answer_is_more_likely_where_the_prompt_says_it(reading: Generator) -> None:
    if not backend_of(reading).scores:
        return
    text = "The controller shall provide a copy of the data."
    requests = [ask(PASSAGE, scored=text), ask("Name a colour.", scored=text), ask(PASSAGE, scored="")]
    told, untold, empty = reading.generate(requests)
    assert told.log_probability is not None
    assert untold.log_probability is not None
    assert 0 > told.log_probability > untold.log_probability
    assert told.output_tokens == untold.output_tokens > 5
    assert (told.text, empty.log_probability) == ("", 0)
    assert reading.generate(requests) == [told, untold, empty]


def test_an_answer_has_its_own_log_probability_where_it_is_asked_for(reading: Generator) -> None:
    if not backend_of(reading).scores:
        return
    asked = ask(PASSAGE, likelihood=True, sampling={"temperature": 0.7, "repetition_penalty": 1.1})
    (row,) = reading.generate([asked])
    (plain,) = reading.generate([replace(asked, likelihood=False)])
    (again,) = reading.generate([replace(asked, scored=row.text)])
    assert (plain.text, plain.log_probability) == (row.text, None)
    assert row.log_probability is not None
    assert again.log_probability is not None
    assert row.log_probability == pytest.approx(again.log_probability, rel=0.1)


def test_an_answer_goes_on_from_its_given_beginning(generator: Generator) -> None:
    begin = "The controller shall provide"
    if not backend_of(generator).continues:
        return
    plain, begun = generator.generate([ask(PASSAGE), ask(PASSAGE, begin=begin)])
    assert answered(begun)
    assert begun.prompt_tokens >= plain.prompt_tokens
    assert not begun.text.startswith(begin)


def test_a_scored_answer_that_is_too_long_fails_alone(generator: Generator) -> None:
    if backend_of(generator).scores:
        long, short = generator.generate([ask(PASSAGE, scored="word " * 600), ask(PASSAGE, scored="word")])
        assert "prompt_too_long" in (long.error or "")
        assert (long.log_probability, short.error) == (None, None)


def test_several_threads_share_it(generator: Generator) -> None:
    shards = [[ask(PASSAGE + f" {shard}" * (shard + 1), seed) for seed in range(2)] for shard in range(3)]
    found: dict[int, list[Completion]] = {}
    threads = [
        threading.Thread(target=lambda index=index, shard=shard: found.update({index: generator.generate(shard)}))
        for index, shard in enumerate(shards)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, shard in enumerate(shards):
        expected = generator.generate(shard)
        assert all(map(answered, found[index]))
        assert [row.prompt_tokens for row in found[index]] == [row.prompt_tokens for row in expected]

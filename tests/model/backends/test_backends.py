"""One contract over every generator, and the openai backend's faults against a real server."""

import json
import threading
from collections.abc import Iterator

import pytest
from jsonschema import validate

from configs import schema
from configs.errors import BackendError, ConfigError
from model.backends import identify, open_generator
from model.backends.openai import OpenAIGenerator
from stages.ports import Adapter, Completion, Generator, Request
from tests.factories.chat_server import ChatServer, chat_server

pytestmark = pytest.mark.weights

PASSAGE = (
    "The data subject shall have the right to obtain from the controller confirmation as to whether or not personal "
    "data concerning him or her are being processed. Where that is the case, the controller shall provide a copy of "
    "the data. For further copies the controller may charge a reasonable fee based on administrative costs."
)
SMOL = "smollm2-135m-instruct"


def ask(text: str, seed: int = 1, max_tokens: int = 12, **more) -> Request:
    sampling = schema.Sampling(max_tokens=max_tokens, **more.pop("sampling", {}))
    return Request(f"r{seed}", ({"role": "user", "content": text},), sampling, seed, **more)


@pytest.fixture(scope="module", params=["echo", "transformers", "openai", pytest.param("vllm", marks=pytest.mark.vllm)])
def generator(request: pytest.FixtureRequest) -> Iterator[Generator]:
    config = schema.Generator(
        backend=request.param,
        model=SMOL,
        max_model_len=512,
        batch_size=4,
        echo=schema.EchoOptions(defect_rate=0),
        vllm=schema.VllmOptions(max_num_seqs=16, kv_cache_gib=1, gpu_memory_utilization=0.3),
    )
    with chat_server() as server:
        config = config.model_copy(update={"openai": schema.OpenAIOptions(base_url=server.url)})
        made = open_generator(config, identify(config), 1)  # more threads stall when others use the cores
        yield made
        made.close()
        made.close()


def good(row: Completion) -> bool:
    return row.error is None and bool(row.text) and row.prompt_tokens > 0 and row.output_tokens > 0


def test_every_request_is_answered_in_order(generator: Generator) -> None:
    prompts = [f"{PASSAGE}\n\nExplain point {i}." + " Please." * (7 * i % 40) for i in range(7)]
    rows = generator.generate([ask(prompt, i) for i, prompt in enumerate(prompts)])
    assert all(map(good, rows))
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
    rows = generator.generate(requests, lambda answered, tokens: calls.append((answered, tokens)))
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
    assert good(rows[0])
    assert good(rows[2])
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
    assert all(good(row) for row in generator.generate([ask(PASSAGE, sampling=setting) for setting in settings]))


def test_several_threads_share_it(generator: Generator) -> None:
    shards = [[ask(PASSAGE + f" {shard}" * (shard + 1), seed) for seed in range(5)] for shard in range(3)]
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
        assert all(map(good, found[index]))
        assert [row.prompt_tokens for row in found[index]] == [row.prompt_tokens for row in expected]


# echo


SCHEMA = {
    "type": "object",
    "required": ["topic", "terms", "level", "score", "rank"],
    "additionalProperties": False,
    "properties": {
        "topic": {"type": "string", "minLength": 2, "maxLength": 40},
        "long": {"type": "string", "minLength": 200},
        "terms": {"type": "array", "minItems": 2, "maxItems": 8, "items": {"$ref": "#/$defs/term"}},
        "level": {"enum": ["low", "high"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "rank": {"type": "integer", "minimum": 3, "maximum": 4},
        "question": {"type": "string", "pattern": "[?？]"},
    },
    "$defs": {"term": {"type": "string", "minLength": 1, "maxLength": 100}},
}


def echo(rate: float) -> Generator:
    config = schema.Generator(backend="echo", model="echo", echo=schema.EchoOptions(defect_rate=rate))
    return open_generator(config, identify(config), 1)


@pytest.mark.parametrize("passage", [PASSAGE, "控制者应当提供个人数据的副本。数据主体有权获得确认。收取合理费用。" * 3])
def test_echo_keeps_a_schema(passage: str) -> None:
    rows = echo(0).generate(
        [ask(f"{passage}\n\nJSON.", seed, 400, json_schema=json.dumps(SCHEMA)) for seed in range(50)]
    )
    for row in rows:
        validate(json.loads(row.text), SCHEMA)


def test_echo_keeps_labels() -> None:
    form = "\n\nWrite a question. Use this form:\nQuestion: <one question>\nAnswer: <its answer>"
    for row in echo(0).generate([ask(PASSAGE + form, seed, 100) for seed in range(20)]):
        first, second = row.text.splitlines()
        assert first.startswith("Question: ")
        assert first.endswith("?")
        assert second.startswith("Answer: ")


def test_echo_spoils_the_asked_share() -> None:
    shard = [ask(f"{PASSAGE}\n\nExplain.", seed, 400) for seed in range(1000)]
    clean, spoilt = echo(0).generate(shard), echo(0.3).generate(shard)
    assert all(row.finish_reason == "stop" for row in clean)
    kinds = {
        "refusal": sum("can't help" in row.text or "cannot answer" in row.text for row in spoilt),
        "prompt_echo": sum(row.text.startswith(PASSAGE) for row in spoilt),
        "truncated": sum(row.finish_reason == "length" for row in spoilt),
        "loop": sum(len(set(row.text.split())) * 4 < len(row.text.split()) for row in spoilt),
    }
    assert all(kinds.values()), kinds
    assert 230 < sum(kinds.values()) < 370


def test_echo_says_it_otherwise_with_an_adapter() -> None:
    base, adapted = (
        echo(0).generate([ask(PASSAGE, seed, 100, adapter=adapter) for seed in range(5)])
        for adapter in (None, Adapter("law@1", "", "1"))
    )
    assert all(one.text != other.text for one, other in zip(base, adapted, strict=True))


# openai


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        yield made


@pytest.fixture
def service(server: ChatServer) -> Iterator[OpenAIGenerator]:
    config = schema.Generator(
        backend="openai", model="m", openai=schema.OpenAIOptions(base_url=server.url, retries=3, max_concurrency=4)
    )
    made = OpenAIGenerator(config, identify(config), 1)
    yield made
    made.close()


@pytest.mark.parametrize("fault", ["429", "500", "503", "half", "garbage"])
def test_a_fault_that_passes_is_tried_again(server: ChatServer, service: OpenAIGenerator, fault: str) -> None:
    server.faults.extend([fault, fault])
    rows = service.generate([ask(PASSAGE, seed) for seed in range(3)])
    assert all(map(good, rows))
    assert len(server.seen) == 5


def test_a_refused_row_fails_alone_and_once(server: ChatServer, service: OpenAIGenerator) -> None:
    server.faults.append("400")
    rows = service.generate([ask(PASSAGE, seed) for seed in range(4)])
    assert sum(map(good, rows)) == 3
    assert [row.error[:19] for row in rows if row.error] == ["refused: status 400"]
    assert len(server.seen) == 4


def test_a_service_that_refuses_everything_is_an_error(server: ChatServer, service: OpenAIGenerator) -> None:
    server.always = "400"
    with pytest.raises(BackendError, match=r"nor a trivial one.*status 400"):
        service.generate([ask(PASSAGE, seed) for seed in range(4)])


@pytest.mark.parametrize("fault", ["400", "500"])
def test_where_only_the_texts_are_at_fault_the_rows_fail_alone(
    server: ChatServer, service: OpenAIGenerator, fault: str
) -> None:
    """A last shard of one row that the service never answers must not stop the run for ever."""
    server.faults.extend([fault] * (1 if fault == "400" else 4))
    (row,) = service.generate([ask(PASSAGE)])
    assert row.error is not None
    assert fault in row.error


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_wrong_key_or_address_stops_everything(server: ChatServer, service: OpenAIGenerator, status: str) -> None:
    server.always = status
    with pytest.raises(BackendError, match=rf"base_url.*{status}"):
        service.generate([ask(PASSAGE, seed) for seed in range(30)])
    assert len(server.seen) < 30


def test_a_dead_service_is_an_error(server: ChatServer, service: OpenAIGenerator) -> None:
    server.always = "429"
    with pytest.raises(BackendError, match="base_url"):
        service.generate([ask(PASSAGE)])
    assert len(server.seen) == 5  # and a probe


def test_what_is_sent(server: ChatServer, service: OpenAIGenerator) -> None:
    rows = service.generate([ask(f"{PASSAGE}\n\nJSON.", 7, 200, json_schema=json.dumps(SCHEMA)) for _ in range(20)])
    validate(json.loads(rows[0].text), SCHEMA)
    headers, body = server.seen[0]
    assert body["model"] == "m"
    assert body["seed"] == 7
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "Authorization" not in headers
    assert server.most <= 4


def test_the_key_comes_from_the_environment(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    options = schema.OpenAIOptions(base_url="https://models.example/v1", api_key_env="SOME_KEY")
    config = schema.Generator(backend="openai", model="m", openai=options)
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ConfigError, match="SOME_KEY"):
        open_generator(config, identify(config), 1)
    monkeypatch.setenv("SOME_KEY", "k-1")
    local = config.model_copy(update={"openai": options.model_copy(update={"base_url": server.url})})
    made = open_generator(local, identify(local), 1)
    assert good(made.generate([ask(PASSAGE)])[0])
    made.close()
    assert server.seen[0][0]["Authorization"] == "Bearer k-1"


def test_identify_loads_no_tensors() -> None:
    import subprocess
    import sys

    code = "import sys, model.backends; assert not {'torch', 'transformers', 'vllm', 'httpx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_service_cannot_be_pinned() -> None:
    with pytest.raises(ConfigError, match=r"generator\.sha256"):
        identify(schema.Generator(backend="openai", model="m", sha256="0" * 64))

"""Faults of a chat completions service, against a real server on this machine."""

import json
from collections.abc import Iterator

import pytest
from jsonschema import validate

from configs import schema
from configs.errors import BackendError, ConfigError
from model.backends import identify, open_generator
from model.backends.openai.generator import OpenAIGenerator
from model.backends.openai.rate_limit import retry_after_s
from tests.factories.chat_server import ChatServer, chat_server
from tests.factories.requests import PASSAGE, SCHEMA, answered, ask


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
    assert all(map(answered, rows))
    assert len(server.seen) == 5


@pytest.mark.parametrize(
    ("headers", "words", "seconds"),
    [
        ({"retry-after": "7"}, "", 7),
        ({"retry-after": "1m30s"}, "", 90),
        ({"retry-after": "-3"}, "", 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:27:40 GMT"}, "", 20),
        ({"retry-after-ms": "1500", "retry-after": "2"}, "", 1.5),
        ({}, "Rate limit reached. Please try again in 1m30.5s.", 90.5),
        ({}, '"retryDelay": "34s"', 34),
        ({"retry-after": "soon"}, "Please retry after 42 seconds.", 42),
        ({"retry-after": "nan"}, "Try again later.", None),
    ],
)
def test_how_long_a_service_asks_to_wait(headers: dict[str, str], words: str, seconds: float | None) -> None:
    assert retry_after_s(headers, words) == seconds


def test_a_refused_row_fails_alone_and_once(server: ChatServer, service: OpenAIGenerator) -> None:
    server.faults.append("400")
    rows = service.generate([ask(PASSAGE, seed) for seed in range(4)])
    assert sum(map(answered, rows)) == 3
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
    assert answered(made.generate([ask(PASSAGE)])[0])
    made.close()
    assert server.seen[0][0]["Authorization"] == "Bearer k-1"


def test_a_service_cannot_be_pinned() -> None:
    with pytest.raises(ConfigError, match=r"generator\.sha256"):
        identify(schema.Generator(backend="openai", model="m", sha256="0" * 64))


@pytest.mark.parametrize("more", [{"begin": "The"}, {"scored": "Yes."}])
def test_what_a_service_cannot_do_is_refused(service: OpenAIGenerator, more: dict[str, str]) -> None:
    with pytest.raises(BackendError, match="neither continues nor scores"):
        service.generate([ask("Why?", **more)])

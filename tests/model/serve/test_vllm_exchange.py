"""Answers of HTTP over a Unix socket: whole and streamed, however the bytes are cut, and broken off."""

import asyncio
import json
from pathlib import Path

import pytest

from model.serve.port import EngineDownError, GenerationRequest, RequestError, SamplingOptions
from model.serve.vllm_child.client import ChildClient, NotConnectedError
from model.serve.vllm_child.exchange import Exchange, ReplyError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
REQUEST = GenerationRequest("r1", (5, 6), SamplingOptions(8))


def chunk(content: bytes) -> bytes:
    return b"%X\r\n%b\r\n" % (len(content), content)


def event(token: int, finish: str | None = None) -> bytes:
    choice = {"index": 0, "token_ids": [token], "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def read(*pieces: bytes) -> bytes:
    """The body of an answer that arrives in such pieces."""

    async def run() -> bytes:
        reader = asyncio.StreamReader()
        exchange = Exchange(reader, None)  # type: ignore[arg-type]

        async def feed() -> None:
            for piece in pieces:
                reader.feed_data(piece)
                for _ in range(3):
                    await asyncio.sleep(0)
            reader.feed_eof()

        feeding = asyncio.create_task(feed())
        await exchange.head()
        content = await exchange.body()
        await feeding
        return content

    return asyncio.run(run())


def test_chunks_are_joined_wherever_they_are_cut() -> None:
    content = CHUNKED + chunk(b"one\r\n") + chunk(b"0\r\n\r\n") + b"3;name=value\r\nend\r\n" + b"0\r\n\r\n"
    for place in range(1, len(content)):
        assert read(content[:place], content[place:]) == b"one\r\n0\r\n\r\nend", place
    assert read(*(content[place : place + 1] for place in range(len(content)))) == b"one\r\n0\r\n\r\nend"


def test_a_body_has_its_length_or_ends_with_the_connection() -> None:
    assert read(HEAD + b"Content-Length: 5\r\n\r\nab", b"cde") == b"abcde"
    assert read(HEAD + b"\r\nab", b"c") == b"abc"
    assert read(HEAD + b"content-length: 0\r\n\r\n") == b""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEAD,
        b"no http\r\n\r\n",
        CHUNKED + b"5\r\nab",
        CHUNKED + chunk(b"ab"),
        CHUNKED + b"x\r\nab\r\n",
        HEAD + b"content-length: 9\r\n\r\nab",
    ],
)
def test_an_answer_that_is_broken_off_is_an_error(content: bytes) -> None:
    with pytest.raises(ReplyError):
        read(content)


def answered(folder: Path, *pieces: bytes) -> tuple[list[tuple[int, ...]], Exception | None, list[str]]:
    """The tokens of the steps that a child's answer makes, the error behind them, and what was seen."""

    async def run() -> tuple[list[tuple[int, ...]], Exception | None, list[str]]:
        seen: list[str] = []
        has_left = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if pieces:
                while await reader.read(1000):
                    pass
            has_left.set()
            writer.close()

        server = await asyncio.start_unix_server(answer, str(folder / "s"))
        client, steps, failure = ChildClient(folder / "s", 5), [], None
        try:
            async with server:
                async for step in client.steps(REQUEST, "salt", lambda: seen.append("admitted")):
                    steps.append(step.tokens)
        except Exception as error:
            failure = error
        await has_left.wait()  # the connection is closed with the answer
        await client.close()
        return steps, failure, seen

    return asyncio.run(run())


def test_events_that_come_at_once_are_one_step(tmp_path: Path) -> None:
    content = CHUNKED + chunk(event(1)) + chunk(event(2) + event(3)[:9]) + chunk(event(3)[9:])
    content += chunk(event(4, "length")) + chunk(DONE) + b"0\r\n\r\n"
    steps, failure, seen = answered(tmp_path, content)
    assert (sum(steps, ()), failure, seen) == ((1, 2, 3, 4), None, ["admitted"])
    assert len(steps) == 1


def test_tokens_before_an_error_are_not_lost(tmp_path: Path) -> None:
    error = b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
    steps, failure, _ = answered(tmp_path, CHUNKED + chunk(event(1)) + chunk(event(2) + error))
    assert (sum(steps, ()), type(failure)) == ((1, 2), EngineDownError)
    assert "EngineCore died" in str(failure)


def test_an_answer_that_is_no_success_is_the_requests_error(tmp_path: Path) -> None:
    body = b'{"error": {"message": "too long", "param": "max_tokens", "code": 400}}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body)
    steps, failure, seen = answered(tmp_path, head + body)
    assert (steps, type(failure), str(failure), seen) == ([], RequestError, "too long", [])


def test_a_child_that_closes_the_connection_has_failed(tmp_path: Path) -> None:
    steps, failure, _ = answered(tmp_path)
    assert (steps, type(failure)) == ([], EngineDownError)


def test_a_child_that_does_not_listen_was_sent_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        client = ChildClient(tmp_path / "none", 5)
        with pytest.raises(NotConnectedError):
            await anext(aiter(client.steps(REQUEST, "salt", lambda: None)))
        await client.close()

    asyncio.run(run())

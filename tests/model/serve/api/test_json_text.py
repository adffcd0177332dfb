"""Bodies are read as Python's parser reads them, whatever they are."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.serve.api.json_text import JsonRequest


def read(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return asyncio.run(JsonRequest({"type": "http", "headers": []}, receive).json())


def outcome(parse: Any, body: bytes) -> str:
    """What a parser gives, as text: equal numbers of other types differ in it, and NaN is like itself."""
    try:
        return repr(parse(body))
    except (ValueError, RecursionError) as error:
        return type(error).__name__


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
@example("\ud800", True)
@example([10**400, -0.0, 1e308], True)
def test_values_are_those_of_python(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert outcome(read, body) == outcome(json.loads, body)


@given(st.binary(max_size=60))
@example(b'{"a": 1, "a": 2}')
@example(b"[1,]")
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 500 + b"]" * 500)
@example(b"1e999")
@example(b'"\x01"')
def test_other_bytes_are_read_or_refused_as_by_python(body: bytes) -> None:
    assert outcome(read, body) == outcome(json.loads, body)


def test_it_is_read_once() -> None:
    parts = iter([b'{"prompt": [1, 2', b", 3]}"])

    async def receive() -> dict[str, Any]:
        body = next(parts)
        return {"type": "http.request", "body": body, "more_body": not body.endswith(b"}")}

    async def twice() -> tuple[Any, Any]:
        request = JsonRequest({"type": "http", "headers": []}, receive)
        return await request.json(), await request.json()

    first, second = asyncio.run(twice())
    assert first == {"prompt": [1, 2, 3]}
    assert first is second
    with pytest.raises(StopIteration):
        next(parts)

"""JSON as the API writes it: compact, UTF-8, without values that JSON does not have."""

import json
from typing import Any

LEAST_LOGPROB = -9999.0  # in place of minus infinity, as OpenAI's API has it


_ENCODERS = {
    ascii_only: json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))
    for ascii_only in (False, True)
}


def json_bytes(value: Any, *, ascii_only: bool = False) -> bytes:
    """The value as JSON. `ascii_only`: escape other characters, so that lone surrogates are written too."""
    return _ENCODERS[ascii_only].encode(value).encode()


def finite(logprob: float) -> float:
    """A log-probability as JSON can write it."""
    return max(logprob, LEAST_LOGPROB)

"""Errors in the shape of OpenAI's API: {"error": {"message", "type", "param", "code"}}."""

import math
from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from typing_extensions import TypedDict  # pydantic does not read that of Python 3.11

from model.serve.api.json_text import json_bytes

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
}


class ErrorDetail(TypedDict):
    """What is wrong. `param`: the field of the request; `code`: for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every answer that is no success."""

    error: ErrorDetail


class ApiError(HTTPException):
    """A request that is not answered as asked.

    Args:
        status: the HTTP status.
        message: what is wrong and how to fix it.
        param: the field of the request that is wrong.
        code: a word for programs, such as `model_not_found`.
        retry_after_s: when to try again.
        retry: False tells clients not to send the request again, which they do by themselves after 408, 429 and 5xx.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        retry: bool | None = None,
    ) -> None:
        headers: dict[str, str] = {}
        if retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        if retry is not None:
            headers["X-Should-Retry"] = str(retry).lower()
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.param, self.code = param, code

    @property
    def body(self) -> ErrorBody:
        """The error as its JSON object."""
        kind = ERROR_TYPES.get(self.status_code, "invalid_request_error" if self.status_code < 500 else "server_error")
        return {"error": {"message": self.detail, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The error as a whole answer."""
        content = json_bytes(self.body, ascii_only=True)  # a message may quote text that UTF-8 cannot encode
        return Response(content, self.status_code, self.headers, media_type="application/json")


def context_error(length: int, wrong: str, param: str) -> ApiError:
    """A request that does not fit into the context of `length` tokens. `wrong`: its prompt or answer, and the fix.

    Clients know it by the words: LangChain and LiteLLM do not look at the code.
    """
    message = f"This model's maximum context length is {length} tokens, and {wrong}"
    return ApiError(400, message, param=param, code="context_length_exceeded")


def of_http(error: HTTPException) -> ApiError:
    """An error of the framework: no such route or method, a body that is no JSON."""
    texts = {
        400: "The body cannot be read as JSON.",
        404: "There is no such route; GET /openapi.json lists them.",
        405: "This route has other methods.",
    }
    converted = ApiError(error.status_code, texts.get(error.status_code, str(error.detail)))
    converted.headers = {**(converted.headers or {}), **(error.headers or {})}
    return converted


def of_validation(problems: Sequence[Any], known_fields: frozenset[str]) -> ApiError:
    """The first of pydantic's errors. `known_fields`: the fields of the request's schema."""
    problem = problems[0]
    place = [str(part) for part in problem["loc"][1:]]
    if problem["type"] == "json_invalid":
        return ApiError(400, f"The body is no JSON: {problem.get('ctx', {}).get('error', 'it cannot be read')}.")
    if not place:
        return ApiError(400, "The body must be a JSON object, sent with the header Content-Type: application/json.")
    if place[0] not in known_fields or _allows_only_nothing(problem):
        message = f"{'.'.join(place)}: this server does not support it; leave it out."
        return ApiError(400, message, param=place[0], code="unsupported_parameter")
    text = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return ApiError(400, f"{'.'.join(place)}: {text}.", param=place[0], code="invalid_value")


def _allows_only_nothing(problem: Any) -> bool:
    """Whether the schema has the field only because clients send it with the value that changes nothing."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "none_required":
            return True
        case "too_long":
            return context["max_length"] == 0
        case "literal_error":
            return context["expected"] in ("False", "True", "''")
    return False


INTERNAL_ERROR = ApiError(500, "The server failed; its log says where.", code="internal_error")

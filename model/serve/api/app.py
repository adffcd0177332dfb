"""`create_app`: the HTTP server as a FastAPI application."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from model.serve.api.errors import ApiError, of_http, of_validation
from model.serve.api.lifecycle import Lifecycle
from model.serve.api.middleware import ServingMiddleware
from model.serve.api.routes import create_router
from model.serve.api.schema.bodies import ChatBody, CompletionBody, DetokenizeBody, TokenizeBody
from model.serve.api.schema.fields import field_names
from model.serve.api.serving import Serving

_FIELDS = {
    "/v1/completions": field_names(CompletionBody),
    "/v1/chat/completions": field_names(ChatBody),
    "/tokenize": field_names(TokenizeBody),
    "/detokenize": field_names(DetokenizeBody),
}


def create_app(serving: Serving, lifecycle: Lifecycle | None = None) -> FastAPI:
    """The application. Its engine must be started and closed by the caller.

    Args:
        serving: what is served.
        lifecycle: tells it that the server stops.
    """
    lifecycle = lifecycle or Lifecycle()
    app = FastAPI(
        title="Gristmill",
        description="An OpenAI-compatible API.",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=_HANDLERS,
    )
    router = create_router(serving, lifecycle)
    app.include_router(router)
    _leave_out_422(app)
    paths = ["/openapi.json", *(str(getattr(route, "path", "")) for route in router.routes)]
    app.add_middleware(ServingMiddleware, serving=serving, lifecycle=lifecycle, routes=paths)  # type: ignore[arg-type]
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return (error if isinstance(error, ApiError) else of_http(error)).response()


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_validation(error.errors(), _FIELDS.get(request.url.path, frozenset())).response()


_HANDLERS: dict[Any, Any] = {HTTPException: _http_error, RequestValidationError: _validation_error}


def _leave_out_422(app: FastAPI) -> None:
    """FastAPI describes its own answer to wrong requests, which are answered with 400 here."""
    create_schema = app.openapi

    def openapi() -> dict[str, Any]:
        schema = create_schema()
        for methods in schema["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        return schema

    app.openapi = openapi

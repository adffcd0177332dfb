"""The report server's Starlette application: which address shows which page, and what is refused.

It is read-only and keeps no state. Dates and row ids are looked up in the data set; nothing of a request ever becomes
a path on disk. Every answer carries a content-security-policy that forbids all but the page's own style.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from configs.errors import GristmillError, InputError
from model.serve.listening import is_loopback
from pipeline.pages.browse import Query
from pipeline.pages.evolve_report import evolve_report
from pipeline.pages.report import date_report
from pipeline.pages.template import policy
from pipeline.pages.views import compare_page, dates_page, problem_page, row_page, rows_page
from pipeline.store.dataset import DataSet

MAX_QUERY_FIELDS = 50


def create_app(data: DataSet, *, loopback: bool) -> Starlette:
    """The application for one data set. With `loopback`, only requests to a loopback host name are answered."""

    def route(path: str, page: Callable[[Request], str]) -> Route:
        def answer(request: Request) -> Response:  # not async: Starlette calls it in a thread of its pool
            return _response(page(request))

        return Route(path, answer, methods=["GET"])

    app = Starlette(
        routes=[
            route("/", lambda request: dates_page(data)),
            route("/report/{date:path}", lambda request: date_report(data, request.path_params["date"], served=True)),
            route("/rows", lambda request: rows_page(data, Query.from_fields(_query(request)))),
            route(
                "/row/{id:path}",
                lambda request: row_page(data, request.path_params["id"], _query(request).get("date", "")),
            ),
            route("/compare", lambda request: _compare(data, _query(request))),
            route("/evolve", lambda request: evolve_report(data, served=True)),
        ],
        middleware=[Middleware(LoopbackHostMiddleware)] if loopback else [],
        exception_handlers={
            HTTPException: _http_error,
            InputError: lambda request, error: _problem(404, str(error)),
            GristmillError: lambda request, error: _problem(500, str(error)),
            Exception: lambda request, error: _problem(500, "This page failed. The terminal of the server says why."),
        },
    )
    app.router.redirect_slashes = False
    return app


def _compare(data: DataSet, fields: dict[str, str]) -> str:
    return compare_page(data, fields.get("now", ""), fields.get("then", ""))


def _query(request: Request) -> dict[str, str]:
    try:
        return dict(parse_qsl(request.url.query, max_num_fields=MAX_QUERY_FIELDS))
    except ValueError:
        raise HTTPException(400, f"The address has more than {MAX_QUERY_FIELDS} fields.") from None


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {404: "There is no such page.", 405: "Pages can only be read: GET and HEAD."}
    response = _problem(error.status_code, texts.get(error.status_code, error.detail))
    response.headers.update(error.headers or {})
    return response


def _problem(status: int, text: str) -> Response:
    return _response(problem_page(text), status)


def _response(page: str, status: int = 200) -> Response:
    headers = {
        "Content-Security-Policy": f"{policy()}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Connection": "close",  # one request per connection: the server's time limit then covers every request
    }
    return HTMLResponse(page, status, headers)


class LoopbackHostMiddleware:
    """Refuses requests whose Host is not `localhost` or a loopback address.

    Otherwise any web site could read the pages by pointing a name of its own at this machine (DNS rebinding).
    Starlette's TrustedHostMiddleware takes a list of names and cannot cover all of 127.0.0.0/8.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            allowed = is_loopback(urlsplit(f"//{Request(scope).headers.get('Host', '')}").hostname or "")
        except ValueError:
            await _problem(400, "The request's Host header is not valid.")(scope, receive, send)
            return
        if allowed:
            await self._app(scope, receive, send)
        else:
            text = "This server only answers to names of this machine, such as localhost."
            await _problem(403, text)(scope, receive, send)

"""`gristmill report serve`: the data set's pages on this machine. Read-only, without state, a thread a request.

Every path is looked up among the dates and ids that the data set has: no path of a request becomes a path on disk.
Answers carry a content-security-policy that lets nothing in. Bound to a loopback address, it answers only to loopback
names, so that no other site can read it by pointing a name of its own at this machine (DNS rebinding).
"""

import ipaddress
import logging
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from configs.errors import ConfigError, GristmillError, InputError
from pipeline.pages import browse
from pipeline.pages.charts import CHART_WIDTH
from pipeline.pages.compare import compare
from pipeline.pages.report import finished, report, totals
from pipeline.pages.template import policy, render
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import lineage

LISTED = 400  # days


def serve(data: DataSet, host: str, port: int) -> None:
    """Answers until it is interrupted. Raises ConfigError when it cannot listen there."""
    with listen(data, host, port) as server:
        print(f"gristmill: {address(server)} shows {data.root}; Ctrl-C ends it", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def listen(data: DataSet, host: str, port: int) -> ThreadingHTTPServer:
    """The server, bound and not yet answering; port 0 takes a free one."""
    handler = type("Handler", (_Handler,), {"data": data})
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = type("Server", (ThreadingHTTPServer,), {"address_family": family})((host, port), handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port, --host: cannot listen on {host} port {port} ({error}); choose others") from None
    handler.loopback = ipaddress.ip_address(server.socket.getsockname()[0]).is_loopback
    return server


def address(server: ThreadingHTTPServer) -> str:
    host, port = server.socket.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class _Handler(BaseHTTPRequestHandler):
    data: DataSet
    loopback: bool  # whether nobody but this machine is meant to ask
    server_version, sys_version = "gristmill", ""
    timeout = 30  # seconds that a request may take to arrive

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        try:
            if not self._known_host():
                self._send(HTTPStatus.FORBIDDEN, _problem("This server answers to this machine's own names."))
                return
            parts = urlsplit(self.path)
            fields = dict(parse_qsl(parts.query, max_num_fields=50))
        except ValueError:
            self._send(HTTPStatus.BAD_REQUEST, _problem("This is no address."))
            return
        try:
            page = route(self.data, [unquote(part) for part in parts.path.split("/") if part], fields)
        except InputError as error:
            self._send(HTTPStatus.NOT_FOUND, _problem(str(error)))
        except GristmillError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, _problem(str(error)))
        except Exception:
            logging.getLogger(__name__).exception("%s", self.path[:200])
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, _problem("This page failed; the terminal has the story."))
        else:
            self._send(HTTPStatus.OK, page)

    def _known_host(self) -> bool:
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        return not self.loopback or name == "localhost" or _is_loopback(name)

    def _send(self, status: HTTPStatus, page: str) -> None:
        body = page.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", f"{policy()}; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses by itself: other methods, lines that are too long."""
        self.close_connection = True
        self._send(HTTPStatus(code), _problem(message or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not told."""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def route(data: DataSet, path: list[str], fields: Mapping[str, str]) -> str:
    """The page at a path. Raises InputError where there is none."""
    match path:
        case []:
            return _days(data)
        case ["report", date]:
            return report(data, date, served=True)
        case ["rows"]:
            return _rows(data, browse.Query.read(fields))
        case ["row", row_id]:
            return _row(data, row_id, fields.get("date", ""))
        case ["compare"]:
            return _compare(data, fields.get("now", ""), fields.get("then", ""))
    raise InputError("There is no such page.")


def _problem(text: str) -> str:
    return render("problem.html", title="No page", here="", text=text)


def _days(data: DataSet) -> str:
    dates = data.dates()
    manifests = [manifest for date in reversed(dates[-LISTED:]) if (manifest := data.manifest(date))]
    days = [(manifest, totals(manifest)) for manifest in manifests]
    before = {date: other for other, date in pairwise(dates)}
    return render(
        "days.html", title=data.root.name, here="days", days=days, before=before, hidden=len(dates) - len(days)
    )


def _rows(data: DataSet, query: browse.Query) -> str:
    if query.date:
        finished(data, query.date)
    dates = data.dates()
    asked = [query.date] if query.date else dates[-LISTED:]
    choices = browse.choices([manifest for date in asked if (manifest := data.manifest(date))])
    return render(
        "rows.html",
        title="Rows",
        here="rows",
        query=query,
        choices=choices,
        dates=dates[::-1],
        found=browse.find(data, query),
        first=None if query.at == (0, 0) else replace(query, at=(0, 0)).fields(),
    )


def _row(data: DataSet, row_id: str, date: str) -> str:
    if date:
        finished(data, date)
    found = lineage(data, row_id, [date] if date else None)
    return render("row.html", title="Row", here="", found=found, row=found["row"], date=str(found["row"]["date"]))


def _compare(data: DataSet, now: str, then: str) -> str:
    dates = data.dates()
    now = now or (dates[-1] if dates else "")
    then = then or next((date for date in reversed(dates) if date < now), now)
    pair = (finished(data, now), finished(data, then)) if dates else None
    return render(
        "compare.html",
        title="Compare",
        here="compare",
        dates=dates[::-1],
        pair=pair,
        both=[totals(made) for made in pair] if pair else [],
        domains=compare(*pair) if pair else [],
        width=CHART_WIDTH,
    )

"""A service that gives its files to those who have the signature, as object stores do; it knows no HEAD."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNATURE = "d34db33f"
QUERY = f"X-Amz-Signature={SIGNATURE}&X-Amz-Credential=AKIA%2Fx"


@contextmanager
def signed_files(contents: dict[str, bytes]) -> Iterator[str]:
    """Serves files by path, such as `/a.jsonl`; yields the address. Each needs QUERY."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            status = 200 if query == QUERY and path in contents else 403
            body = contents[path] if status == 200 else b"<Error/>"
            if status == 200 and (wanted := self.headers.get("Range")):
                start, _, stop = wanted.removeprefix("bytes=").partition("-")
                part = body[int(start) : int(stop) + 1 if stop else None]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(body)}")
                body = part
            else:
                self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{service.server_port}"
    finally:
        service.shutdown()
        service.server_close()

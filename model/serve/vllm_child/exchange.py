"""`Exchange`: one HTTP request over a Unix socket whose answer is read as it comes.

An HTTP library takes longer for each event of a stream than the rest of the server does (httpx: four times as long).
The peer is always uvicorn on this machine, and closing the connection is how a request is aborted: so each request has
a connection of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

READ_BYTES = 1 << 18
_LINE_END = b"\r\n"


class ReplyError(Exception):
    """The peer closed the connection too early, or sent what is no HTTP."""


class Exchange:
    """A request that was sent. `status` is known once `head` has returned; `close` it in any case."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self._reader, self._writer = reader, writer
        self._is_chunked, self._length = False, -1  # -1: until the connection is closed

    @classmethod
    async def post(cls, socket: Path, path: str, body: Mapping[str, Any]) -> "Exchange":
        """Connects and sends a JSON object. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=READ_BYTES)
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: vllm\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return cls(reader, writer)

    async def head(self) -> None:
        """Waits for status and headers. Raises OSError, ReplyError."""
        try:
            lines = (await self._reader.readuntil(_LINE_END * 2)).decode("latin-1").split("\r\n")
            self.status = int(lines[0].split(" ")[1])
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
            raise ReplyError(f"no answer of HTTP ({type(error).__name__})") from error
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "transfer-encoding":
                self._is_chunked = "chunked" in value.lower()
            elif name.lower() == "content-length":
                self._length = int(value)

    async def body(self) -> bytes:
        """The whole body. Raises OSError, ReplyError."""
        return b"".join([part async for part in self.parts()])

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes: all that has come at once is one part. Raises OSError, ReplyError."""
        if self._is_chunked:
            async for part in self._chunks():
                yield part
            return
        left = self._length
        while left and (part := await self._reader.read(READ_BYTES)):
            left -= len(part) if left > 0 else 0
            yield part
        if left > 0:
            raise ReplyError("the body has an end before its length")

    async def _chunks(self) -> AsyncIterator[bytes]:
        rest = b""
        while content := await self._reader.read(READ_BYTES):
            content, parts, place = rest + content, [], 0
            is_last = False
            while (line_end := content.find(_LINE_END, place)) >= 0:
                try:
                    size = int(content[place:line_end].partition(b";")[0], 16)
                except ValueError:
                    raise ReplyError("a chunk has no size") from None
                start, is_last = line_end + len(_LINE_END), not size
                if is_last or len(content) < start + size + len(_LINE_END):
                    break
                parts.append(content[start : start + size])
                place = start + size + len(_LINE_END)
            rest = content[place:]
            if parts:
                yield b"".join(parts)
            if is_last:
                return
        raise ReplyError("the body has no end")

    def close(self) -> None:
        """Closes the connection at once, which aborts a request that is not finished."""
        self._writer.transport.abort()

"""A Hugging Face Hub of our own on loopback, which fails in every way that a real one can."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

COMMIT = "c0ffee" * 6 + "c0ff"
Reply = tuple[int, dict[str, str]]


@dataclass
class Shelved:
    """A file that the hub has, and how it behaves when it is asked for.

    `etag` and `size` are what its record says, None for the truth and "" or -1 for nothing.
    `heads` and `gets` are replies that come first, one a request. `cuts` ends each of the first
    answers after so many bytes, `stall` makes every answer stand still there.
    """

    data: bytes
    later: bytes | None = None
    etag: str | None = None
    size: int | None = None
    heads: list[Reply] = field(default_factory=list)
    gets: list[Reply] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    stall: int | None = None
    pause: float = 0.0
    chunked: bool = False
    ranges: bool = True
    redirect: str = ""

    def record(self) -> dict[str, str]:
        """What the Hub's headers say of the file."""
        etag = hashlib.sha256(self.data).hexdigest() if self.etag is None else self.etag
        size = len(self.data) if self.size is None else self.size
        said = {"X-Repo-Commit": COMMIT}
        said |= {"X-Linked-Etag": f'"{etag}"'} if etag else {}
        return said | ({"X-Linked-Size": str(size)} if size >= 0 else {})


class Hub:
    """Files by `owner/name/file`, and all requests so far as (method, path, Range header)."""

    def __init__(self) -> None:
        self.files: dict[str, Shelved] = {}
        self.seen: list[tuple[str, str, str]] = []
        self.tokens: list[str] = []
        self.url = ""

    @property
    def methods(self) -> list[str]:
        """The method of each request."""
        return [method for method, _, _ in self.seen]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What the Hub says to one request."""
        self.seen.append((request.method, request.path, request.headers.get("Range", "")))
        self.tokens.append(request.headers.get("Authorization", ""))
        on_cdn = request.path.startswith("/cdn/")
        repo, name = _asked_for(request.path)
        file = self.files.get(f"{repo}/{name}")
        if file is None:
            known = any(name.startswith(f"{repo}/") for name in self.files)
            code = "EntryNotFound" if known else "RepoNotFound"
            return web.Response(status=404, headers={"X-Error-Code": code})
        planned = file.heads if request.method == "HEAD" else file.gets
        if planned:
            status, headers = planned.pop(0)
            return web.Response(status=status, headers=headers)
        if file.redirect and not on_cdn:
            headers = file.record() | {"Location": file.redirect}
            return web.Response(status=302, headers=headers)
        return await _body(request, file)


def _asked_for(path: str) -> tuple[str, str]:
    """Repository and file: /owner/name/resolve/commit/file, or /cdn/owner/name/file."""
    parts = path.removeprefix("/cdn").strip("/").split("/")
    file = parts[2:] if path.startswith("/cdn/") else parts[4:]
    return "/".join(parts[:2]), "/".join(file)


async def _body(request: web.Request, file: Shelved) -> web.StreamResponse:
    start = 0
    data = file.data
    if request.method == "GET" and file.ranges and "Range" in request.headers:
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
    response = web.StreamResponse(status=206 if start else 200, headers=file.record())
    if start:
        response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    if file.chunked:
        response.enable_chunked_encoding()
    elif file.size != -1 or request.method == "GET":
        response.content_length = len(data) - start
    await response.prepare(request)
    if request.method == "GET":
        cut = file.cuts.pop(0) if file.cuts else len(data)
        file.data, file.later = (file.later or data), None
        await _send(request, response, file, data[start : max(cut, start)], start)
        if cut < len(data) and request.transport:
            request.transport.abort()
    return response


async def _send(
    request: web.Request, response: web.StreamResponse, file: Shelved, data: bytes, start: int
) -> None:
    for place in range(0, len(data), 65_536):
        if file.stall is not None and start + place >= file.stall:
            while request.transport and not request.transport.is_closing():
                await asyncio.sleep(0.02)
            return
        await response.write(data[place : place + 65_536])
        await asyncio.sleep(file.pause)


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers on a port of 127.0.0.1 until the block ends."""
    hub, loop = Hub(), asyncio.new_event_loop()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hub.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, name="fake-hub", daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

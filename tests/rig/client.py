"""What tests and the demo ask of a running ComfyUI, as any client of its API would."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import websocket

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy to ourselves
PATIENCE = 600  # seconds; only what hangs takes so long, and the end of a server is told at once
Json = Any
Prompt = Mapping[str, Json]


class ServerError(Exception):
    """ComfyUI did not do what was asked; carries the end of its log."""


class Reply(NamedTuple):
    status: int
    headers: Message
    body: bytes

    def json(self) -> Json:
        return json.loads(self.body)


@dataclass
class Server:
    """A running ComfyUI; `base` is its base directory, thrown away at the end."""

    url: str
    base: Path
    log: Path
    process: subprocess.Popen[bytes]
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self._send(urllib.request.Request(self.url + path, headers=dict(headers or {})))

    def post(self, path: str, value: Json, headers: Mapping[str, str] | None = None) -> Reply:
        sent = {"Content-Type": "application/json", **(headers or {})}
        data = json.dumps(value).encode()
        return self._send(urllib.request.Request(self.url + path, data, sent))

    def queue(self, prompt: Prompt, **extra_data: Json) -> tuple[int, Json]:
        """Status and body of POST /prompt."""
        sent = {"prompt": prompt, "client_id": self.client_id, "extra_data": extra_data}
        reply = self.post("/prompt", sent)
        return reply.status, reply.json()

    def run(self, prompt: Prompt, timeout: float = PATIENCE) -> Json:
        """Queue the prompt, wait for its end: its history entry, whether it succeeded or not."""
        return self.finished(self._accepted(prompt), timeout)

    def finished(self, prompt_id: str, timeout: float = PATIENCE) -> Json:
        """Wait for this prompt's history entry; it comes a moment after the last event."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if entry := self.get(f"/history/{prompt_id}").json().get(prompt_id):
                return entry
            self.check_alive()
            time.sleep(0.05)
        raise ServerError(f"The prompt did not end in {timeout:.0f} s.\n{tail(self.log)}")

    def events(
        self, prompt: Prompt, timeout: float = PATIENCE, **extra_data: Json
    ) -> Iterator[Json]:
        """Queue the prompt and give its websocket messages, the one that ends it included.

        A preview comes as type `preview` with the image's bytes as its data.
        """
        # ComfyUI forgets a client by its id when it notices that a connection was closed.
        self.client_id = uuid.uuid4().hex
        url = f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}"
        with closing(websocket.create_connection(url, timeout=timeout)) as connection:
            prompt_id = self._accepted(prompt, **extra_data)
            ended = False
            while not ended:
                message = self._message(connection)
                if isinstance(message, bytes):  # two numbers of 4 bytes, then the image
                    yield {"type": "preview", "data": message[8:]}
                else:
                    event = json.loads(message)
                    ended = is_end(event, prompt_id)
                    yield event

    def _accepted(self, prompt: Prompt, **extra_data: Json) -> str:
        status, body = self.queue(prompt, **extra_data)
        if status != 200:
            raise ServerError(f"POST /prompt: {status} {json.dumps(body, indent=1)}")
        return str(body["prompt_id"])

    def check_alive(self) -> None:
        """Raises ServerError when the process has ended."""
        if self.process.poll() is not None:
            code = self.process.returncode
            raise ServerError(f"ComfyUI ended with exit status {code}.\n{tail(self.log)}")

    def _message(self, connection: websocket.WebSocket) -> str | bytes:
        try:
            return connection.recv()
        except (websocket.WebSocketException, OSError) as error:
            raise ServerError(f"No more messages: {error}\n{tail(self.log)}") from error

    def _send(self, request: urllib.request.Request) -> Reply:
        try:
            with DIRECT.open(request, timeout=60) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers, error.read())


@contextmanager
def holding(server: Server, calls: int) -> Iterator[Path]:
    """A ProbeHold waits behind so many calls, until the file that is given or the block ends."""
    file = server.base / "hold"
    file.write_text(str(calls))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def changing_catalog(server: Server) -> Iterator[None]:
    """The server knows what the block did to a catalog: it looks at it once a second, or later."""
    before = _revision(server)
    yield
    deadline = time.monotonic() + PATIENCE
    while _revision(server) == before:
        if time.monotonic() > deadline:
            raise ServerError("The server does not see that its catalog has changed.")
        time.sleep(0.1)


def _revision(server: Server) -> str:
    return str(server.get("/dualpass/pairs/wan-i2v-14b").json()["revision"])


def is_end(event: Json, prompt_id: str) -> bool:
    ends = ("execution_success", "execution_error", "execution_interrupted")
    return event["type"] in ends and event["data"]["prompt_id"] == prompt_id


def tail(log: Path, lines: int = 30) -> str:
    """The end of a log file."""
    text = log.read_text(errors="replace").splitlines()
    return "\n".join(text[-lines:])

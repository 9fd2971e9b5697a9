"""What a request must be to change something, asked of a real server with headers as they come."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from pack.catalog.fields import is_id
from pack.catalog.guard import REFUSALS, Access, Refused, check_headers, guarded, read_access

HOST = "127.0.0.1:8188"
BODY = b'{"base_model": "wan-i2v-14b", "pair_id": "p"}'
JSON = {"Content-Type": "application/json"}
OURS = JSON | {"X-DualPass": "1"}
PAGE = OURS | {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
FORM = "application/x-www-form-urlencoded"
Headers = dict[str, str]


def is_name(value: Any) -> bool:
    return isinstance(value, str) and is_id(value)


KEYS = {"base_model": is_name, "pair_id": is_name}


def post(user: Path, headers: Headers, body: bytes = BODY, most: int = 4096) -> tuple[int, str]:
    """Status, and code of the refusal or what the guard let through, of one request as bytes."""

    async def answer(request: web.Request) -> web.Response:
        try:
            value = await guarded(request, user, keys=KEYS, most=most)
        except Refused as error:
            return web.Response(status=error.status, text=error.code)
        return web.Response(text=json.dumps(value))

    async def run() -> tuple[int, str]:
        app = web.Application()
        app.router.add_post("/", answer)
        async with TestServer(app, host="127.0.0.1") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            sent = {"Host": HOST, "Connection": "close"} | headers
            if "Transfer-Encoding" not in sent:
                sent["Content-Length"] = str(len(body))
            lines = [f"{name}: {value}" for name, value in sent.items()]
            writer.write("\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode("latin-1") + body)
            head, _, text = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            return int(head.split()[1]), text.decode()

    return asyncio.run(run())


ALLOWED: dict[str, Headers] = {
    "the page": PAGE,
    "an address bar or a script": OURS | {"Sec-Fetch-Site": "none"},
    "a client that sends neither Origin nor Sec-Fetch": OURS,
    "a charset": OURS | {"Content-Type": "application/json; charset=utf-8"},
    "another charset, which is not looked at": OURS
    | {"Content-Type": "application/json;charset=x"},
    "upper case": OURS | {"Content-Type": "Application/JSON", "Host": "LOCALHOST:8188"},
    "localhost": PAGE | {"Host": "localhost:8188", "Origin": "http://localhost:8188"},
    "https before the server": PAGE | {"Origin": f"https://{HOST}"},
    "IPv6": PAGE | {"Host": "[::1]:8188", "Origin": "http://[::1]:8188"},
    "IPv6 without a port": OURS | {"Host": "[::1]"},
    "no port": OURS | {"Host": "localhost"},
    "who claims to be forwarded": OURS | {"X-Forwarded-For": "203.0.113.9"},
}

REFUSED: dict[str, tuple[str, Headers]] = {
    "text/plain from another site": ("CONTENT_TYPE", {"Content-Type": "text/plain"}),
    "JSON called text/plain": ("CONTENT_TYPE", PAGE | {"Content-Type": "text/plain"}),
    "a form": ("CONTENT_TYPE", PAGE | {"Content-Type": FORM}),
    "a form with a file": ("CONTENT_TYPE", PAGE | {"Content-Type": "multipart/form-data"}),
    "no type": ("CONTENT_TYPE", {"X-DualPass": "1"}),
    "a type that is nearly JSON": (
        "CONTENT_TYPE",
        PAGE | {"Content-Type": "application/json-patch+json"},
    ),
    "two types": ("CONTENT_TYPE", PAGE | {"Content-Type": "text/plain, application/json"}),
    "no header of ours": ("HEADER", JSON),
    "another value of it": ("HEADER", JSON | {"X-DualPass": "true"}),
    "another site": ("CROSS_SITE", PAGE | {"Sec-Fetch-Site": "cross-site"}),
    "another program on this machine": ("CROSS_SITE", PAGE | {"Sec-Fetch-Site": "same-site"}),
    "a word that nobody knows": ("CROSS_SITE", PAGE | {"Sec-Fetch-Site": "same-origin, none"}),
    "origin null": ("ORIGIN", OURS | {"Origin": "null", "Sec-Fetch-Site": "same-origin"}),
    "origin null, no Sec-Fetch": ("ORIGIN", OURS | {"Origin": "null"}),
    "empty origin": ("ORIGIN", OURS | {"Origin": ""}),
    "another origin": ("ORIGIN", OURS | {"Origin": "https://evil.example"}),
    "another port": ("ORIGIN", OURS | {"Origin": "http://127.0.0.1:3000"}),
    "another name of this machine": ("ORIGIN", OURS | {"Origin": "http://localhost:8188"}),
    "an origin that is none": ("ORIGIN", OURS | {"Origin": "http://[::1"}),
    "a user in the origin": ("ORIGIN", OURS | {"Origin": f"http://evil@{HOST}"}),
    "DNS rebinding": ("HOST", PAGE | {"Host": "evil.example", "Origin": "http://evil.example"}),
    "a name that means this machine": ("HOST", OURS | {"Host": "127.0.0.1.nip.io:8188"}),
    "a dot at the end": ("HOST", OURS | {"Host": "localhost.:8188"}),
    "this machine in the network": ("HOST", OURS | {"Host": "192.168.1.5:8188"}),
    "IPv6 without brackets": ("HOST", OURS | {"Host": "::1"}),
    "a port that is none": ("HOST", OURS | {"Host": "localhost:8188x"}),
    "a user before the name": ("HOST", OURS | {"Host": "evil@localhost:8188"}),
    "no host": ("HOST", OURS | {"Host": ""}),
}


@pytest.mark.parametrize("who", ALLOWED)
def test_who_asks_from_here_is_heard(tmp_path: Path, who: str) -> None:
    status, body = post(tmp_path, ALLOWED[who])
    assert (status, json.loads(body)) == (200, json.loads(BODY))


@pytest.mark.parametrize("who", REFUSED)
def test_who_asks_from_elsewhere_is_refused(tmp_path: Path, who: str) -> None:
    code, headers = REFUSED[who]
    assert post(tmp_path, headers) == (REFUSALS[code][0], code)


def test_the_first_guard_that_minds_is_the_one_that_speaks(tmp_path: Path) -> None:
    bad = {
        "Content-Type": "text/plain",
        "X-DualPass": "0",
        "Sec-Fetch-Site": "cross-site",
        "Origin": "null",
        "Host": "evil.example",
    }
    good = {"Sec-Fetch-Site": "none", "Origin": "http://evil.example"} | OURS
    codes = []
    for name in bad:
        codes.append(post(tmp_path, bad, b"[]")[1])
        bad = bad | {name: good.get(name, HOST)}
    assert codes == ["CONTENT_TYPE", "HEADER", "CROSS_SITE", "ORIGIN", "HOST"]


@pytest.mark.parametrize(
    ("remote", "is_here"),
    [
        *[("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True)],
        *[("192.168.1.5", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False)],
        *[("fe80::1%eth0", False), ("0.0.0.0", False), ("", False), (None, False), ("x", False)],
    ],
)
def test_only_this_machine_may_ask_unless_others_are_allowed(
    remote: str | None, is_here: bool
) -> None:
    headers = CIMultiDict(OURS | {"Host": HOST})
    check_headers("application/json", headers, remote, Access(remote=True))
    if is_here:
        check_headers("application/json", headers, remote, Access())
    else:
        with pytest.raises(Refused, match="allow_remote_downloads") as caught:
            check_headers("application/json", headers, remote, Access())
        assert (caught.value.code, caught.value.status) == ("REMOTE", 403)


DEEP = b'{"base_model": ' + b"[" * 2000 + b"]" * 2000 + b"}"
BODIES: dict[str, tuple[str, bytes]] = {
    "nothing": ("BODY", b""),
    "no JSON": ("BODY", b"base_model=wan-i2v-14b&pair_id=p"),
    "a list": ("BODY", b"[]"),
    "null": ("BODY", b"null"),
    "a text": ("BODY", b'"p"'),
    "a key twice": ("BODY", b'{"base_model": "x", "pair_id": "p", "pair_id": "q"}'),
    "NaN": ("BODY", b'{"base_model": "x", "pair_id": NaN}'),
    "Infinity": ("BODY", b'{"base_model": "x", "pair_id": 1e999}'),
    "too deep": ("BODY", DEEP),
    "no UTF-8": ("BODY", b'{"base_model": "x", "pair_id": "\xff"}'),
    "UTF-16": ("BODY", '{"base_model": "x", "pair_id": "p"}'.encode("utf-16")),
    "two objects": ("BODY", BODY + BODY),
    "empty": ("KEYS", b"{}"),
    "half": ("KEYS", b'{"base_model": "x"}'),
    "a url": ("KEYS", b'{"base_model": "x", "pair_id": "p", "url": "http://x"}'),
    "a path": ("KEYS", b'{"base_model": "x", "pair_id": "p", "file": "x.sft"}'),
    "a list for an id": ("VALUE", b'{"base_model": "x", "pair_id": ["p"]}'),
    "a number for an id": ("VALUE", b'{"base_model": "x", "pair_id": 5}'),
    "an object for an id": ("VALUE", b'{"base_model": "x", "pair_id": {"p": 1}}'),
    "null for an id": ("VALUE", b'{"base_model": null, "pair_id": "p"}'),
    "a way out": ("VALUE", b'{"base_model": "x", "pair_id": "../x"}'),
    "a NUL": ("VALUE", b'{"base_model": "x", "pair_id": "p\\u0000"}'),
    "half a character": ("VALUE", b'{"base_model": "x", "pair_id": "\\ud800"}'),
    "a long id": ("VALUE", json.dumps({"base_model": "x", "pair_id": "p" * 200}).encode()),
    "4097 bytes": ("TOO_LONG", BODY.ljust(4097)),
    "a megabyte": ("TOO_LONG", b"{" * 2**20),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_is_an_object_of_exactly_what_belongs_there(tmp_path: Path, what: str) -> None:
    code, body = BODIES[what]
    assert post(tmp_path, PAGE, body) == (REFUSALS[code][0], code)


def test_as_many_bytes_as_a_route_takes(tmp_path: Path) -> None:
    assert post(tmp_path, PAGE, BODY.ljust(4096))[0] == 200
    assert post(tmp_path, PAGE, BODY.ljust(4097), most=4097)[0] == 200
    chunks = [b"%x\r\n%b\r\n" % (len(each), each) for each in (BODY, b" " * 4096, b"")]
    headers = PAGE | {"Transfer-Encoding": "chunked"}
    assert post(tmp_path, headers, chunks[0] + chunks[2])[0] == 200
    assert post(tmp_path, headers, b"".join(chunks)) == (413, "TOO_LONG")


def test_a_refusal_repeats_nothing_of_the_request() -> None:
    assert str(Refused("KEYS", "They are a, b.")).endswith("there. They are a, b.")
    for code, (status, text) in REFUSALS.items():
        assert (status, text) == (Refused(code).status, str(Refused(code)))
        assert text.endswith(".")


@pytest.mark.parametrize(
    ("config", "access"),
    [
        ("{}", Access()),
        (
            '{"allowed_hosts": ["Comfy.LAN", "fd00::1"]}',
            Access(frozenset({"comfy.lan", "fd00::1"})),
        ),
        ('{"allow_remote_downloads": true}', Access(remote=True)),
        ('\ufeff{"allow_remote_downloads": true}', Access(remote=True)),
        ('{"allowed_hosts": [""], "allow_remote_downloads": false}', Access()),
    ],
)
def test_the_users_config_says_who_else_may_ask(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, config: str, access: Access
) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    assert read_access(tmp_path) == access
    assert caplog.records == []


@pytest.mark.parametrize(
    "config",
    [
        *["", "null", "[]", "{", '{"allowed_hosts": "comfy.lan"}', '{"allowed_hosts": [5]}'],
        *['{"allow_remote_downloads": 1}', '{"allow_remote_downloads": "true"}'],
        '{"allow_remote_downloads": true, "allow_remote_downloads": true}',
        '{"allow_remote_downloads": true, "alowed_hosts": []}',
        '{"allow_remote_downloads": true}' + " " * 70_000 + "x",
    ],
)
def test_a_broken_config_allows_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, config: str
) -> None:
    (tmp_path / "config.json").write_text(config)
    with caplog.at_level(logging.WARNING, "dualpass"):
        assert read_access(tmp_path) == Access()
    (record,) = caplog.records
    assert record.getMessage().startswith("config.json of DualPass is not used: ")
    assert str(tmp_path) not in record.getMessage()


def test_no_config_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_access(tmp_path / "absent") == Access()
    assert caplog.records == []
    (tmp_path / "config.json").mkdir()
    assert read_access(tmp_path) == Access()
    assert len(caplog.records) == 1


def test_a_change_of_the_config_counts_at_once(tmp_path: Path) -> None:
    asked = OURS | {"Host": "comfy.lan:8188", "Origin": "http://comfy.lan:8188"}
    assert post(tmp_path, asked) == (403, "HOST")
    (tmp_path / "config.json").write_text('{"allowed_hosts": ["comfy.lan"]}')
    assert post(tmp_path, asked)[0] == 200
    (tmp_path / "config.json").unlink()
    assert post(tmp_path, asked) == (403, "HOST")

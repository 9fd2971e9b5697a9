"""What a request must be to change something: this page's own, on this machine, and plain."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import strict_json

if TYPE_CHECKING:
    from aiohttp import web

_log = logging.getLogger("dualpass")
_largest = 65_536
_own_hosts = frozenset({"127.0.0.1", "::1", "localhost"})
_origin = re.compile(r"https?://([^/?#@]+)")
_setting = "in config.json, in ComfyUI's user folder for DualPass"

# Code -> status, text. No text repeats anything of the request.
REFUSALS = {
    "CONTENT_TYPE": (415, "The content type must be application/json."),
    "HEADER": (403, "The header X-DualPass: 1 is missing. Use the picker, or set the header."),
    "CROSS_SITE": (403, "The request comes from another site. Only ComfyUI's own page may ask."),
    "ORIGIN": (403, "The request comes from another page. Only ComfyUI's own page may ask."),
    "HOST": (
        403,
        "ComfyUI was called by a name that is not known to be this machine's. "
        f"If the name is yours, add it to allowed_hosts {_setting}.",
    ),
    "REMOTE": (
        403,
        "Only the machine that runs ComfyUI may ask this. To let others, "
        f"set allow_remote_downloads to true {_setting}.",
    ),
    "TOO_LONG": (413, "The body is too long."),
    "BODY": (400, "The body must be one JSON object that says each thing once."),
    "KEYS": (400, "The body has not exactly the keys that belong there."),
    "VALUE": (400, "A value in the body is not of the kind that belongs there."),
}


class Refused(Exception):
    """A request that is not answered as it wished, with the HTTP status and a code of REFUSALS."""

    def __init__(self, code: str, more: str = "") -> None:
        self.status, text = REFUSALS[code]
        super().__init__(f"{text} {more}".strip())
        self.code = code


@dataclass(frozen=True)
class Access:
    """Who else may ask: further names of this machine in lower case, and other machines."""

    hosts: frozenset[str] = frozenset()
    remote: bool = False


async def guarded(
    request: web.Request,
    user: Path,
    *,
    keys: Mapping[str, Callable[[Any], bool]],
    most: int = 4096,
    local: bool = True,
) -> dict[str, Any]:
    """The body of a request with a body; exactly these keys, each passing its check.

    `most` is in bytes; `local` lets only this machine ask. What user/config.json allows counts from
    the next request on.
    Raises Refused at the first guard that does not let the request through.
    """
    access = await asyncio.to_thread(read_access, user)
    access = access if local else replace(access, remote=True)
    check_headers(request.content_type, request.headers, request.remote, access)
    # Off the event loop: many small brackets take long to check.
    return await asyncio.to_thread(parse_body, await _read(request, most), keys)


def check_headers(
    content_type: str, headers: Mapping[str, str], remote: str | None, access: Access
) -> None:
    """Refuse what another site, page, machine or name of this machine sent. Pure.

    `headers` ignores case, as aiohttp's do. ComfyUI's own check lets DNS rebinding, the origin
    null and other programs on this machine through. X-Forwarded-For is not looked at: anyone can
    write it.
    """
    host = headers.get("Host", "").lower()
    # A form cannot send this type, and no page of another origin this header.
    _require(content_type == "application/json", "CONTENT_TYPE")
    _require(headers.get("X-DualPass") == "1", "HEADER")
    _require(headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none"), "CROSS_SITE")
    _require("Origin" not in headers or _place(headers["Origin"]) == host, "ORIGIN")
    _require(_name(host) in _own_hosts | access.hosts, "HOST")
    _require(access.remote or _is_this_machine(remote), "REMOTE")


def parse_body(body: bytes, keys: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    """The object that a body is, if it has exactly these keys and each value passes its check."""
    try:
        text = body.decode()
        strict_json.check(text)
    except ValueError:
        raise Refused("BODY") from None
    value: dict[str, Any] = json.loads(text)
    if value.keys() != keys.keys():
        raise Refused("KEYS", f"They are {', '.join(keys)}.")
    for key, check in keys.items():
        if not check(value[key]):
            raise Refused("VALUE", f"It is that of {key}.")
    return value


def read_access(user: Path) -> Access:
    """What user/config.json allows. None is there: nothing; it is broken: nothing, and a warning.

    {"allowed_hosts": ["comfy.lan"], "allow_remote_downloads": false}, without ports.
    """
    try:
        return _access(user / "config.json")
    except FileNotFoundError:
        return Access()
    except (OSError, ValueError) as error:
        slip = error.strerror if isinstance(error, OSError) else error
        _log.warning("config.json of DualPass is not used: %s", slip)
        return Access()


def _access(path: Path) -> Access:
    if path.exists() and not path.is_file():
        raise ValueError("it is no file.")
    with path.open("rb") as file:
        body = file.read(_largest + 1)
    if len(body) > _largest:
        raise ValueError("it has more than 64 KiB.")
    text = body.decode("utf-8-sig")
    strict_json.check(text)
    value = {"allowed_hosts": [], "allow_remote_downloads": False} | json.loads(text)
    hosts, remote = value.pop("allowed_hosts"), value.pop("allow_remote_downloads")
    if value:
        raise ValueError(f"{next(iter(value))!r:.80} is no setting. Remove it.")
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ValueError("allowed_hosts must be a list of names in double quotes.")
    if not isinstance(remote, bool):
        raise ValueError("allow_remote_downloads must be true or false.")
    return Access(frozenset(host.lower() for host in hosts if host), remote)


def _require(holds: bool, code: str) -> None:
    if not holds:
        raise Refused(code)


def _place(origin: str) -> str | None:
    """Name and port of an origin; None of one that is no web page's, such as null."""
    found = _origin.fullmatch(origin.lower())
    return found[1] if found else None


def _name(host: str) -> str | None:
    """The name in a Host header, without the port and the brackets of IPv6."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "0"
    bracketed = name.startswith("[") and name.endswith("]")
    if not (port.isascii() and port.isdigit()) or (":" in name and not bracketed):
        return None
    return name[1:-1] if bracketed else name


def _is_this_machine(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return False
    # A server that listens on IPv6 too sees 127.0.0.1 as ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


async def _read(request: web.Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_chunked(most + 1):
        body += chunk
        _require(len(body) <= most, "TOO_LONG")
    return bytes(body)

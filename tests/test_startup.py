"""ComfyUI's start with the pack: nothing heavy is imported, and no network is touched."""

from __future__ import annotations

from pathlib import Path

from rig import server as rig

# A pack of its own that tells, over HTTP, what has been imported.
WITNESS = """
import sys

from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


@PromptServer.instance.routes.get("/witness")
async def modules(request):
    return web.json_response(sorted(sys.modules))
"""
# ComfyUI runs this before it imports any pack: each connection or name look-up is an error.
GUARD = """
import socket

def refused(*args, **kwargs):
    print("network at start:", args, flush=True)
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refused
"""


def modules_after_start(folder: Path, packs: dict[str, Path]) -> set[str]:
    folder.mkdir()
    (folder / "__init__.py").write_text(WITNESS)
    (folder / "prestartup_script.py").write_text(GUARD)
    with rig.start(packs=packs | {"witness": folder}) as server:
        modules = server.get("/witness").json()
        log = server.log.read_text(errors="replace")
    assert "network at start" not in log
    return set(modules)


def test_the_pack_adds_only_itself_to_what_comfyui_imports(tmp_path: Path) -> None:
    without = modules_after_start(tmp_path / "without", {})
    with_pack = modules_after_start(tmp_path / "with", {"dualpass": rig.ROOT})
    added = {name for name in with_pack - without if "dualpass" not in name}
    # The catalog is read as UTF-8 with or without its mark.
    assert added <= {"encodings.utf_8_sig"}

"""Other packs beside ours: where variables say they lie, and what they need to run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from rig.client import Server, ServerError

RGTHREE, MANAGER = "rgthree-comfy", "ComfyUI-Lora-Manager"
FOLDERS = {RGTHREE: "COMFYUI_RGTHREE_DIR", MANAGER: "COMFYUI_LORA_MANAGER_DIR"}
# What `pip install --target` made of Lora-Manager's requirements, if this Python lacks them.
PACKAGES = "COMFYUI_LORA_MANAGER_PACKAGES"
SEARCH = "/api/lm/loras/relative-paths?search=high"


def find_peers() -> dict[str, Path]:
    """The peers that can run here: name -> folder."""
    found = {name: os.environ.get(variable) for name, variable in FOLDERS.items()}
    packs = {name: Path(path) for name, path in found.items() if path}
    if not (os.environ.get(PACKAGES) or find_spec("aiosqlite")):
        packs.pop(MANAGER, None)
    return packs


def skipped() -> Iterator[str]:
    """A sentence for each peer that can not run here."""
    for name, variable in FOLDERS.items():
        if not os.environ.get(variable):
            yield f"{name}: skipped, {variable} does not name its folder"
        elif name not in find_peers():
            yield f"{name}: skipped, {PACKAGES} does not name a folder with its requirements"


@contextmanager
def peer_packs(folder: Path) -> Iterator[dict[str, Path]]:
    """The peers that can run here, with what they need in `folder`, which holds the library."""
    packs = find_peers()
    if MANAGER not in packs:
        yield packs
        return
    scanned(folder / "loras")
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")  # it keeps its settings there
    try:
        yield packs | {"requirements": requirements(folder / "requirements")}
    finally:
        os.environ.pop("XDG_CONFIG_HOME")
        if before is not None:
            os.environ["XDG_CONFIG_HOME"] = before


def requirements(folder: Path) -> Path:
    """A pack that only makes Lora-Manager's requirements importable, before any is loaded."""
    folder.mkdir()
    path = os.environ.get(PACKAGES, "")
    (folder / "prestartup_script.py").write_text(f"import sys\nsys.path.append({path!r})\n")
    (folder / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    return folder


def scanned(loras: Path) -> None:
    """What Lora-Manager's first scan leaves beside each file; it would take more than a minute."""
    for number, path in enumerate(sorted(loras.rglob("*.safetensors"))):
        status = path.stat()
        known = {
            "file_name": path.stem,
            "model_name": path.stem,
            "file_path": str(path),
            "size": status.st_size,
            "modified": status.st_mtime,
            "sha256": f"{number:064x}",
            "base_model": "Unknown",
            "preview_url": "",
            "from_civitai": False,
            "tags": [],
            "hash_status": "completed",
        }
        path.with_suffix(".metadata.json").write_text(json.dumps(known), encoding="utf-8")


def ready(server: Server, peers: Mapping[str, Path]) -> None:
    """Wait until Lora-Manager knows the files. Raises ServerError where that takes a minute."""
    deadline = time.monotonic() + 60
    while MANAGER in peers and not server.get(SEARCH).json()["relative_paths"]:
        if time.monotonic() > deadline:
            raise ServerError(f"{MANAGER} does not know the files after 60 s.")
        time.sleep(0.5)

"""A real ComfyUI as a process of its own, in a base directory that is thrown away."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rig.client import Server, ServerError, tail

ROOT = Path(__file__).parents[2]


def own_packs() -> dict[str, Path]:
    """The checkout, and ComfyUI-GGUF where COMFYUI_GGUF_DIR names it: folder name -> folder."""
    gguf = os.environ.get("COMFYUI_GGUF_DIR")
    return {"dualpass": ROOT} | ({"ComfyUI-GGUF": Path(gguf)} if gguf else {})


def probed_packs() -> dict[str, Path]:
    """With the probe pack, whose nodes are for tests only."""
    return own_packs() | {"dualpass_probe": ROOT / "tests" / "rig" / "probe"}


@contextmanager
def start(
    *,
    packs: Mapping[str, Path] | None = None,
    port: int = 0,
    output: Path | None = None,
    flags: Sequence[str] = (),
    wait: float = 180,
) -> Iterator[Server]:
    """Run ComfyUI with these packs (folder name -> folder) until the block ends, however it ends.

    The tree and the models are those that dev.py names in DUALPASS_COMFYUI and DUALPASS_MODELS.
    """
    with tempfile.TemporaryDirectory(prefix="dualpass-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        make_base(base, own_packs() if packs is None else packs)
        port = free_port(port)
        log = base / "comfyui.log"
        with log.open("wb") as file:
            where = f"--output-directory={output or base / 'output'}"
            process = launch(base, port, [where, *flags], file)
        server = Server(f"http://127.0.0.1:{port}", base, log, process)
        try:
            wait_until_ready(server, wait)
            yield server
        finally:
            stop(process)


def launch(base: Path, port: int, flags: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start main.py on a base directory."""
    tree = os.environ["DUALPASS_COMFYUI"]
    command = [
        sys.executable, str(Path(tree, "main.py")), "--cpu", "--disable-auto-launch",
        "--disable-api-nodes", f"--port={port}", f"--base-directory={base}",
        f"--database-url=sqlite:///{base / 'comfyui.db'}", *flags,
    ]  # fmt: skip
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen(
        command, cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
    )


def make_base(base: Path, packs: Mapping[str, Path]) -> None:
    """A base directory to write in: own folders, links to the models and the packs."""
    source = Path(os.environ["DUALPASS_MODELS"])
    shutil.copytree(source / "models", base / "models", copy_function=link)
    shutil.copytree(source / "input", base / "input")  # LoadImage refuses links
    for name in ("custom_nodes", "output", "user"):
        (base / name).mkdir()
    for name, folder in packs.items():
        link(folder.resolve(), base / "custom_nodes" / name)


def link(source: str | Path, target: str | Path) -> None:
    """A symbolic link; a copy where the system gives none (Windows without developer mode)."""
    is_folder = Path(source).is_dir()
    try:
        Path(target).symlink_to(source, target_is_directory=is_folder)
    except OSError:
        if is_folder:
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        else:
            shutil.copy2(source, target)


def wait_until_ready(server: Server, wait: float) -> None:
    """Until the server answers. Raises ServerError when it ends or takes too long."""
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        server.check_alive()
        try:
            if server.get("/system_stats").status == 200:
                return check_packs(server)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise ServerError(f"ComfyUI did not answer in {wait:.0f} s.\n{tail(server.log)}")


def check_packs(server: Server) -> None:
    """Raises ServerError when ComfyUI started without one of the packs."""
    if "(IMPORT FAILED)" in server.log.read_text(errors="replace"):
        raise ServerError(f"A custom node pack was not imported.\n{tail(server.log, 60)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then make it."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(port: int = 0) -> int:
    """This port, or any for 0. Raises ServerError when it is taken."""
    with socket.socket() as probe:
        if os.name == "posix":  # a port that was just let go of is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(f"Port {port} is taken ({error.strerror}).") from error
        return int(probe.getsockname()[1])

"""The published archive: what is in it, that the registry's scanner finds nothing, that it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rig import server as rig

ROOT = Path(__file__).parents[1]
SNAPSHOT = ROOT / "tests" / "package_files.txt"
# What flags a version of a node pack in the registry; comments and prose included in JavaScript.
FLAGGED = re.compile(
    r"\.(connect|bind|send|sendall)\(|ClientSession|\burllib\b|\brequests\.|\bsubprocess\b"
    r"|os\.system|\beval\(|\bexec\(|\bpickle\b|torch\.load\(|innerHTML|insertAdjacentHTML"
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """What `comfy node pack` makes of the checkout, built in a copy of it."""
    folder = tmp_path_factory.mktemp("pack")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(lambda name: (ROOT / name).is_file(), names.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    comfy = [str(Path(sys.executable).with_name("comfy")), "--skip-prompt", "--no-enable-telemetry"]
    for command in (["git", "init", "-q"], ["git", "add", "-A"], [*comfy, "node", "pack"]):
        subprocess.run(command, cwd=folder, check=True, timeout=120)
    return zipfile.ZipFile(folder / "node.zip")


def test_the_archive_holds_exactly_the_listed_files(archive: zipfile.ZipFile) -> None:
    """DUALPASS_UPDATE=1 writes the list anew."""
    names = "".join(f"{name}\n" for name in sorted(archive.namelist()))
    if os.environ.get("DUALPASS_UPDATE"):
        SNAPSHOT.write_text(names)
    assert names == SNAPSHOT.read_text()


def test_nothing_in_the_archive_looks_like_what_the_scanner_flags(
    archive: zipfile.ZipFile,
) -> None:
    for name in archive.namelist():
        if Path(name).suffix in {".py", ".js", ".json", ".toml"}:
            text = archive.read(name).decode()
            assert not FLAGGED.search(text), f"{name}: {FLAGGED.search(text)}"


def test_the_unpacked_archive_runs_in_comfyui(archive: zipfile.ZipFile, tmp_path: Path) -> None:
    archive.extractall(tmp_path / "dualpass")
    with rig.start(packs={"dualpass": tmp_path / "dualpass"}) as server:
        for node in ("CatalogLoraPairPicker", "DualPassLoraRouter", "SVIProDualSampler"):
            assert node in server.get(f"/object_info/{node}").json()
        pairs = server.get("/api/admin/loras/compatible/wan-i2v-14b").json()
        assert "svi-v2-pro" in {pair["pair_id"] for pair in pairs}
        assert server.get("/extensions/dualpass/js/pair_picker.js").status == 200

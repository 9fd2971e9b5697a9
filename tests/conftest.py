"""What every test can use: the pack as `pack`, ComfyUI's modules, a real server, a browser."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig import browser as rig_browser
from rig import server as rig_server
from rig.client import Server, tail

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
COMFYUI = os.environ.get("DUALPASS_COMFYUI")


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that fixtures are torn down
    # Whoever started us in the background may ignore it, and what tests start would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    load_pack()
    if COMFYUI:
        base = Path(tempfile.mkdtemp(prefix="dualpass-"))
        config.add_cleanup(lambda: shutil.rmtree(base, ignore_errors=True))
        load_comfyui(COMFYUI, base)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: Playwright keeps an event loop running, which others could not share."""
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what ComfyUI said."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and server and server.log.exists():
        report.sections.append(("ComfyUI's log", tail(server.log)))
    return report


def load_pack() -> None:
    """Load the checkout as package `pack`, as ComfyUI does: under a name of its own."""
    # The root on sys.path would let our `nodes/` hide ComfyUI's nodes.py.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT]
    spec = importlib.util.spec_from_file_location(
        "pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec and spec.loader
    sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pack"])


def load_comfyui(tree: str, base: Path) -> None:
    """Let tests import ComfyUI's modules: on the CPU, with the tiny models in this base."""
    rig_server.make_base(base, packs={})
    sys.path.insert(0, tree)
    pytest_argv, sys.argv = sys.argv, ["main.py", "--cpu", f"--base-directory={base}"]
    import comfy.options

    comfy.options.enable_args_parsing()
    # Reads sys.argv, and holds the name `utils`, which nodes.py gives to comfy/utils.py (0.18).
    import utils.extra_config  # noqa: F401

    sys.argv = pytest_argv


@pytest.fixture(scope="module", autouse=True)
def no_dead_models() -> Iterator[None]:
    """Let ComfyUI forget a model whose patchers are gone, before it looks for it at each load.

    It does so itself where no test keeps the weights: clones that were garbage together, as after
    its dpm_adaptive, leave their place to nobody.
    """
    yield
    management = sys.modules.get("comfy.model_management")
    if management:
        gc.collect()
        loaded = management.current_loaded_models
        loaded[:] = [each for each in loaded if not each.is_dead()]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One real ComfyUI for all tests, with the pack, the probe pack and ComfyUI-GGUF if given."""
    if not COMFYUI:
        pytest.skip("needs a real ComfyUI: run `python3 dev.py test`")
    with rig_server.start(packs=rig_server.probed_packs()) as running:
        yield running


@pytest.fixture(scope="session")
def gguf() -> None:
    """For tests that need ComfyUI-GGUF, which is on no package index."""
    if not os.environ.get("COMFYUI_GGUF_DIR"):
        pytest.skip("needs ComfyUI-GGUF: set COMFYUI_GGUF_DIR to a checkout of it")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; a machine without one skips, except in CI."""
    program = rig_browser.find_chromium()
    if not program:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(rig_browser.MISSING)
    with rig_browser.launched(program) as launched:
        yield launched

#!/usr/bin/env python3
"""Everything a developer runs: setup, demo, serve, test, bench, lint."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
TESTS = ROOT / "tests"
NEWEST, OLDEST = VERSIONS = ("0.30.0", "0.18.0")
COMMANDS = {
    "setup": "make the environment in the user's cache: a venv, ComfyUI, tiny models",
    "demo": "run the example workflow through a real ComfyUI: a video in one command",
    "serve": "ComfyUI with the pack and its page, open to click; --port PORT (8188)",
    "test": "run every test, on the oldest ComfyUI those that may differ; the rest goes to pytest",
    "bench": "measure, and print figures beside their peers",
    "lint": "ruff, type check, layers",
    "catalog": "the catalog's own command line; arguments go to `python -m catalog`",
}


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """What was asked, and what is passed on."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(
            name, help=help_text, description=help_text, allow_abbrev=False
        )  # without abbreviations: `test --co` is for pytest
        command.add_argument("--comfyui", choices=VERSIONS)
    return parser.parse_known_args()


def prepare(version: str) -> tuple[str, dict[str, str]]:
    """The environment, made where it is missing: its python, and the variables that name it."""
    from rig import setup

    started = time.time()
    env = setup.locate(version)
    reused = env.ready()
    if not reused:
        setup.make(env)
    how = "all reused" if reused else "made"
    summary = f"environment: {how} in {time.time() - started:.1f} s"
    print(f"ComfyUI {env.version} in {env.comfyui}\n{summary}", flush=True)
    names = {
        "PYTHONPATH": str(TESTS),
        "DUALPASS_COMFYUI": str(env.comfyui),
        "DUALPASS_MODELS": str(env.models),
        "DUALPASS_SETUP": summary,
        "DUALPASS_STARTED": str(started),
    }
    return str(env.python), {**os.environ, **names}


def run(command: list[str], env: dict[str, str]) -> int:
    """Become the command, so that signals and the exit status are its own."""
    if os.name == "posix":
        os.execve(command[0], command, env)
    process = subprocess.Popen(command, env=env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the console interrupts the child as well
    return process.wait()


# What no version of ComfyUI changes, or one is enough for; the page's tests know the newest only.
ONCE = (
    "--ignore=tests/browser",
    "--deselect=tests/test_router.py::test_a_hundred_prompts",
    *(
        f"--ignore=tests/test_{name}.py"
        for name in ("download", "examples", "long_video_resume", "run_again", "split_tables")
    ),
)


def test_both() -> int:
    """Run all tests on the newest ComfyUI; beside them those that may differ on the oldest."""
    prepare_both()
    # One thread for each: two that want all cores wait for each other.
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as later, running(env, NEWEST, "--ignore=tests/browser") as main:
        codes = []
        for part in ([NEWEST, "tests/browser"], [OLDEST, *ONCE]):
            with running(env, *part, output=later) as beside:
                codes.append(beside.wait())
        codes.append(main.wait())
        later.seek(0)
        print(later.read().decode(errors="replace"))
    return next(filter(None, codes), 0)


def prepare_both() -> None:
    """Make both environments before tests run beside each other."""
    for version in VERSIONS:
        subprocess.run([sys.executable, __file__, "setup", "--comfyui", version], check=True)


@contextmanager
def running(
    env: dict[str, str], *part: str, output: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The tests of one part; what is shown goes to `output`."""
    command = [sys.executable, __file__, "test", "--comfyui", *part]
    process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def catalog(rest: list[str]) -> int:
    """Run the catalog's command line from here, so that files are named from here."""
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return run([sys.executable, "-m", "catalog", *rest], env)


def main() -> int:
    if sys.argv[1:2] == ["catalog"]:
        return catalog(sys.argv[2:])  # its options and its --help are its own
    args, rest = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.command == "test" and not (args.comfyui or rest or os.environ.get("COMFYUI_DIR")):
        return test_both()
    sys.path.insert(0, str(TESTS))
    from rig.steps import StepFailed

    try:
        python, env = prepare(args.comfyui or NEWEST)
    except (StepFailed, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    if args.command == "setup":
        return 0
    module = "pytest" if args.command == "test" else f"rig.{args.command}"
    os.chdir(ROOT)
    return run([python, "-m", module, *rest], env)


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036 - whoever runs this may have an older one
        sys.exit(f"dev.py needs Python 3.10 or newer, this is {sys.version.split()[0]}")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")

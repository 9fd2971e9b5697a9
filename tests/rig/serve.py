"""What `dev.py serve` runs: ComfyUI with the pack and the tiny models, open to click."""

from __future__ import annotations

import argparse
import signal
import sys

from rig import setup
from rig.client import ServerError
from rig.server import start


def serve(port: int) -> None:
    """Run until interrupted. Raises ServerError where ComfyUI does not start or ends."""
    with start(port=port, output=setup.cache() / "output") as server:
        print(f"ComfyUI: {server.url} (examples: Templates > Extensions > dualpass)")
        print(f"log: {server.log}\nCtrl-C ends it; what you save in it ends with it.", flush=True)
        server.process.wait()
        server.check_alive()


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py serve")
    parser.add_argument("--port", type=int, default=8188)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that ComfyUI is ended too
    print("Start ComfyUI with the pack ...", flush=True)
    try:
        serve(port)
    except ServerError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        print("\nended")


if __name__ == "__main__":
    main()

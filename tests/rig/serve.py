"""What `dev.py serve` runs: ComfyUI with the pack and the tiny models, open to click."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from rig import setup
from rig.client import ServerError
from rig.demo import WORKFLOW, replacements
from rig.server import ROOT, start

EXAMPLE = ROOT / "example_workflows" / WORKFLOW.name


def write_workflow(path: Path) -> None:
    """The example workflow with the names and sizes of the tiny models, for the page to open."""
    workflow = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    sent = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    for node_id, asked in sent.items():  # a note is not sent
        node, tiny = nodes[node_id], replacements(asked)
        swaps = {asked["inputs"][name]: value for name, value in tiny.items()}
        node["widgets_values"] = [swaps.get(old, old) for old in node.get("widgets_values", [])]
        node["properties"].pop("models", None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(workflow), encoding="utf-8")


def serve(port: int) -> None:
    """Run until interrupted. Raises ServerError where ComfyUI does not start or ends."""
    with start(port=port, output=setup.cache() / "output") as server:
        write_workflow(server.base / "user" / "default" / "workflows" / "tiny.json")
        print(f"ComfyUI: {server.url} (press W and open `tiny`: the example on the tiny models)")
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

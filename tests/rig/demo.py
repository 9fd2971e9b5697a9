"""What `dev.py demo` runs: the shipped example workflow, queued as an API client would."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from rig import setup, tiny_models
from rig.client import Json, Server, ServerError
from rig.server import ROOT, start
from rig.steps import show

ROLES = ("high", "low")
WORKFLOW = ROOT / "example_workflows" / "api" / "wan22_i2v_dual_pass.json"
TINY: dict[str, Json] = {
    "CLIPLoader": {"clip_name": tiny_models.name("text_encoder")},
    "VAELoader": {"vae_name": tiny_models.name("vae")},
    "LoadImage": {"image": tiny_models.IMAGE},
    "WanImageToVideo": {"width": 64, "height": 64, "length": 9},
    "SVIProLongVideo": {"width": 32, "height": 32, "length": 13},
    "ResizeImageMaskNode": {"resize_type.width": 72, "resize_type.height": 72},
}
# Loader -> the input that names its file, and the tiny file of each expert.
BY_ROLE: dict[str, tuple[str, dict[str, str]]] = {
    "UNETLoader": ("unet_name", {role: tiny_models.name(f"i2v_{role}") for role in ROLES}),
    "UnetLoaderGGUF": (
        "unet_name",
        {role: tiny_models.name(f"i2v_{role}_q4_k_gguf") for role in ROLES},
    ),
    "LoraLoaderModelOnly": ("lora_name", tiny_models.PAIRS["seko-v1"]),
}
BAR = 20


def fitted(prompt: Json) -> Json:
    """The workflow with only file names and sizes changed to those of the tiny models."""
    return {
        node_id: {**node, "inputs": {**node["inputs"], **replacements(node)}}
        for node_id, node in prompt.items()
    }


def replacements(node: Json) -> Json:
    """The inputs of this node that name a file or a size, and have no link."""
    inputs = node["inputs"]
    if found := BY_ROLE.get(node["class_type"]):
        name, files = found
        return {name: files["high" if "high" in inputs[name].lower() else "low"]}
    wanted = TINY.get(node["class_type"], {})
    return {
        name: value for name, value in wanted.items() if not isinstance(inputs.get(name, []), list)
    }


def watch(server: Server, prompt: Json) -> Json:
    """Run the prompt, showing node and step; the event that ended it."""
    event: Json = None
    for event in server.events(prompt):
        data = event["data"]
        if event["type"] == "executing" and data["node"]:
            show(f"  {prompt[data['node']]['class_type']}")
        if event["type"] == "progress":
            bar = "#" * (BAR * data["value"] // data["max"])
            steps = f"{data['value']}/{data['max']}"
            show(f"  {prompt[data['node']]['class_type']:<24} [{bar:<{BAR}}] {steps}")
    return event


def report(prompt: Json, outputs: Json, folder: Path) -> None:
    """Where the video lies, what the LoRAs did, which steps ran."""
    for output in outputs.values():
        for file in output.get("images", ()):
            if file["type"] == "output":
                print(f"video: {folder / file['subfolder'] / file['filename']}")
    for title, class_type in (("LoRAs", "DualPassLoraRouter"), ("schedule", "SVIProDualSampler")):
        for node_id, node in prompt.items():
            if node["class_type"] == class_type:
                text = "\n".join(outputs.get(node_id, {}).get("text", ["(nothing reported)"]))
                print(f"\n{title}:\n{text}")


def demo() -> None:
    """Raises ServerError where ComfyUI does not start, refuses the workflow or fails in it."""
    prompt = fitted(json.loads(WORKFLOW.read_text(encoding="utf-8")))
    output = setup.cache() / "output"
    print("Start ComfyUI with the pack ...", flush=True)
    with start(output=output) as server:
        print(f"POST {server.url}/prompt", flush=True)
        event = watch(server, prompt)
        if event["type"] != "execution_success":
            raise ServerError(f"The workflow failed: {json.dumps(event['data'], indent=1)}")
        show("")
        entry = server.finished(event["data"]["prompt_id"])
        report(prompt, entry["outputs"], output)


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that ComfyUI is ended too
    try:
        demo()
    except ServerError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")
    seconds = time.time() - float(os.environ["DUALPASS_STARTED"])
    print(f"\n{os.environ['DUALPASS_SETUP']}, done in {seconds:.1f} s")


if __name__ == "__main__":
    main()

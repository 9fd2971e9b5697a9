"""A part of the benchmark in a process that holds ComfyUI on the CPU: `python -m … PART`."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from rig.bench_lora_figure import PREFIX, written

# Part -> module and function; each in a process of its own, so that one can fail alone.
PARTS = {
    "merging": "rig.bench_lora_merge",
    "gguf": "rig.bench_lora_gguf",
    "loading": "rig.bench_lora_load",
    "forward": "rig.bench_lora_forward",
    "live": "rig.bench_lora_live",
    "adding_up": "rig.bench_lora_sum",
    "trajectory": "rig.bench_trajectory",
    "samplers": "rig.bench_samplers",
}


def main() -> None:
    import os

    part = sys.argv[1]
    conftest = importlib.import_module("conftest")  # its ways into ComfyUI and the pack
    conftest.load_pack()
    with tempfile.TemporaryDirectory(prefix="dualpass-") as folder:
        conftest.load_comfyui(os.environ["DUALPASS_COMFYUI"], Path(folder, "base"))
        import torch

        # Two threads wait for each other whenever one makes way for another process.
        torch.set_num_threads(1)
        with torch.no_grad():  # in inference mode a trace would miss casts
            for line in getattr(importlib.import_module(PARTS[part]), part)():
                print(PREFIX + written(line), flush=True)


if __name__ == "__main__":
    main()

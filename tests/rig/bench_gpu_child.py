"""One part of the GPU benchmark, in a process of its own: `python -m … PART SECONDS DIR`."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rig.bench_gpu import DEVICE
from rig.bench_lora_figure import PREFIX, Line, written

# What is none of these parts is the base type of a pair of experts.
MODULES = {
    "merging": ("merge",),
    "forward": ("forward", "gguf", "loaded"),
    "trajectory": ("trajectory",),
}
LEGACY = ("merging", "forward", "q4_k", "bf16_legacy")  # without dynamic VRAM


def main() -> None:
    part, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    ends = time.monotonic() + seconds
    importlib.import_module("conftest").load_pack()  # the checkout as package `pack`
    load_comfyui(os.environ["DUALPASS_COMFYUI"], folder / "base", part)
    import torch

    logging.getLogger().setLevel(logging.WARNING)
    if os.environ.get(DEVICE) == "cpu":
        torch.set_num_threads(1)  # what is tiny only waits for the other threads
    with torch.inference_mode():
        for line in lines(part, ends):
            print(PREFIX + written(line), flush=True)


def load_comfyui(tree: str, base: Path, part: str) -> None:
    """ComfyUI's modules, for the device that is asked for, with a loras folder to write to."""
    (base / "models" / "loras").mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, tree)
    on_cpu = os.environ.get(DEVICE) == "cpu"
    flags = ["--cpu"] if on_cpu else ["--disable-dynamic-vram"] if part in LEGACY else []
    sys.argv = ["main.py", f"--base-directory={base}", *flags]
    import comfy.options

    comfy.options.enable_args_parsing()
    if not flags:
        start_dynamic_vram()
    # Holds the name `utils`, which nodes.py gives to comfy/utils.py (0.18).
    import utils.extra_config  # type: ignore[import-not-found]  # noqa: F401


def start_dynamic_vram() -> None:
    """As ComfyUI's main.py does; aimdo comes before torch. Without it, loading is as before."""
    import comfy_aimdo.control as control  # type: ignore[import-untyped]

    control.init(nvml_pressure=True)
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import torch

    devices = comfy.model_management.get_all_torch_devices()
    pairs = ((device.index, 0) for device in devices)
    if torch.cuda.is_available() and control.init_devices(pairs):
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True


def lines(part: str, ends: float) -> Iterator[Line]:
    """Those of every row; one that fails, or finds no time left, says so, and the others go on."""
    from rig.bench_gpu_size import chosen, emptied

    names = (f"rig.bench_gpu_{name}" for name in MODULES.get(part, ("pair",)))
    modules, size = list(map(importlib.import_module, names)), chosen()
    for name, row in itertools.chain(*(module.rows(size, part) for module in modules)):
        if time.monotonic() > ends - 3:
            yield f"{name}: skipped, no time is left"
            continue
        try:
            yield from row()
        except RuntimeError as error:  # as torch raises without memory, too
            said = str(error).strip().splitlines() or [type(error).__name__]
            yield f"{name}: skipped, {type(error).__name__}: {said[0][:160]}"
        emptied()


if __name__ == "__main__":
    main()

"""How large the GPU benchmark's experts are and where they run, and what of a GPU is counted."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management
import torch
from torch.profiler import ProfilerActivity, profile

from rig.bench_gpu import DEVICE
from rig.bench_lora_measure import peak_bytes

Run = Callable[..., Any]
GIB = 2**30
PROBE = 1 << 20  # bytes of a copy that must be seen


class Shape(NamedTuple):
    """A linear layer of a block: where it is, its weight (rows, columns), and its tokens."""

    name: str
    rows: int
    columns: int
    sees_text: bool


@dataclass(frozen=True)
class Size:
    """An expert, and what it is called with; `latent` is frames, height and width."""

    device: torch.device
    dim: int
    ffn: int
    blocks: int
    some_blocks: int  # for what grows with the tokens, and is the same in every block
    latent: tuple[int, int, int]
    text: int
    tokens: tuple[int, ...]
    video: tuple[int, ...]  # tokens of a whole video
    caps: tuple[int | None, ...]  # GiB
    ranks: tuple[int, int] = (64, 128)
    parts: tuple[str, ...] = field(default=("self_attn", "cross_attn"))

    def linears(self) -> Iterator[Shape]:
        """The ten layers of a block that LoRAs are for."""
        for attention in self.parts:
            for part in "qkvo":
                sees_text = attention == "cross_attn" and part in "kv"
                yield Shape(f"{attention}.{part}", self.dim, self.dim, sees_text)
        yield Shape("ffn.0", self.ffn, self.dim, False)
        yield Shape("ffn.2", self.dim, self.ffn, False)


def chosen() -> Size:
    """Wan 14B on the GPU, 480p and 33 frames; on the CPU something to try the code with."""
    if os.environ.get(DEVICE) == "cpu":
        device = torch.device("cpu")
        return Size(device, 256, 512, 2, 1, (3, 8, 8), 16, (16, 256), (256,), (None, 16))
    tokens, video = (512, 4096, 32_760), (32_760, 75_600)  # 480p and 720p of 81 frames
    device = comfy.model_management.get_torch_device()
    return Size(
        device, 5120, 13824, 40, 4, (9, 60, 104), 512, tokens, video, (None, 24, 16)
    )  # fmt: skip


def synced(run: Run, device: torch.device) -> Run:
    """The same, over when the GPU is done."""

    def whole() -> None:
        run()
        sync(device)

    return whole


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def emptied() -> None:
    """Nothing loaded, nothing cached."""
    comfy.model_management.unload_all_models()
    comfy.model_management.cleanup_models()
    gc.collect()
    comfy.model_management.soft_empty_cache()


def peak(run: Run, device: torch.device) -> int:
    """Bytes that torch holds at a time during a run, beyond those before."""
    if device.type != "cuda":
        return peak_bytes(run)
    sync(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    synced(run, device)()
    return int(torch.cuda.max_memory_allocated(device) - before)


@contextmanager
def capped(device: torch.device, cap: int | None) -> Iterator[None]:
    """As a card of `cap` GiB; ComfyUI and dynamic VRAM see no more free, torch gets no more."""
    if cap is None or device.type != "cuda":
        yield
        return
    emptied()
    torch.zeros(1, device=device)  # the driver's context is there
    total = torch.cuda.mem_get_info(device)[1]
    driver, pointer = ctypes.CDLL("libcuda.so.1"), ctypes.c_uint64()
    # What torch's limit does not tell others is taken away.
    code = driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(total - cap * GIB))
    if code:
        raise RuntimeError(f"the card can not be made smaller (CUDA error {code})")
    torch.cuda.set_per_process_memory_fraction(cap * GIB / total, device)
    try:
        yield
    finally:
        emptied()
        driver.cuMemFree_v2(pointer)
        torch.cuda.set_per_process_memory_fraction(1.0, device)


class Watch:
    """The most memory of the GPU that is in use at a time in a block, by whomever, in bytes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.most = 0
        self._ended = threading.Event()

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._before = self._used()
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, self._used() - self._before)

    def _used(self) -> int:
        if self.device.type != "cuda":
            return 0
        free, total = torch.cuda.mem_get_info(self.device)
        return int(total - free)


def uploaded(run: Run, device: torch.device) -> int:
    """Bytes from host to device during a run, as the driver counts them; none on a CPU.

    Dynamic VRAM copies past torch, and ComfyUI-GGUF's tensors take no dispatch mode. Raises
    RuntimeError where the driver shows nothing.
    """
    if device.type != "cuda":
        run()
        return 0
    probe = torch.empty(PROBE, dtype=torch.uint8)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        probe.to(device)
        synced(run, device)()
    with tempfile.TemporaryDirectory(prefix="dualpass-") as folder:
        path = Path(folder, "trace.json")
        seen.export_chrome_trace(str(path))
        total = upload_bytes(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])
    if total < PROBE:
        raise RuntimeError("bytes uploaded: the driver's profiler shows no copies here")
    return total - PROBE


def upload_bytes(events: Sequence[Mapping[str, Any]]) -> int:
    """The bytes of all copies from host to device among a profile's events."""
    found = (one.get("args", {}) for one in events if "HtoD" in one.get("name", ""))
    return sum(int(one.get("bytes", 0)) for one in found)

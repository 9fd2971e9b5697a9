"""Our sampler and SVI conditioning beside the packs that people use for both experts."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pack.nodes.sampling.order import Scene  # type: ignore[import-not-found]
from pack.nodes.sampling.run import Way, dual_sample  # type: ignore[import-not-found]
from pack.nodes.sampling.schedule import First, Plan  # type: ignore[import-not-found]
from pack.nodes.svi_conditioning import SVIProConditioning  # type: ignore[import-not-found]
from rig import small
from rig.bench_figure import Figure, at_most
from rig.bench_lora_figure import Line
from rig.bench_trajectory import LONGER, PEER, ROUNDS, by_turns, medium, paired_times

MOE, TRIPLE, KJ = "WanMoeKSampler", "TripleKSampler", "KJNodes"
FOLDERS = {MOE: "COMFYUI_WANMOE_DIR", TRIPLE: "COMFYUI_TRIPLE_DIR", KJ: "COMFYUI_KJNODES_DIR"}
SAMPLERS = ("euler", "dpmpp_2m", "res_multistep", "uni_pc", "euler_ancestral")

Sample = Callable[[Scene, Plan], torch.Tensor]


def samplers() -> Iterator[Line]:
    """What they make, and the time they take; one that is not here is left out by name."""
    peers = {name: Path(os.environ[at]) for name, at in FOLDERS.items() if os.environ.get(at)}
    for name in FOLDERS.keys() - peers.keys():
        yield f"{name}: skipped, {FOLDERS[name]} does not name its folder"
    runs = {name: make(peers[name]) for name, make in MADE.items() if name in peers}
    with contextmanager(small.as_a_node_runs)():
        yield "both experts the same: difference to one KSampler, 8 steps"
        yield from differences({PEER: core} | runs)
        yield "time of the CPU beside them, one thread"
        at = medium()
        for name, run in runs.items():
            both = {"": three_phases if name == TRIPLE else ours, name: run}
            planned = {each: partial(_sampled, run, small.plan()) for each, run in both.items()}
            times = by_turns(at, planned, ROUNDS, clock=time.process_time)
            yield from paired_times("medium, 8 steps", times, LONGER, name)
        if KJ in peers:
            yield "what SVI 2.0 Pro makes a clip from"
            yield from conditioning(peers[KJ])


def differences(peers: Mapping[str, Sample]) -> Iterator[Figure]:
    """To one KSampler, which hands nothing over; relative to the largest value."""
    at = small.scene(small.expert("high"), small.expert("high"))
    for sampler in SAMPLERS:
        plan = small.plan(sampler)
        whole = small.one(at, plan)
        for name, own in (("one run", ours), ("one run, three phases", three_phases)):
            yield at_most(0, f"{sampler}, {name}", small.difference(own(at, plan), whole))
        for name, run in peers.items():
            yield Figure(f"{sampler}, {name}", small.difference(run(at, plan), whole))


def _sampled(run: Sample, plan: Plan, at: Scene) -> torch.Tensor:
    return run(at, plan)


def ours(at: Scene, plan: Plan) -> torch.Tensor:
    return small.dual(at, plan)


def three_phases(at: Scene, plan: Plan) -> torch.Tensor:
    """One first step, here with the same model and guidance."""
    way = Way(first=First(1, plan.cfg_high))
    at = replace(at, model_first=at.model_high)
    out: torch.Tensor = dual_sample(at, plan, way, small.SEED, keep=False)[0]["samples"]
    return out


def core(at: Scene, plan: Plan) -> torch.Tensor:
    return small.two(at, plan, small.high_steps(plan))


def wan_moe(folder: Path) -> Sample:
    """One node with a boundary; it changes the models that it is given, so it gets clones."""
    node = module_at(folder / "nodes.py", "wan_moe").WanMoeKSampler()

    def sample(at: Scene, plan: Plan) -> torch.Tensor:
        models = at.model_high.clone(), at.model_low.clone()
        cfgs = plan.cfg_high, plan.cfg_low
        out: torch.Tensor = node.sample(
            *models, plan.boundary, small.SEED, plan.steps, *cfgs, plan.sampler_name,
            plan.scheduler, plan.shift, at.positive, at.negative, at.latent,
        )[0]["samples"]  # fmt: skip
        return out

    return sample


def triple(folder: Path) -> Sample:
    """One first step on the steps of the others, then both experts by the boundary."""
    sys.path.insert(0, str(folder))
    node = importlib.import_module("triple_ksampler.ksampler.advanced").TripleKSamplerAdvancedAlt()

    def sample(at: Scene, plan: Plan) -> torch.Tensor:
        kind = {"sampler": plan.sampler_name, "scheduler": plan.scheduler, "cfg": plan.cfg_high}
        stages = ("base", "lightning")
        named = {f"{stage}_{key}": value for stage in stages for key, value in kind.items()}
        out: torch.Tensor = node.sample(
            at.model_high, at.model_high, at.model_low, at.positive, at.negative, at.latent,
            small.SEED, plan.shift, base_steps=1, base_quality_threshold=20, lightning_start=1,
            lightning_steps=plan.steps, switch_strategy="Manual boundary",
            switch_boundary=plan.boundary, **named,
        )[0]["samples"]  # fmt: skip
        return out

    return sample


MADE: dict[str, Callable[[Path], Sample]] = {MOE: wan_moe, TRIPLE: triple}


def conditioning(folder: Path) -> Iterator[Line]:
    """The largest difference to the node that workflows use, of one video and of two at once."""
    node = module_at(folder / "nodes" / "nodes.py", "kjnodes").WanImageToVideoSVIPro
    model, words = small.expert("high"), [[torch.zeros(1, 4, small.TEXT), {}]]
    for batch in (1, 2):
        anchor, previous = ({"samples": torch.randn(batch, 16, at, 4, 6)} for at in (1, 5))
        mine = SVIProConditioning.execute(words, words, model, anchor, previous, length=33)
        given = mine.result[0][0][1]
        try:
            theirs = node.execute(words, words, 33, 1, anchor, previous).result[0][0][1]
        except RuntimeError as error:
            yield f"{KJ}, batch of {batch}: {error}"
            continue
        keys = ("concat_latent_image", "concat_mask")
        yield at_most(
            0, f"batch of {batch} / {KJ}",
            max(float((given[key] - theirs[key]).abs().max()) for key in keys),
        )  # fmt: skip


def module_at(path: Path, name: str) -> Any:
    """A file of another pack as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]

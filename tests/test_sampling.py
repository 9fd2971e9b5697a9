"""The dual sampler against ComfyUI's own samplers, through the real server, on tiny experts."""

from __future__ import annotations

import pytest

from rig.client import Server
from rig.graphs import Graph, Link, compare, core, dual, scene, shifted

SAMPLERS = (
    "euler",
    "heun",
    "dpm_2",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "uni_pc",
    "res_multistep",
    "deis",
    "lcm",
    "euler_ancestral",
)
SHIFT = 5.0
SEED = 7


def settings(sampler: str, scheduler: str, steps: int, cfg: float = 2.0) -> dict[str, object]:
    """The dual sampler's inputs; `cores_of` gives a KSampler the same."""
    same = {"seed": SEED, "steps": steps, "sampler_name": sampler, "scheduler": scheduler}
    return same | {"settings": "manual", "cfg_high": cfg, "cfg_low": cfg, "shift": SHIFT}


def cores_of(made: dict[str, object]) -> dict[str, object]:
    names = ("seed", "steps", "sampler_name", "scheduler")
    return {name: made[name] for name in names} | {"cfg": made["cfg_high"]}


def reference(graph: Graph, at: dict[str, Link], sigma: float, made: dict[str, object]) -> Link:
    """One KSampler on the high expert that calls the low one below `sigma`."""
    high, low = (shifted(graph, at[role], SHIFT) for role in ("high", "low"))
    conditions = {name: at[name] for name in ("positive", "negative")}
    inputs = conditions | {"latent_image": at["latent"], "denoise": 1.0} | cores_of(made)
    return graph.add("ProbeReference", high=high, low=low, sigma=sigma, **inputs)[0]


def schedule_of(outputs: dict[str, dict[str, list[str]]]) -> str:
    (text,) = (out["text"][0] for key, out in outputs.items() if key.startswith("SVIProDual"))
    return text


def sigma_of_step(schedule: str, step: int) -> float:
    (line,) = (line for line in schedule.splitlines() if line.startswith(f"{step + 1:>3}  "))
    return float(line.split()[1])


def test_the_run_equals_one_ksampler(server: Server) -> None:
    """Bit for bit, with the same weights twice and with different experts.

    test_parity.py does this with every sampler, in its own process.
    """
    graph, at = scene()
    same = at | {"low": at["high"]}
    model = shifted(graph, at["high"], SHIFT)
    samplers = ("euler", "dpmpp_2m_sde", "uni_pc")
    for sampler in samplers:
        made = settings(sampler, "beta", 8)
        one, _ = dual(graph, same, **made)
        compare(graph, f"same {sampler}", one, core(graph, at, model, **cores_of(made)))
        two, _ = dual(graph, at, **made)
        compare(graph, f"two {sampler}", two, reference(graph, at, 0.9 - 1e-6, made))
        compare(graph, f"other {sampler}", two, one)
    outputs = server.run(graph)["outputs"]
    for sampler in samplers:
        for compared in (outputs[f"same {sampler}"], outputs[f"two {sampler}"]):
            assert (compared["finite"], compared["difference"]) == ([True], [0.0])
        # The low expert does matter: without this the lines above could not fail.
        assert outputs[f"other {sampler}"]["relative"][0] > 0.01


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("split", ("boundary", "step"))
def test_each_model_call_goes_to_the_expert_of_its_sigma(
    server: Server, sampler: str, split: str
) -> None:
    graph, at = scene()
    tag = f"{sampler} {split}"
    at = recording(graph, at, tag)
    made = settings(sampler, "simple", 8) | {"split": split, "switch_step": 4}
    latent, _ = dual(graph, at, **made)
    graph.add("ProbeCalls", "calls", after=latent, tag=tag)
    outputs = server.run(graph)["outputs"]
    calls = outputs["calls"]["calls"]
    # The schedule shows four decimals.
    first_low = 0.9 if split == "boundary" else sigma_of_step(schedule_of(outputs), 4) + 1e-4
    assert {expert for _, expert in calls} == {"high", "low"}
    assert [expert for _, expert in calls] == [
        "high" if sigma >= first_low else "low" for sigma, _ in calls
    ]


def test_an_expert_that_was_left_is_not_loaded_again(server: Server) -> None:
    """heunpp2 looks two steps ahead and comes back above the boundary: low answers on."""
    graph, at = scene()
    at = recording(graph, at, "hpp")
    latent, _ = dual(graph, at, **settings("heunpp2", "simple", 8))
    graph.add("ProbeCalls", "calls", after=latent, tag="hpp")
    calls = server.run(graph)["outputs"]["calls"]["calls"]
    experts = [expert for _, expert in calls]
    assert experts == sorted(experts)
    assert any(sigma >= 0.9 and expert == "low" for sigma, expert in calls)


def test_a_sigma_that_ties_with_the_boundary_is_high(server: Server) -> None:
    """Shift 3, 4 steps, simple: sigma 1 is 0.9, stored as 0.89999998."""
    graph, at = scene()
    at = recording(graph, at, "tie")
    latent, _ = dual(graph, at, **settings("euler", "simple", 4) | {"shift": 3.0})
    graph.add("ProbeCalls", "calls", after=latent, tag="tie")
    calls = server.run(graph)["outputs"]["calls"]["calls"]
    assert [expert for _, expert in calls] == ["high", "high", "low", "low"]
    assert calls[1][0] == pytest.approx(0.9)


def test_euler_equals_two_advanced_ksamplers(server: Server) -> None:
    """Within what core rounds between its nodes, and with the same calls of the models."""
    graph, at = scene()
    made = settings("euler", "simple", 8) | {"split": "step", "switch_step": 3}
    recorded = {tag: recording(graph, at, tag) for tag in ("ours", "cores")}
    ours, _ = dual(graph, recorded["ours"], **made)
    latents = {"ours": ours, "cores": two_advanced(graph, recorded["cores"], 8, 3)}
    for tag, latent in latents.items():
        graph.add("ProbeCalls", tag, after=latent, tag=tag)
    compare(graph, "core", *latents.values())
    outputs = server.run(graph)["outputs"]
    assert outputs["core"]["relative"][0] < 1e-6
    assert outputs["ours"]["calls"] == outputs["cores"]["calls"]
    assert [expert for _, expert in outputs["ours"]["calls"]] == ["high"] * 3 + ["low"] * 5


def recording(graph: Graph, at: dict[str, Link], tag: str) -> dict[str, Link]:
    """The scene with experts whose calls are noted under `tag`."""
    high, low, *_ = graph.add("ProbeRecord", high=at["high"], low=at["low"], tag=tag)
    return at | {"high": high, "low": low}


def two_advanced(graph: Graph, at: dict[str, Link], steps: int, switch: int) -> Link:
    """A KSamplerAdvanced for each expert."""
    same = {"positive": at["positive"], "negative": at["negative"], "noise_seed": SEED}
    same |= {"steps": steps, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    latent = at["latent"]
    for role, start, end in (("high", 0, switch), ("low", switch, steps)):
        first = role == "high"
        latent, *_ = graph.add(
            "KSamplerAdvanced",
            model=shifted(graph, at[role], SHIFT),
            latent_image=latent,
            add_noise="enable" if first else "disable",
            start_at_step=start,
            end_at_step=end,
            return_with_leftover_noise="enable" if first else "disable",
            **same,
        )
    return latent


def test_an_expert_without_a_step_is_not_loaded(server: Server) -> None:
    """denoise 0.3 starts below the boundary; a boundary of 0 is below every call."""
    for idle, more in (("high", {"denoise": 0.3}), ("low", {"boundary": 0.0})):
        graph, at = scene()
        at[idle], *_ = graph.add("ProbeFail", model=at[idle], place="load")
        latent, _ = dual(graph, at, **settings("euler", "simple", 4) | more)
        graph.add("PreviewAny", source=latent)
        history = server.run(graph)
        assert history["status"]["status_str"] == "success"
        assert f"{idle}: no step, not loaded" in schedule_of(history["outputs"])


def test_cfg_of_each_expert_counts_for_its_own_steps(server: Server) -> None:
    graph, at = scene()
    made = settings("euler", "simple", 4) | {"cfg_high": 1.0}
    runs = [dual(graph, at, **made | {"cfg_low": low})[0] for low in (1.0, 4.0)]
    compare(graph, "low cfg", *runs)
    assert server.run(graph)["outputs"]["low cfg"]["relative"][0] > 1e-4


def test_the_callers_model_keeps_its_shift_and_patches(server: Server) -> None:
    graph, at = scene()
    latent, _ = dual(graph, at, **settings("euler", "simple", 4) | {"shift": 2.0})
    graph.add("ProbeState", "state", model=at["high"], after=latent)
    state = server.run(graph)["outputs"]["state"]
    # 8 is what ComfyUI gives a Wan model.
    assert (state["shift"], state["patches"], state["threads"]) == ([8.0], [0], [0])


def test_the_latent_that_comes_out_is_one_for_the_next_node(server: Server) -> None:
    """What described the empty latent is gone, as from a KSampler; the noise mask stays."""
    graph, at = scene()
    mask, *_ = graph.add("SolidMask", value=0.5, width=64, height=64)
    at["latent"], *_ = graph.add("SetLatentNoiseMask", samples=at["latent"], mask=mask)
    ours, _ = dual(graph, at, **settings("euler", "simple", 4))
    cores = core(graph, at, at["high"], **cores_of(settings("euler", "simple", 4)))
    for key, latent in (("ours", ours), ("core", cores)):
        graph.add("ProbeState", key, model=at["high"], after=latent)
    outputs = server.run(graph)["outputs"]
    assert outputs["ours"]["latent"] == outputs["core"]["latent"] == ["noise_mask", "samples"]


def test_a_batch_from_the_middle_has_its_own_noise(server: Server) -> None:
    """LatentFromBatch marks which of a batch it took; one KSampler honours it, so do we."""
    graph, at = scene(batch_size=3)
    at["latent"], *_ = graph.add("LatentFromBatch", samples=at["latent"], batch_index=2, length=1)
    made = settings("euler", "simple", 4)
    ours, _ = dual(graph, at | {"low": at["high"]}, **made)
    model = shifted(graph, at["high"], SHIFT)
    compare(graph, "core", ours, core(graph, at, model, **cores_of(made)))
    assert server.run(graph)["outputs"]["core"]["difference"] == [0.0]

"""Plans that others have published, by the names under which the sampler offers them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .schedule import Plan


@dataclass(frozen=True)
class Preset:
    """A published plan; with `split_step` None its boundary decides where the experts change.

    `length` is the number of frames that goes with it, `source` where it is published, and `note`
    what is derived or left out.
    """

    plan: Plan
    split_step: int | None
    length: int
    source: str
    note: str


def shifted_levels(levels: list[float], shift: float) -> list[float]:
    """sigma(u) = shift * u / (1 + (shift - 1) * u) of each noise level u in 0..1."""
    return [shift * level / (1 + (shift - 1) * level) for level in levels]


def unipc_sigmas(steps: int, shift: float) -> tuple[float, ...]:
    """Diffusers' UniPC with use_flow_sigmas, (steps + 1,).

    Even levels from 1 to 0.001, of which the last is left out, shifted, then 0.
    """
    levels = _even(1.0, 0.001, steps + 1)[:-1]
    return (*shifted_levels(levels, shift), 0.0)


def flow_euler_sigmas(steps: int, shift: float) -> tuple[float, ...]:
    """Diffusers' FlowMatchEulerDiscreteScheduler, (steps + 1,).

    It shifts twice: its lowest level is 0.001 shifted already, and even levels down to that one
    are shifted again, then 0.
    """
    (lowest,) = shifted_levels([0.001], shift)
    return (*shifted_levels(_even(1.0, lowest, steps), shift), 0.0)


def _even(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * at / (count - 1) for at in range(count)]


TEMPLATE = "Comfy-Org/workflow_templates: templates/video_wan2_2_14B_i2v.json"
LIGHTX2V = "ModelTC/LightX2V: configs/wan22/wan_moe_i2v_distill.json"
SVI = (
    "https://github.com/user-attachments/files/24359648/wan22_SVI_Pro_native_example_KJ.json, "
    "linked from vita-epfl/Stable-Video-Infinity"
)
GIVEN = "given sigmas"  # in place of a name of ComfyUI's schedulers
FAST = Plan(4, 1.0, 1.0, "euler", "simple", 5.0, 0.9)
SIX = Plan(6, 1.0, 1.0, "euler", "simple", 5.0, 0.9)

PRESETS: dict[str, Preset] = {
    "ComfyUI template, 20 steps": Preset(
        Plan(20, 3.5, 3.5, "euler", "simple", 5.0, 0.9),
        10,
        81,
        TEMPLATE,
        "Without a LoRA. It changes experts two steps later than the boundary 0.9 would.",
    ),
    "ComfyUI template, 4 steps": Preset(
        FAST, 2, 81, TEMPLATE, "With the LightX2V 4-step pair at strength 1 on both experts."
    ),
    "Lightning, 4 steps": Preset(
        FAST,
        None,
        81,
        "ModelTC/Wan2.2-Lightning: wan/configs/wan_i2v_A14B.py",
        "Trained at the timesteps 1000, 937.5, 833.3 and 625, which are these four sigmas.",
    ),
    "LightX2V, 4 steps": Preset(
        FAST,
        2,
        81,
        LIGHTX2V,
        "Its denoising_step_list 1000, 750, 500, 250 at sample_shift 5, boundary_step_index 2, "
        "without cfg. Derived: that its steps are those of euler / simple.",
    ),
    "LightX2V, 6 steps": Preset(
        SIX,
        None,
        81,
        SVI,
        "LightX2V itself publishes 4 steps; 6 are what SVI's workflow runs its LoRAs at. "
        "Derived: the change of experts, by the boundary 0.9, and that SVI's LoRAs are left "
        "out.",
    ),
    "SVI 2.0 Pro, 6 steps": Preset(
        SIX,
        3,
        81,
        SVI,
        "With LightX2V and SVI 2.0 Pro at strength 1 on both experts; another seed for each "
        "clip, as its authors advise.",
    ),
    "RunComfy, 25 steps": Preset(
        Plan(25, 4.0, 4.0, "uni_pc", GIVEN, 3.0, 0.9, sigmas=unipc_sigmas(25, 3.0)),
        None,
        41,
        "runcomfy-com/ai-toolkit-inference: src/pipelines/wan22_i2v.py",
        "Sizes are multiples of 16, rounded down. Derived: ComfyUI's uni_pc in place of "
        "diffusers' UniPC (order 2, bh2), so results are close, not equal.",
    ),
    "ai-toolkit preview, 25 steps": Preset(
        Plan(25, 3.5, 3.5, "euler", GIVEN, 5.0, 0.875, sigmas=flow_euler_sigmas(25, 5.0)),
        None,
        41,
        "ostris/ai-toolkit: extensions_built_in/diffusion_models/wan22/wan22_14b_model.py",
        "Sizes are multiples of 16, rounded down. cfg is that of its example configuration; "
        "the boundary is 0.875 for image to video too.",
    ),
}

"""What can be told of the connected experts before anything runs, and what stops the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...catalog.detect import detect

WAN = "wan2.1"  # ComfyUI's name of the family, Wan 2.2 included
# Of ComfyUI's detected configuration: what two experts of one model have in common.
SHAPE = ("image_model", "dim", "num_layers", "in_dim", "out_dim")
# In sigma. Two schedulers' rounding lies far below, any other shift far above.
NEAR = 1e-3


def check_experts(model_high: Any, model_low: Any, model_first: Any = None) -> None:
    """Raise ValueError where two experts are no experts of one model.

    Family, kind and size count, as ComfyUI detected them from the files; number formats, LoRAs and
    wrappers do not. Of one size, the image branch of Wan 2.1 is no difference.
    """
    for name, model in (("model_low", model_low), ("model_first", model_first)):
        if model is not None and _traits(model) != _traits(model_high):
            raise ValueError(
                f"model_high is {_described(model_high)}, but {name} is {_described(model)}: "
                "connect experts of one model."
            )


def _traits(model: Any) -> tuple[Any, ...]:
    config = _config(model)
    kind = "t2v" if _has_image_branch(config) else config.get("model_type")
    own = type(model.model).__name__, model.get_model_object("latent_format").latent_channels
    return (*own, kind, *(config.get(name) for name in SHAPE))


def _config(model: Any) -> dict[str, Any]:
    """What ComfyUI detected of a model; empty where another pack has made it differently."""
    config = getattr(getattr(model.model, "model_config", None), "unet_config", None)
    return config if isinstance(config, dict) else {}


def _has_image_branch(config: dict[str, Any]) -> bool:
    """Wan 2.1's image to video, which reads CLIP vision beside what Wan 2.2's reads."""
    return (config.get("model_type"), config.get("in_dim")) == ("i2v", 36)


def _described(model: Any) -> str:
    """Kind and size in a few words."""
    config = _config(model)
    channels = model.get_model_object("latent_format").latent_channels
    if config.get("image_model") != WAN:
        return f"{type(model.model).__name__} with {channels} latent channels"
    kind, width = config.get("model_type"), config.get("in_dim")
    if kind == "t2v":
        kind = {16: "text to video", 36: "image to video"}.get(width or 0, kind)
    return (
        f"Wan {kind} ({config.get('dim')} wide, "
        f"{config.get('num_layers')} blocks, {width} channels in, {channels} out)"
    )


def doubts(
    model_high: Any,
    model_low: Any,
    sigma: float | None = None,
    model_first: Any = None,
    each_own: bool = False,
) -> list[str]:
    """What to check in the wiring: one model on two inputs, an expert on the other's input, a
    model of another family, and another shift.

    `sigma` is that of the first low step where each model keeps its own shift; None where a plan
    sets both. `model_first` is None where it has no step. With `each_own`, each pass keeps its own
    shift.
    """
    if model_high.is_clone(model_low):
        told = ["warning: model_high and model_low are the same model. Connect both experts."]
    else:
        told = [*_other_role(model_high, model_low), *_other_family(model_high, model_low)]
    if model_first is not None:
        told += _first(model_high, model_first)
    if sigma is not None:
        told += _other_shift(model_high, model_low, sigma, each_own)
    return told


def _first(model_high: Any, model_first: Any) -> Iterator[str]:
    """The one that takes the first steps is the high expert's model, with other LoRAs."""
    if model_first is model_high:
        yield "note: model_first is model_high: no accelerator is left out, only cfg_first differs."
    elif not model_first.is_clone(model_high):
        yield "warning: model_first is another model than model_high. Take both from the router."


def _other_role(model_high: Any, model_low: Any) -> Iterator[str]:
    names = {"high": Path(file_of(model_high)).name, "low": Path(file_of(model_low)).name}
    for role, name in names.items():
        if (said := detect([name])[0].role) in {"high", "low"} - {role}:
            yield (
                f"warning: model_{role} is loaded from {name}, whose name says {said}. "
                "Are the two swapped?"
            )


def _other_family(model_high: Any, model_low: Any) -> Iterator[str]:
    for role, model in (("high", model_high), ("low", model_low)):
        config = _config(model)
        if config.get("image_model") != WAN:
            yield f"warning: model_{role} is {_described(model)}, not a Wan model."
        elif _has_image_branch(config):
            yield f"warning: model_{role} is a Wan 2.1 model. Connect the experts of Wan 2.2."


def _other_shift(
    model_high: Any, model_low: Any, sigma: float, each_own: bool
) -> Iterator[str]:
    high, low = (
        getattr(model.get_model_object("model_sampling"), "shift", None)
        for model in (model_high, model_low)
    )
    if high is None or low is None:
        if high != low:
            yield "warning: the noise levels of model_high and model_low are of two kinds."
        return
    own, counts = _reshifted(sigma, high, low), "model_high's counts"
    if abs(own - sigma) > NEAR:
        yield (
            f"warning: model_high has shift {high:g}, model_low {low:g}: the hand-over at sigma "
            f"{sigma:.4f} would be at {own:.4f} by the low one's. "
            f"{'Each pass keeps its own' if each_own else counts}; set shift for both."
        )


def _reshifted(sigma: float, before: float, after: float) -> float:
    """The sigma that the noise level of `sigma` has at another shift.

    sigma(u) = shift * u / (1 + (shift - 1) * u), solved for u, and taken anew.
    """
    level = sigma / (before - (before - 1) * sigma)
    return after * level / (1 + (after - 1) * level)


def file_of(model: Any) -> str:
    """The path of the file that a model was loaded from; empty where its loader notes none."""
    match getattr(model, "cached_patcher_init", None):
        # How ComfyUI's loaders load the model anew: a function, and its arguments, a path first.
        case (_, (str(path), *_), *_):
            return path
    return ""

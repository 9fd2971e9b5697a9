"""What can be told of two connected experts before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...catalog.detect import detect


def doubts(model_high: Any, model_low: Any) -> list[str]:
    """What to check in the wiring: one model on both inputs, or an expert on the other's input."""
    if model_high.is_clone(model_low):
        return ["warning: model_high and model_low are the same model. Connect both experts."]
    names = {"high": Path(file_of(model_high)).name, "low": Path(file_of(model_low)).name}
    return [
        f"warning: model_{role} is loaded from {name}, whose name says {said}. Are the two swapped?"
        for role, name in names.items()
        if (said := detect([name])[0].role) in {"high", "low"} - {role}
    ]


def file_of(model: Any) -> str:
    """The path of the file that a model was loaded from; empty where its loader notes none."""
    match getattr(model, "cached_patcher_init", None):
        # How ComfyUI's loaders load the model anew: a function, and its arguments, a path first.
        case (_, (str(path), *_), *_):
            return path
    return ""

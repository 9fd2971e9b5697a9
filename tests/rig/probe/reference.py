"""The exact reference for a run whose expert is swapped inside."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch


def reference(high: Any, low: Any, sigma: float) -> Any:
    """`high` for one sampler run; from the first model call below `sigma` on, `low` answers.

    heunpp2 looks two steps ahead and comes back; an expert that was left is not loaded again.
    """
    comfy.model_management.load_models_gpu([low])
    below: list[bool] = []

    def call(apply_model: Any, args: dict[str, Any]) -> torch.Tensor:
        below.append(float(args["timestep"].max()) < sigma)
        function = low.model.apply_model if any(below) else apply_model
        out: torch.Tensor = function(args["input"], args["timestep"], **args["c"])
        return out

    model = high.clone()
    model.set_model_unet_function_wrapper(call)
    return model

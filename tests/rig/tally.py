"""Counts on a model: every wrapper, callback and function that ComfyUI lets a node hang on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP


class Tally:
    """How often each was called, by (role, kind); and what the model was called with."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.inputs: list[tuple[str, float, torch.Size]] = []

    def on(self, model: Any, role: str) -> Any:
        """A clone of the model that counts for this role."""
        model = model.clone()
        self._functions(model, role)
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "inputs", self._looking(role))
        for kind in [value for key, value in vars(WrappersMP).items() if key.isupper()]:
            model.add_wrapper_with_key(kind, "tally", self._passing_on(role, kind))
        # A clone is made where a shift is set, by either side.
        for kind in [value for key, value in vars(CallbacksMP).items() if key.isupper()]:
            if kind != CallbacksMP.ON_CLONE:
                model.add_callback_with_key(kind, "tally", self._noting(role, kind))
        return model

    def _functions(self, model: Any, role: str) -> None:
        """These have a say in the result: another one for each expert."""
        part = 0.9 if role == "high" else 1.1

        def guided(args: dict[str, Any]) -> torch.Tensor:
            self.calls[role, "cfg"] += 1
            return part * (args["uncond"] + args["cond_scale"] * (args["cond"] - args["uncond"]))

        def before(args: dict[str, Any]) -> list[torch.Tensor]:
            self.calls[role, "before cfg"] += 1
            return [each * part for each in args["conds_out"]]

        def after(args: dict[str, Any]) -> torch.Tensor:
            self.calls[role, "after cfg"] += 1
            return args["denoised"] * part

        def called(apply_model: Any, args: dict[str, Any]) -> torch.Tensor:
            self.calls[role, "model function"] += 1
            return part * apply_model(args["input"], args["timestep"], **args["c"])

        model.set_model_sampler_cfg_function(guided)
        model.set_model_sampler_pre_cfg_function(before)
        model.set_model_sampler_post_cfg_function(after)
        model.set_model_unet_function_wrapper(called)

    def _passing_on(self, role: str, kind: str) -> Callable[..., Any]:
        def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls[role, kind] += 1
            return executor(*args, **kwargs)

        return wrapper

    def _looking(self, role: str) -> Callable[..., Any]:
        def wrapper(
            executor: Any, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kw: Any
        ) -> Any:
            self.inputs.append((role, float(sigma.max()), x.shape))
            return executor(x, sigma, *args, **kw)

        return wrapper

    def _noting(self, role: str, kind: str) -> Callable[..., None]:
        return lambda *_: self.calls.update([(role, kind)])

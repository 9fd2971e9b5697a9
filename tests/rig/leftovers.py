"""Whether a run that failed has left anything behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import pytest
from comfy.model_patcher import PatcherInjection


@contextmanager
def nothing_left(at: Any, error: type[BaseException], ejected: bool = True) -> Iterator[None]:
    """The error comes out; then models and threads are as before.

    Where loading itself fails, core forgets what it has injected by then (`ejected` is False).
    """
    comfy.model_management.unload_all_models()
    experts, injected = (at.model_high, at.model_low), list[Any]()
    for model in experts:
        injection = PatcherInjection(injected.append, lambda model: injected.remove(model))
        model.set_injections("test", [injection])
    before = [state(model) for model in experts]
    with pytest.raises(error):
        yield
    assert not [each for each in threading.enumerate() if each.name.startswith("dualpass")]
    assert not any(model.model.current_patcher for model in experts)
    assert not any(model.hook_backup or model.current_hooks for model in experts)
    comfy.model_management.unload_all_models()
    assert [state(model) for model in experts] == before
    assert ejected is not bool(injected) and not any(model.is_injected for model in experts)
    # An interrupt that was not answered would end the next run.
    comfy.model_management.throw_exception_if_processing_interrupted()


def state(model: Any) -> Any:
    """What a run must leave as it was: weights, patches, and what hangs on the model."""
    weights = {key: value.double().sum().item() for key, value in model.model.state_dict().items()}
    hung = repr((model.wrappers, model.callbacks, model.model_options, model.hook_mode))
    patches = len(model.patches), len(model.hook_patches), list(model.object_patches)
    return weights, hung, patches, list(model.backup), list(model.object_patches_backup)

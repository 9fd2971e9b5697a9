"""One trajectory through two experts: the hand-over, a retry, and what is kept of the high side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.model_management
import torch

from .experts import SharedRun
from .memory import make_room, reset_as_after_a_node
from .order import Order, Scene, check_made
from .prefetch import AnsweringAhead, unread_files
from .replay import Recording, Recordings, Replay, ReplayMissed, identity, model_identity
from .schedule import Share

_recordings = Recordings()


def one_trajectory(order: Order, seen: Scene | None) -> tuple[dict[str, Any], str]:
    """The latent of one sampler run, and a line of what is to be told of it.

    `seen` is the scene as its nodes gave it: a later run with the same high side is recognised by
    that, and the high-noise expert is not run again. None: nothing is kept of the run.
    """
    key = _key_of_high(order, seen) if seen else None
    if key and (found := _recordings.find(key)):
        try:
            run = SharedRun(order.sampler_object(), None, Replay(found), order.sampler_options())
            return _run(order, run, order.shares[-1:]), "high: as in an earlier run, not run again"
        except ReplayMissed:
            _recordings.forget(found)
    recording = Recording(key) if key else None
    run = SharedRun(order.sampler_object(), recording, None, order.sampler_options())
    return _run(order, run, order.shares), ""


def _key_of_high(order: Order, seen: Scene) -> Any:
    """The identity of all that the calls above the last hand-over depend on; None without one."""
    *above, last = order.shares
    if not above or last.role != "low":
        return None
    experts = [model_identity(seen.expert(share.role)) for share in above]
    # On a replay the sampler reads its noise levels from the low expert.
    levels = [_levels_of(order.scene.expert(role)) for role in ("high", "low")]
    made_from = seen.origin or (seen.positive, seen.negative, seen.latent)
    sampler = order.sampler or order.plan.sampler_name
    settings = (order.sigmas.tolist(), order.plan.shift, order.seed, levels)
    return experts, identity((made_from, sampler, settings)), above


def _levels_of(model: Any) -> tuple[str, float, float]:
    sampling = model.get_model_object("model_sampling")
    shift, multiplier = getattr(sampling, "shift", 0.0), getattr(sampling, "multiplier", 0.0)
    return type(sampling).__qualname__, shift, multiplier


def _run(order: Order, run: SharedRun, shares: Sequence[Share]) -> dict[str, Any]:
    with run:
        for share, later in zip(shares, [*shares[1:], None], strict=True):
            if not run.done:
                # Loading the next expert takes long; a cancel in between counts at once.
                comfy.model_management.throw_exception_if_processing_interrupted()
                out = _with_one_retry(order, run, share, later)
                check_made(out, share.role)
                if later and run.recording:
                    _recordings.keep(run.recording)
                reset_as_after_a_node()
    return order.finished(out)


def _with_one_retry(
    order: Order, run: SharedRun, share: Share, later: Share | None
) -> torch.Tensor:
    """One expert's share. Out of memory, all is unloaded and the call that failed made again."""
    try:
        return _answered(order, run, share, later)
    except RuntimeError as error:
        if run.done or not comfy.model_management.is_oom(error):
            raise
    make_room()
    try:
        return _answered(order, run, share, later)
    except RuntimeError as error:
        if not comfy.model_management.is_oom(error):
            raise
        raise comfy.model_management.OOM_EXCEPTION(
            f"Out of memory in the {share.role}-noise pass, also with every other model unloaded. "
            f"Use fewer frames or a smaller size. {error}"
        ) from error


def _answered(order: Order, run: SharedRun, share: Share, later: Share | None) -> torch.Tensor:
    scene, guider = order.scene, order.guider(share)
    files = unread_files(scene.expert(later.role), scene.expert(share.role)) if later else ()
    answering = AnsweringAhead(run, share.down_to, order.cfg_at(share), files=files)
    latent = scene.latent
    out: torch.Tensor = guider.sample(
        order.noise(),
        latent["samples"],
        answering,
        order.sigmas,
        denoise_mask=latent.get("noise_mask"),
        **order.options(),
    )
    return out

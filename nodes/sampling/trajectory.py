"""One trajectory through two experts: the hand-over, a retry, and what is kept of the high side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import comfy.model_management
import torch

from .experts import SharedRun
from .memory import reset_as_after_a_node, with_one_retry
from .order import Order, check_made, in_words
from .prefetch import AnsweringAhead, unread_files
from .replay import Recording, Recordings, Replay, ReplayMissed, Same, identity, model_identity
from .schedule import Share

_recordings = Recordings()


def one_trajectory(order: Order, keep: bool) -> tuple[dict[str, Any], str]:
    """The latent of one sampler run, and a line of what is to be told of it.

    With `keep`, a later run with the same high side is recognised, and the high-noise expert is not
    run again; without, nothing is kept of the run.
    """
    key = _key_of_high(order) if keep else None
    *above, last = order.shares
    found, low = (_recordings.find(key), _identity_of_low(order)) if key else (None, None)
    if found and found.missed_by != low:
        try:
            replay = Replay(found, above[-1].down_to)
            run = SharedRun(order.sampler_object(), None, replay, order.sampler_options())
            return _run(order, run, [last]), "high: as in an earlier run, not run again"
        except ReplayMissed:
            found.missed_by = low  # not tried again: it costs a load of the low expert
    models = [order.scene.expert(share.role) for share in above]
    recording = Recording(key, models) if key and not found else None
    run = SharedRun(order.sampler_object(), recording, None, order.sampler_options())
    out, ended = _run(order, run, order.shares), run.role
    return (
        out,
        "" if ended == last.role else f"note: the sampler ended with {ended}: no step of low.",
    )


def _key_of_high(order: Order) -> Any:
    """The identity of all that the calls above the last hand-over depend on; None without one."""
    *above, last = order.shares
    if not above or last.role != "low":
        return None
    # On a replay the sampler reads its noise levels from the low expert.
    scene = order.scene
    first, low = (scene.expert(share.role) for share in (above[0], last))
    if _levels_of(first) != _levels_of(low):
        return None
    made_from = (scene.positive, scene.negative, scene.latent)
    sampler = order.sampler or order.plan.sampler_name
    settings = (order.sigmas, order.seed)
    try:
        experts = [model_identity(scene.expert(share.role)) for share in above]
        return experts, identity((made_from, sampler, settings)), above
    except RecursionError:  # what holds itself can not be told apart
        return None


def _identity_of_low(order: Order) -> Any:
    try:
        return model_identity(order.scene.model_low)
    except RecursionError:
        return Same(object())  # equal to nothing


def _levels_of(model: Any) -> tuple[str, float, float]:
    sampling = model.get_model_object("model_sampling")
    shift, multiplier = getattr(sampling, "shift", 0.0), getattr(sampling, "multiplier", 0.0)
    return type(sampling).__qualname__, shift, multiplier


def _run(order: Order, run: SharedRun, shares: Sequence[Share]) -> dict[str, Any]:
    noise = order.make_noise()
    with run:
        for share, later in zip(shares, [*shares[1:], None], strict=True):
            if run.done:
                break
            # Loading the next expert takes long; a cancel in between counts at once.
            comfy.model_management.throw_exception_if_processing_interrupted()
            attempt = partial(_answered, order, run, noise, share, later)
            out = with_one_retry(attempt, in_words(share.role), lambda: not run.done)
            check_made(out, share.role)
            if later is shares[-1] and run.recording and not run.done:
                _recordings.keep(run.recording)
            reset_as_after_a_node()
            run.role = share.role
    return order.finished(out)


def _answered(
    order: Order, run: SharedRun, noise: torch.Tensor, share: Share, later: Share | None
) -> torch.Tensor:
    scene, guider = order.scene, order.guider(share)
    files = unread_files(scene.expert(later.role), scene.expert(share.role)) if later else ()
    answering = AnsweringAhead(run, share.down_to, share.start, order.cfg_at(share), files=files)
    latent = scene.latent
    out: torch.Tensor = guider.sample(
        noise.clone(),  # wrappers such as those of context windows shuffle it in place
        latent["samples"],
        answering,
        order.sigmas,
        denoise_mask=latent.get("noise_mask"),
        **order.options(),
    )
    return out

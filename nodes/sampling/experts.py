"""One sampler run over one sigma list, its model calls answered by two experts in turn.

The sampler function runs in a thread of its own and sees a stand-in for the model: each model call
and each callback becomes a request. ComfyUI's own guider runs in the calling thread, first for the
high-noise expert, then for the low-noise one, with an `Answering` in place of the sampler. So core
loads, wraps, patches and cleans up each expert as it does for any KSampler, and the sampler keeps
its history and its random numbers over the hand-over. Each call's tensors come to the device of the
expert that answers, and the answer goes back. An expert that was left is not loaded again:
heunpp2, which looks two steps ahead and comes back, stays with the low-noise one.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any

import comfy.samplers
import comfy.utils
import torch

from .keyframes import catch_up
from .options import carried_over
from .replay import Recording, Replay


class _Stopped(BaseException):
    """Unwinds the sampler's thread; not an Exception, so that no sampler swallows it."""


@dataclass(frozen=True)
class _ModelCall:
    x: torch.Tensor
    sigma: torch.Tensor
    model_options: dict[str, Any]
    seed: int | None
    reply: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class _Callback:
    args: tuple[Any, ...]
    reply: Future[Any] = field(default_factory=Future)


class _Model:
    """What the sampler takes for the model: asks whichever expert answers at the time."""

    def __init__(self, run: SharedRun) -> None:
        object.__setattr__(self, "_run", run)

    def __call__(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> torch.Tensor:
        # The name is that of core's guider: in its samplers, the timestep is a sigma.
        return self._run.ask(_ModelCall(x, timestep, model_options or {}, seed))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run.guider, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._run.guider, name, value)


class SharedRun:
    """A sampler at work in its own thread, from the first expert's start to the last one's end.

    `options` are model options that the sampler gets in place of the first expert's.
    """

    def __init__(
        self,
        sampler: comfy.samplers.Sampler,
        recording: Recording | None = None,
        replay: Replay | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.sampler = sampler
        self._options = options or {}
        self.recording = recording
        self.replay = replay
        self.guider: Any = None
        self.role = ""  # whose share ended last
        self.done = False
        self.thread: threading.Thread | None = None
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._open: Any = None
        self._given: dict[str, Any] = {}
        self._last: Answering | None = None
        self._closed = False

    def __enter__(self) -> SharedRun:
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, whatever the sampler waits for."""
        self._closed = True
        while self._open or not self._requests.empty():
            request, self._open = self._open or self._requests.get(), None
            if not isinstance(request, Future):
                request.reply.set_exception(_Stopped())
        if self.thread:
            self.thread.join()
        # What a failed sampler held stays reachable through its result: let go of it now.
        self.guider, self._requests = None, SimpleQueue()

    def ask(self, request: _ModelCall | _Callback) -> Any:
        """From the sampler's thread: hand a request over and wait for its answer."""
        self._requests.put(request)
        if self._closed:
            raise _Stopped
        return request.reply.result()

    def start(self, sigmas: torch.Tensor, extra_args: dict[str, Any], *args: Any) -> None:
        """Let the sampler run; `args` are those of `Sampler.sample` after its callback.

        Raises ReplayMissed where it would not begin with what the recorded run began with.
        """
        begun_with = [sigmas, *args[:-1]]
        if self.recording:
            self.recording.begin(begun_with)
        if self.replay:
            self.replay.begin(begun_with)
        # Two copies: what the sampler changes in its own is told by the other.
        self._given = comfy.utils.deepcopy_list_dict(extra_args["model_options"]) | self._options
        options = comfy.utils.deepcopy_list_dict(self._given)
        extra_args = extra_args | {"model_options": options}
        work = _with_torch_state(sigmas.device, self.sampler.sample)
        arguments = (_Model(self), sigmas, extra_args, self._callback, *args)
        in_context = partial(contextvars.copy_context().run, self._work, work, arguments)
        # A daemon, so that ComfyUI can be ended while it samples.
        self.thread = threading.Thread(target=in_context, name="dualpass-sampler", daemon=True)
        self.thread.start()

    def _work(self, function: Callable[..., torch.Tensor], arguments: tuple[Any, ...]) -> None:
        result: Future[torch.Tensor] = Future()
        result.add_done_callback(self._requests.put)
        try:
            result.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised again where the run is answered
            result.set_exception(error)
        finally:
            # An error holds this frame: what the sampler had would stay with it.
            del result, function, arguments

    def _callback(self, *args: Any) -> None:
        self.ask(_Callback(args))

    def answer(self, share: Answering, own_options: dict[str, Any], callback: Any) -> torch.Tensor:
        """Answer requests until the sampler is done, or a model call lies below the share's end.

        That call is left open for the next expert, and its `x` is this one's result. So is a call
        that raises an error: whoever answers next may try it again.
        """
        while True:
            request = self._open = self._open or self._requests.get()
            if isinstance(request, Future):
                self.done = True
                return request.result()
            if isinstance(request, _Callback):
                request.reply.set_result(callback(*request.args) if callback else None)
            elif self.replay and not self.replay.is_over(request.sigma):
                request.reply.set_result(self.replay.answer(request.x, request.sigma))
            elif (sigma := float(request.sigma.max())) < share.down_to:
                # A copy: a wrapper of this expert may change what it takes for the result.
                return request.x.clone()
            else:
                if share.cfg_at:
                    self.guider.set_cfg(share.cfg_at(sigma))
                request.reply.set_result(self._predict(request, share, own_options))
            self._open = None

    def _predict(
        self, call: _ModelCall, share: Answering, own_options: dict[str, Any]
    ) -> torch.Tensor:
        options = carried_over(call.model_options, self._given, own_options)
        x, sigma = (each.to(share.device) for each in (call.x, call.sigma))
        if share is not self._last:
            goes_on = self._last is not None or share.start > 0
            catch_up(self.guider, sigma, own_options, goes_on)
        out = self.guider(x, sigma, model_options=options, seed=call.seed).to(call.x.device)
        self._last = share
        if self.recording and share.down_to:
            if options is own_options:
                self.recording.add(call.x, call.sigma, out)
            else:  # what a sampler hooks into a call would not run when its answer is replayed
                self.recording.give_up()
        return out


@dataclass
class Answering(comfy.samplers.Sampler):
    """The sampler that a guider sees: one expert's share of a `SharedRun`.

    `down_to` is the sigma below which model calls are the next expert's; 0 means none are.
    `cfg_at` gives the guidance of a call by its sigma; None leaves the guider's. `start` is the
    step of the run with which the share begins.
    """

    run: SharedRun
    down_to: float = 0.0
    start: int = 0
    cfg_at: Callable[[float], float] | None = None
    device: torch.device = torch.device("cpu")

    def sample(
        self,
        model_wrap: Any,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        callback: Callable[..., None] | None,
        noise: torch.Tensor,
        latent_image: torch.Tensor | None = None,
        denoise_mask: torch.Tensor | None = None,
        disable_pbar: bool = False,
    ) -> torch.Tensor:
        if self.run.done:
            raise RuntimeError("A dual run can be sampled only once; a model wrapper asked again.")
        own_options = extra_args["model_options"]
        # By it, strengths that change by step are counted from there, after a retry too.
        own_options.setdefault("transformer_options", {})["dualpass_start"] = self.start
        self.run.guider, self.device = model_wrap, sigmas.device
        if not self.run.thread:
            self.run.start(sigmas, extra_args, noise, latent_image, denoise_mask, disable_pbar)
        return self.run.answer(self, own_options, callback)


def _with_torch_state(
    device: torch.device, function: Callable[..., torch.Tensor]
) -> Callable[..., torch.Tensor]:
    """`function` under this thread's gradient mode and CUDA device: torch keeps them a thread."""
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def call(*args: Any) -> torch.Tensor:
        on_device = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
        with torch.inference_mode(inference), torch.set_grad_enabled(grad), on_device:
            return function(*args)

    return call

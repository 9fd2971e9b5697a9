"""SVIProLongVideo: clip after clip from a list of prompts, as long as wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from comfy.cli_args import args

from ..catalog.pairs import ROLES
from ..catalog.stacks import Chosen
from ._api import SHOWS_TEXT, InputImpl, io, ui
from .lora_router import files_for, routed
from .pair_picker import CatalogLoraPairPicker, files_of
from .sampling.order import Scene
from .sampling.schedule import Plan
from .sampling.svi import samples_of
from .sampling.wiring import check_experts
from .settings import (
    NEW,
    Settings,
    clip_inputs,
    film_inputs,
    plan_input,
    recipe_inputs,
    seed_input,
    settings_inputs,
    widget,
)
from .video.clips import Clip, parse_clips
from .video.folder import Following, hashed, keys
from .video.long import Film, Look, check_clips, encoded, made_clips, said, sized
from .video.place import place_of
from .video.progress import show_video, watching
from .video.segments import frames_in, join_segments
from .video.upstream import upstream_hash

# Inputs that change no sampled clip, or that a clip says itself.
NOT_SAMPLED = {
    *("prompts", "seed", "seeds", "length", "join", "colour_match", "fps", "following"),
    *("filename_prefix", "base_model", "plan", "end_image"),
    *(name for name in Settings.__dataclass_fields__ if name not in ("sampler", "sigmas")),
}


class SVIProLongVideo(io.ComfyNode):
    """A video of many clips; each goes on from the last latents of the one before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        base_models = list(CatalogLoraPairPicker.store.catalog().base_models)
        return io.Schema(
            node_id="SVIProLongVideo",
            display_name="DualPass Long Video (SVI Pro)",
            category="DualPass",
            description="Makes a video of any length, a clip for each line of prompts. Finished "
            "clips are kept: a run that was stopped goes on at the next one.",
            search_aliases=["svi pro", "stable video infinity", "extend video", "long video"],
            is_output_node=True,
            hidden=[
                io.Hidden.dynprompt,
                io.Hidden.unique_id,
                io.Hidden.prompt,
                io.Hidden.extra_pnginfo,
            ],
            inputs=[
                io.Model.Input("model_high", tooltip="The high-noise expert, with SVI 2.0 Pro."),
                io.Model.Input("model_low", tooltip="The low-noise expert, with SVI 2.0 Pro."),
                io.Clip.Input("clip"),
                io.Vae.Input("vae"),
                io.Image.Input("image", tooltip="The first frame, of which each clip is reminded."),
                io.String.Input("prompts", multiline=True, tooltip=_PROMPTS),
                widget(io.String, "negative", "", _NEGATIVE, multiline=True),
                plan_input(),
                seed_input(),
                *film_inputs(),
                *settings_inputs(),
                *clip_inputs(base_models),
                *recipe_inputs(),
                io.Latent.Input("previous", optional=True, tooltip=_PREVIOUS),
                io.Image.Input("end_image", optional=True, tooltip="What the last clip ends on."),
            ],
            outputs=[
                io.Video.Output("video", display_name="video"),
                io.Latent.Output("latent", display_name="latent", tooltip="Of the last clip."),
                io.String.Output("report", display_name="report"),
            ],
            **SHOWS_TEXT,
        )

    @classmethod
    def validate_inputs(
        cls,
        prompts: Any = "",
        length: Any = 81,
        motion_latents: Any = 1,
        join: Any = "blend",
        base_model: Any = "wan-i2v-14b",
    ) -> bool | str:
        """The reason why these clips can not be made, before anything is loaded."""
        typed = isinstance(length, int) and isinstance(motion_latents, int)
        if not isinstance(prompts, str) or not typed:
            return True  # a link: known when the node runs
        try:
            clips = parse_clips(prompts, 0, length, True)
            check_clips(clips, motion_latents, str(join))
            _chosen(base_model, clips)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls, prompts: Any = "", base_model: Any = "wan-i2v-14b", **_: Any
    ) -> str:
        """Changes with the catalog, and with each file of the pairs in the prompts."""
        clips = parse_clips(prompts, 0, 81, True) if isinstance(prompts, str) else ()
        pairs = [_content(each) for each in _chosen(base_model, clips).values()]
        return hashed(CatalogLoraPairPicker.store.catalog().revision, repr(pairs))

    @classmethod
    def execute(
        cls,
        model_high: Any,
        model_low: Any,
        clip: Any,
        vae: Any,
        image: torch.Tensor,
        prompts: str,
        negative: str = "",
        plan: Plan | None = None,
        seed: int = 0,
        width: int = 832,
        height: int = 480,
        length: int = 81,
        motion_latents: int = 1,
        seeds: str = NEW,
        join: str = "blend",
        colour_match: float = 0.0,
        fps: float = 16.0,
        filename_prefix: str = "video/dualpass",
        following: Following = "redo",
        base_model: str = "wan-i2v-14b",
        model_first: Any = None,
        previous: dict[str, Any] | None = None,
        end_image: torch.Tensor | None = None,
        **settings: Any,
    ) -> io.NodeOutput:
        chosen = Settings(**settings)
        plan, way = chosen.plan(plan), chosen.way()
        clips = parse_clips(prompts, seed, length, seeds == NEW)
        check_clips(clips, motion_latents, join, previous is not None)
        check_experts(model_high, model_low, model_first)
        place = place_of(filename_prefix, width, height)
        experts = (model_high, model_low, model_first)
        pairs = _chosen(base_model, clips)
        base = hashed(cls._upstream(), said(plan, way), _lora_files(experts))
        marks = [repr(_content(pairs[each.pairs])) for each in clips]
        marks[-1] += cls._upstream("end_image") if end_image is not None else ""
        known = keys(base, clips, marks)
        needed = [number for number, _, path in place.clips.walk(known, following) if not path]
        new = [clips[number - 1] for number in needed]
        texts = encoded(clip, {negative, *(each.prompt for each in new)} if new else ())
        # All before the first clip: what is wrong with a file is told now, not hours later.
        models = {each.pairs: routed(experts, pairs[each.pairs])[0] for each in new}

        def scene_of(each: Clip) -> Scene:
            high, low, first = models[each.pairs]
            return Scene(high, low, texts[each.prompt], texts[negative], {}, first)

        film = Film(
            scene_of,
            vae,
            plan,
            way,
            sized(image, width, height),
            None if end_image is None else sized(end_image, width, height),
            previous and samples_of("previous", previous),
            motion_latents,
            Look(join, colour_match, fps),
        )
        node = cls.hidden.unique_id
        shown = cls.hidden.dynprompt.get_display_node_id(node)
        watch = watching(model_high, node, len(clips), needed)
        for made in made_clips(film, clips, known, place.clips, following, watch):
            show_video(node, shown, _video(made.segments[-1].name, place.clips_subfolder))
        join_segments(made.segments, place.file, fps, cls._metadata())
        ending = f"{place.file.name}: {frames_in(place.file)} frames"
        report = "\n".join([*chosen.told(), *made.settings, *made.lines, ending])
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(place.file)),
            {"samples": made.latent},
            report,
            ui={"text": [report], **_video(place.file.name, place.subfolder)},
        )

    @classmethod
    def _upstream(cls, name: str = "") -> str:
        """The hash of what feeds one input, or of all that is the same for all clips."""
        prompt, node = cls.hidden.dynprompt, cls.hidden.unique_id
        nodes = {each: prompt.get_node(each) for each in prompt.all_node_ids()}
        others = {each for each in nodes[node]["inputs"] if each != name}
        return upstream_hash(nodes, node, others if name else NOT_SAMPLED)

    @classmethod
    def _metadata(cls) -> dict[str, Any]:
        """What ComfyUI's own nodes embed: the workflow, unless it was started without."""
        if args.disable_metadata:
            return {}
        return {**(cls.hidden.extra_pnginfo or {}), "prompt": cls.hidden.prompt}


def _chosen(base_model: str, clips: Iterable[Clip]) -> dict[str, tuple[Chosen, ...]]:
    """The pairs of each selection that a clip names. Raises ValueError with the clip's number."""
    found: dict[str, tuple[Chosen, ...]] = {"": ()}
    for number, clip in enumerate(clips, 1):
        try:
            if clip.pairs not in found:
                found[clip.pairs] = CatalogLoraPairPicker.chosen(base_model, clip.pairs)
                files_of(found[clip.pairs])
        except ValueError as error:
            raise ValueError(f"Clip {number}: {error}") from None
    return found


def _lora_files(experts: Iterable[Any]) -> list[Any]:
    """Path, size and time of each LoRA file that our router put on a model."""
    files = (model.get_attachment("dualpass_files") or () for model in experts if model)
    stats = ((name, os.stat(name)) for names in files for name in names)
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _content(pairs: tuple[Chosen, ...]) -> list[Any]:
    """The files of a clip's own pairs, and their strengths."""
    return [(role, file.stamp, levels) for role in ROLES for file, levels in files_for(pairs, role)]


def _video(file: str, subfolder: str) -> dict[str, Any]:
    shown = ui.SavedResult(file, subfolder, io.FolderType.output)
    return dict(ui.PreviewVideo([shown]).as_dict())


_PROMPTS = (
    "A clip for each line. Behind the words: | seed=7 | length=49 | pairs=style@0.8, for this clip."
)
_NEGATIVE = "What no clip should show; counts where cfg is above 1."
_PREVIOUS = "Go on from this: a clip's latent, or the encoded end of any video."

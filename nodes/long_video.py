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
from .sampling.svi import JOINS, samples_of
from .sampling.wiring import check_experts
from .settings import Settings, plan_input, recipe_inputs, settings_inputs, widget
from .video.clips import Clip, parse_clips
from .video.folder import Following, hashed, keys
from .video.long import Film, Look, check_clips, encoded, made_clips, missing, said, sized
from .video.place import place_of
from .video.progress import show_video, watching
from .video.segments import frames_in, join_segments
from .video.upstream import upstream_hash

NEW, SAME = "new for each clip", "the same"
# Inputs that change no sampled clip, or that a clip says itself.
NOT_SAMPLED = {
    *("prompts", "seed", "seeds", "length", "join", "colour_match", "fps", "following"),
    *("filename_prefix", "base_model", "plan"),
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
                *settings_inputs(),
                *_clip_inputs(base_models),
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
        seed: Any = 0,
        length: Any = 81,
        motion_latents: Any = 1,
        join: Any = "blend",
        base_model: Any = None,
    ) -> bool | str:
        """The reason why these clips can not be made, before anything is loaded."""
        typed = (isinstance(each, int) for each in (seed, length, motion_latents))
        if not isinstance(prompts, str) or not all(typed):
            return True  # a link: known when the node runs
        try:
            clips = parse_clips(prompts, seed, length, True)
            check_clips(clips, motion_latents, str(join))
            for clip in clips:
                files_of(_chosen(base_model, clip.pairs))
        except ValueError as error:
            return str(error)
        return True

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
        check_clips(clips, motion_latents, join)
        check_experts(model_high, model_low, model_first)
        place = place_of(filename_prefix, width, height)
        experts = (model_high, model_low, model_first)
        pairs = {each.pairs: _chosen(base_model, each.pairs) for each in clips}
        base = hashed(cls._upstream(), said(plan, way), _lora_files(experts))
        marks = [repr(_content(pairs[each.pairs])) for each in clips]
        marks[-1] += " ends on an image" if end_image is not None else ""
        known = keys(base, clips, marks)
        needed = missing(place.clips, known, following)
        new = {clips[number - 1].prompt for number in needed}
        texts = encoded(clip, {negative, *new} if needed else ())

        def scene_of(each: Clip) -> Scene:
            (high, low, first), _ = routed(experts, pairs[each.pairs])
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
    def _upstream(cls) -> str:
        """The hash of what the clips are sampled from, but for what each of them says itself."""
        prompt = cls.hidden.dynprompt
        nodes = {each: prompt.get_node(each) for each in prompt.all_node_ids()}
        return upstream_hash(nodes, cls.hidden.unique_id, NOT_SAMPLED)

    @classmethod
    def _metadata(cls) -> dict[str, Any]:
        """What ComfyUI's own nodes embed: the workflow, unless it was started without."""
        if args.disable_metadata:
            return {}
        return {**(cls.hidden.extra_pnginfo or {}), "prompt": cls.hidden.prompt}


def _chosen(base_model: str, pairs: str) -> tuple[Chosen, ...]:
    return CatalogLoraPairPicker.chosen(base_model, pairs) if pairs else ()


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


def _clip_inputs(base_models: list[str]) -> list[Any]:
    size = {"min": 16, "max": 16384, "step": 16}
    return [
        widget(io.Int, "width", 832, "Of the video. The image is cut to it.", **size),
        widget(io.Int, "height", 480, "Of the video. The image is cut to it.", **size),
        widget(io.Int, "length", 81, _LENGTH, min=5, max=16381, step=4),
        widget(io.Int, "motion_latents", 1, _MOTION, min=0, max=32),
        widget(io.Combo, "seeds", NEW, _SEEDS, options=[NEW, SAME]),
        widget(io.Combo, "join", "blend", _JOIN, options=[*JOINS]),
        widget(io.Float, "colour_match", 0.0, _COLOUR, min=0.0, max=1.0, step=0.05, round=0.01),
        widget(io.Float, "fps", 16.0, "Frames a second.", min=1.0, max=120.0, step=1.0),
        widget(io.String, "filename_prefix", "video/dualpass", _PREFIX),
        widget(io.Combo, "following", "redo", _FOLLOWING, options=["redo", "keep"]),
        widget(io.Combo, "base_model", _default(base_models), _BASE_MODEL, options=base_models),
    ]


def _default(base_models: list[str]) -> str | None:
    return "wan-i2v-14b" if "wan-i2v-14b" in base_models else None


_PROMPTS = (
    "A clip for each line. Behind the words: | seed=7 | length=49 | pairs=style@0.8, for this clip."
)
_NEGATIVE = "What no clip should show; counts where cfg is above 1."
_PREVIOUS = "Go on from this: a clip's latent, or the encoded end of any video."
_LENGTH = "Frames of a clip, 1 more than a multiple of 4. SVI was trained with 81."
_MOTION = "How many latents lead from clip to clip; 1 is what SVI was trained with."
_SEEDS = "SVI's authors advise a new seed for each clip: the same one lets faults add up."
_JOIN = "blend fades the frames that two clips share, cut drops the later ones, as SVI does."
_COLOUR = "Pull the colours of each clip to those of the image: 0 not at all, 1 wholly."
_PREFIX = "Where the video is saved. Its clips lie beside it, in a folder of that name."
_FOLLOWING = (
    "When a clip has changed: redo makes those behind it anew, keep leaves them as they are."
)
_BASE_MODEL = "The model that pairs in the prompts are for."

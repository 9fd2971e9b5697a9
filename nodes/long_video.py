"""SVIProLongVideo: clip after clip from a list of prompts, as long as wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from comfy.cli_args import args

from ..catalog.stacks import Chosen, warnings
from ._api import SHOWS_TEXT, InputImpl, io, ui
from .lora_router import content_of, loras_on, routed
from .pair_picker import CatalogLoraPairPicker, files_of
from .sampling.order import Scene
from .sampling.replay import digest_of
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
from .video.long import Film, Look, check_clips, encoded, made_clips, one_of, said, sized
from .video.place import place_of
from .video.progress import beginning, show_video
from .video.report import report_of
from .video.upstream import Upstream, marked, upstream_of

# Inputs of which all that lies before them counts, and the size; others count by what arrives.
SAMPLED_FROM = (
    "model_high", "model_low", "model_first", "clip", "vae", "sampler", "sigmas", "width", "height",
)  # fmt: skip


class SVIProLongVideo(io.ComfyNode):
    """A video of many clips; each goes on from the last latents of the one before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
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
                *clip_inputs(),
                CatalogLoraPairPicker.base_model_input(_BASE_MODEL, optional=True),
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
        numbers = all(isinstance(each, int) for each in (length, motion_latents))
        texts = all(isinstance(each, str) for each in (prompts, join, base_model))
        if not numbers or not texts:
            return True  # a link: known when the node runs
        try:
            clips = parse_clips(prompts, 0, length, True)
            check_clips(clips, motion_latents, join)
            _chosen(base_model, clips)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls, prompts: Any = "", base_model: Any = "wan-i2v-14b", **_: Any
    ) -> str:
        """Changes with each file of the pairs in the prompts, and with their strengths."""
        texts = isinstance(prompts, str) and isinstance(base_model, str)
        clips = parse_clips(prompts, 0, 81, True) if texts else ()
        pairs = [content_of(each) for each in _chosen(base_model, clips).values()]
        return hashed(repr(pairs))

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
        look = Look(join, colour_match, fps)
        picture = sized(image, width, height)
        end = None if end_image is None else sized(end_image, width, height)
        before = None if previous is None else one_of(samples_of("previous", previous))
        # What arrives counts beside where it comes from: a list or a text node may change alone.
        seen = [None if each is None else digest_of(each) for each in (picture, before)]
        upstream = cls._upstream(experts, clip, vae)
        base = hashed(
            upstream.hash, said(plan, way), loras_on(experts), negative, motion_latents, seen
        )
        contents = {text: repr(content_of(chosen)) for text, chosen in pairs.items()}
        marks = [contents[each.pairs] for each in clips]
        marks[-1] += "" if end is None else digest_of(end)
        known = keys(base, clips, marks)
        # Once: the texts and LoRAs below are for these clips, whatever becomes of the folder.
        found = list(place.clips.walk(known, following))
        needed = [each.number for each in found if not each.path]
        new = [clips[number - 1] for number in needed]
        texts = encoded(clip, {negative, *(each.prompt for each in new)} if new else ())
        # All before the first clip: what is wrong with a file is told now, not hours later.
        wanted = dict.fromkeys(each.pairs for each in new)
        models = {text: routed(experts, pairs[text]) for text in wanted}

        def scene_of(each: Clip) -> Scene:
            (high, low, first), _ = models[each.pairs]
            return Scene(high, low, texts[each.prompt], texts[negative], {}, first)

        film = Film(scene_of, vae, plan, way, picture, end, before, motion_latents, look)
        node = cls.hidden.unique_id
        shown = cls.hidden.dynprompt.get_display_node_id(node)
        begin = beginning(model_high, node, len(clips), needed)
        for made in made_clips(film, clips, found, place.clips, begin):
            show_video(node, shown, _video(made.segments[-1].name, place.clips_subfolder))
        file = place.joined(made.segments, fps, cls._metadata())
        of_pairs = {text: [said, *warnings(pairs[text])] for text, (_, said) in models.items()}
        report = "\n".join([*chosen.told(), *report_of(made, of_pairs, upstream.stale, file)])
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(file)),
            {"samples": made.latent},
            report,
            ui={"text": [report], **_video(file.name, place.subfolder)},
        )

    @classmethod
    def _upstream(cls, experts: Iterable[Any], clip: Any, vae: Any) -> Upstream:
        """What feeds all clips alike."""
        prompt, node = cls.hidden.dynprompt, cls.hidden.unique_id
        nodes = {each: prompt.get_node(each) for each in prompt.all_node_ids()}
        return upstream_of(nodes, node, SAMPLED_FROM, marked([*experts, clip, vae]))

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


def _video(file: str, subfolder: str) -> dict[str, Any]:
    shown = ui.SavedResult(file, subfolder, io.FolderType.output)
    return dict(ui.PreviewVideo([shown]).as_dict())


_PROMPTS = (
    "A clip for each line. Behind the words: | seed=7 | length=49 | pairs=style@0.8, for this clip."
)
_NEGATIVE = "What no clip should show; counts where cfg is above 1."
_PREVIOUS = "Go on from this: a clip's latent, or the encoded end of any video."
_BASE_MODEL = "The model that pairs in the prompts are for."

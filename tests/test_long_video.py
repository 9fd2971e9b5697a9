"""Long videos through the real server, on tiny models: frames, seeds, changes, links, the file."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import websocket

from rig.client import Server, changing_catalog
from rig.films import (
    add_film,
    film,
    frames_of,
    frames_told,
    latents_of,
    new_prefix,
    report,
    seeded,
    studio,
    told,
    video_of,
)
from rig.graphs import Graph, Link, compare, error_of
from rig.tiny_models import FILES, PAIRS

PAIR = "svi-v2-pro@0.5"
SAMPLED, FOUND = "sampled", "found"


@pytest.mark.parametrize("motion", (0, 1, 2))
def test_clips_are_joined_to_one_video(server: Server, motion: int) -> None:
    """Both joins have as many frames, of the same latents."""
    prefix, frames = new_prefix(), 21 + 2 * (21 - (1 + 4 * motion))
    for join in ("cut", "blend"):
        lines = report(
            server, film(seeded(1, 2, 3), prefix, join=join, motion_latents=motion, length=21)
        )
        assert frames_told(lines) == frames
        assert told(lines) == 3 * [SAMPLED if join == "cut" else FOUND]
        assert frames_of(video_of(server, prefix, lines)).shape == (frames, 32, 32, 3)


def test_a_new_seed_for_each_clip_or_the_same(server: Server) -> None:
    shown = {}
    for seeds in ("new for each clip", "the same"):
        prefix = new_prefix()
        lines = report(server, film("a fox\na fox", prefix, seed=2**64 - 1, seeds=seeds))
        seen = re.findall(r"seed (\d+)", "\n".join(lines))
        shown[seeds] = (seen, latents_of(server, prefix))
    (new, first), (same, second) = shown.values()
    assert (new, same) == ([str(2**64 - 1), "0"], 2 * [str(2**64 - 1)])
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[1], second[1])


# What is changed in three lines of which all clips are there -> what is sampled again, for `redo`.
CHANGES: dict[str, tuple[str, list[str]]] = {
    "seed": ("a fox | seed=1\na fox | seed={new}\na fox | seed=3", [FOUND, SAMPLED, SAMPLED]),
    "words": ("a fox | seed=1\nfox {new} | seed=2\na fox | seed=3", [FOUND, SAMPLED, SAMPLED]),
    "pairs": (
        f"{seeded(1)}\na fox | seed=2 | pairs=svi-v2-pro@0.{{new}}\n{seeded(3)}",
        [FOUND, SAMPLED, SAMPLED],
    ),
    "first": ("a fox | seed={new}\na fox | seed=2\na fox | seed=3", 3 * [SAMPLED]),
    "last": ("a fox | seed=1\na fox | seed=2\na fox | seed={new}", [FOUND, FOUND, SAMPLED]),
    "one more": (seeded(1, 2, 3) + "\na fox | seed={new}", [*3 * [FOUND], SAMPLED]),
    "one less": (seeded(1, 2), 2 * [FOUND]),
}


@pytest.fixture(scope="module")
def three(server: Server) -> str:
    """The prefix of a video of three clips."""
    prefix = new_prefix()
    assert told(report(server, film(seeded(1, 2, 3), prefix))) == 3 * [SAMPLED]
    return prefix


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_and_what_follows_is_made_again(
    server: Server, three: str, change: str
) -> None:
    prompts, expected = CHANGES[change]
    lines = report(server, film(prompts.format(new=11), three, following="redo"))
    assert told(lines) == expected
    assert frames_told(lines) == 13 + 8 * (len(expected) - 1)


@pytest.mark.parametrize("change", ["seed", "words", "pairs", "first"])
def test_what_follows_a_change_is_kept_where_asked(server: Server, three: str, change: str) -> None:
    prompts, expected = CHANGES[change]
    at = expected.index(SAMPLED)
    lines = report(server, film(prompts.format(new=22), three, following="keep"))
    assert told(lines) == [SAMPLED if number == at else FOUND for number in range(3)]
    assert frames_told(lines) == 29


def test_a_clip_of_another_length_shifts_what_follows(server: Server, three: str) -> None:
    prompts = f"{seeded(1)}\na fox | seed=2 | length=21\n{seeded(3)}"
    for following, expected in (("keep", FOUND), ("redo", SAMPLED)):
        lines = report(server, film(prompts, three, following=following))
        assert told(lines)[2] == expected
        assert frames_told(lines) == 37


def test_a_new_join_colour_or_rate_samples_nothing(server: Server, three: str) -> None:
    shown = {}
    for look in ({}, {"join": "cut"}, {"fps": 8.0}, {"colour_match": 1.0}):
        lines = report(server, film(seeded(1, 2, 3), three, following="keep", **look))
        assert told(lines) == 3 * [FOUND]
        path = video_of(server, three, lines)
        shown["".join(look)] = frames_of(path).astype(float)
        with av.open(str(path)) as video:
            assert video.streams.video[0].average_rate == look.get("fps", 16)
    # The first nine frames are no part of any blend.
    assert np.array_equal(shown["join"][:8], shown[""][:8])
    assert not np.array_equal(shown["join"], shown[""])
    # Another rate gives a frame other bits; it is the same frame.
    apart = [np.abs(shown["fps"] - other).mean() for other in (shown[""], shown[""][::-1])]
    assert apart[0] < apart[1] / 2
    assert np.abs(shown["colour_match"] - shown[""]).mean() > 1


def test_a_clip_made_behind_a_kept_one_is_not_found_behind_another(server: Server) -> None:
    """Clip 3 is made behind the kept clip 2; when that is made anew, it follows another one."""
    prefix = new_prefix()
    report(server, film(seeded(1, 2, 3), prefix))
    for prompts in (seeded(9, 2, 3), seeded(9, 2, 8)):
        report(server, film(prompts, prefix, following="keep"))
    assert told(report(server, film(seeded(9, 2, 8), prefix))) == [FOUND, SAMPLED, SAMPLED]


@contextmanager
def replaced(path: Path) -> Iterator[None]:
    """A linked model file as a newer copy of itself."""
    source = path.resolve()
    path.unlink()
    try:
        shutil.copyfile(source, path)
        yield
    finally:
        path.unlink()
        path.symlink_to(source)


def forget(server: Server) -> None:
    """Let ComfyUI load all models anew."""
    server.post("/free", {"unload_models": True, "free_memory": True})
    other = Graph()  # it frees before or after this
    other.add("PreviewAny", source=other.add("PrimitiveString", value=new_prefix())[0])
    server.run(other)


@pytest.mark.parametrize("handle", ["i2v_low", "text_encoder", "vae"])
@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_a_model_file_that_was_replaced_samples_again_when_it_is_loaded(
    server: Server, handle: str
) -> None:
    """Until then ComfyUI goes on with the old one: so do the clips."""
    prefix, file = new_prefix(), Path(FILES[handle])
    forget(server)
    assert told(report(server, film(seeded(1), prefix))) == [SAMPLED]
    with replaced(server.base / "models" / file):
        # Another fps, or ComfyUI would not look at the node again.
        lines = report(server, film(seeded(1), prefix, fps=8.0))
        assert told(lines) == [FOUND]
        assert [line for line in lines if line.startswith("note: ")] == [
            f"note: {file.name} was replaced after it was loaded, and ComfyUI may still use the "
            "old one. Restart ComfyUI for the new one."
        ]
        forget(server)
        assert told(report(server, film(seeded(1), prefix, fps=9.0))) == [SAMPLED]
    forget(server)
    assert told(report(server, film(seeded(1), prefix, fps=12.0))) == [FOUND]


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_a_lora_of_a_line_that_was_replaced_samples_its_clip_again(server: Server) -> None:
    prefix, prompts = new_prefix(), f"{seeded(1)} | pairs={PAIR}"
    assert told(report(server, film(prompts, prefix))) == [SAMPLED]
    with replaced(server.base / "models" / "loras" / PAIRS["svi-v2-pro"]["low"]):
        assert told(report(server, film(prompts, prefix, fps=8.0))) == [SAMPLED]
    assert told(report(server, film(prompts, prefix, fps=12.0))) == [FOUND]


def test_what_the_pairs_of_a_line_changed_is_told(server: Server) -> None:
    lines = report(server, film(f"{seeded(1)}\n{seeded(2)} | pairs=lightx2v-4step, seko-v1"))
    at = lines.index("pairs=lightx2v-4step, seko-v1:")
    assert sum("20 of 20 modules" in line for line in lines[at:]) == 4
    assert any("the high pass gets them twice. Keep one." in line for line in lines[at:])


def test_a_change_of_the_catalog_alone_makes_no_video_again(server: Server) -> None:
    graph, path = film(f"{seeded(1)} | pairs={PAIR}"), server.base / "user/__dualpass/models.json"
    report(server, graph)
    entry = {"file": "other.safetensors", "base_model": "wan-i2v-14b", "pair_id": "other"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with changing_catalog(server):
        path.write_text(json.dumps({"loras": [entry | {"pair_role": "both"}]}))
    try:
        messages = dict(server.run(graph)["status"]["messages"])
        assert "film" in messages["execution_cached"]["nodes"]
    finally:
        with changing_catalog(server):
            path.unlink()


@pytest.mark.parametrize("asked_by", [None, "somebody"])
def test_only_the_page_that_asked_is_told_of_clips(server: Server, asked_by: str | None) -> None:
    """Another page may have a node of any kind by that id."""
    url = f"{server.url.replace('http', 'ws', 1)}/ws?clientId=another"
    with closing(websocket.create_connection(url, timeout=5)) as another:
        sent = {"prompt": film(seeded(1, 2))} | ({"client_id": asked_by} if asked_by else {})
        server.finished(server.post("/prompt", sent).json()["prompt_id"])
        heard = []
        with suppress(websocket.WebSocketTimeoutException):
            while True:
                heard.append(another.recv())
    kinds = {json.loads(each)["type"] for each in heard if isinstance(each, str)}
    assert "status" in kinds and not kinds & {"executed", "progress_text"}
    texts = [each for each in heard if isinstance(each, bytes) and each[:4] == b"\0\0\0\3"]
    assert not texts


@pytest.mark.parametrize("prefix", ["{}/", "{}/x/.", "{}/x/..", "{}/X"])
def test_each_run_has_a_file_of_its_own(server: Server, prefix: str) -> None:
    """ComfyUI's count does not go on where the prefix has no name at its end."""
    prefix, names = prefix.format(new_prefix()), []
    for fps in (8.0, 16.0, 24.0):
        graph, at = studio()
        add_film(graph, at, seeded(1), filename_prefix=prefix, fps=fps)
        names.append(report(server, graph)[-1].partition(":")[0])
    assert [name[-11:] for name in names] == [f"_0000{number}_.mp4" for number in (1, 2, 3)]


def test_every_input_counts_for_the_clips_in_one_way(server: Server) -> None:
    """By what lies before it, or by what arrives, or for no sampled clip."""
    from pack.nodes.long_video import SAMPLED_FROM
    from pack.nodes.settings import Settings

    kinds = server.get("/object_info/SVIProLongVideo").json()["SVIProLongVideo"]["input"]
    inputs = {*kinds["required"], *kinds["optional"]}
    arrives = {"prompts", "seed", "length", "seeds", "negative", "motion_latents", "base_model"}
    arrives |= {"plan", "image", "end_image", "previous", *Settings.__dataclass_fields__}
    unsampled = {"join", "colour_match", "fps", "following", "filename_prefix"}
    arrives -= set(SAMPLED_FROM)
    assert inputs == {*SAMPLED_FROM, *arrives, *unsampled}
    assert not set(SAMPLED_FROM) & unsampled


def test_the_line_says_clip_pass_step_and_time_left(server: Server) -> None:
    prefix, lines = new_prefix(), []
    for fps in (8.0, 16.0):  # the second time, all clips are found
        for event in server.events(film(seeded(1, 2), prefix, fps=fps)):
            if event["type"] == "preview" and event["data"].startswith(b"filmclip "):
                lines.append(event["data"].decode().removeprefix("film"))
    wanted = (
        "clip 1 of 2, sampling",
        r"clip 1 of 2, low, step 1 of 2, about \d+ s left",
        r"clip 1 of 2, decoding, about \d+ s left",
        "clip 2 of 2, sampling",
        r"clip 2 of 2, low, step 1 of 2, about \d+ s left",
        "clip 2 of 2, decoding",
        "clip 1 of 2, found",
        "clip 2 of 2, found",
    )
    assert len(lines) == len(wanted)
    assert all(map(re.fullmatch, wanted, lines)), lines


def test_a_date_in_the_prefix_is_that_of_the_start(server: Server) -> None:
    """The clips and the video lie beside each other, whatever the clock says at the end."""
    graph, at = studio()
    at["high"] = graph.add("ProbeSlow", model=at["high"], seconds=0.6)[0]
    prefix = f"{new_prefix()}_%hour%_%minute%_%second%"
    add_film(graph, at, seeded(1, 2), filename_prefix=prefix)
    report(server, graph)
    made = sorted((server.base / "output").glob(f"{prefix.partition('_%')[0]}_*"))
    (folder,) = (path for path in made if path.is_dir())
    assert [path.name for path in made if path.is_file()] == [
        f"{folder.name.removesuffix('_clips')}_00001_.mp4"
    ]


def routed(graph: Graph, at: dict[str, Link]) -> dict[str, Link]:
    """The studio with the pair on its experts."""
    picked, *_ = graph.add("CatalogLoraPairPicker", base_model="wan-i2v-14b", pairs=PAIR)
    models = {"model_high": at["high"], "model_low": at["low"]}
    high, low, *_ = graph.add("DualPassLoraRouter", "router", **models, pairs=picked)
    return at | {"high": high, "low": low}


def test_a_lora_behind_the_router_that_was_replaced_samples_again(server: Server) -> None:
    """By itself: the picker tells ComfyUI that the file is another."""
    graph, at = studio()
    add_film(graph, routed(graph, at), seeded(1))
    assert told(report(server, graph)) == [SAMPLED]
    with replaced(server.base / "models" / "loras" / PAIRS["svi-v2-pro"]["low"]):
        assert told(report(server, graph)) == [SAMPLED]


def test_a_lora_in_a_line_that_was_replaced_samples_again(server: Server) -> None:
    """By itself too."""
    graph = film(f"{seeded(1)} | pairs={PAIR}")
    report(server, graph)
    with replaced(server.base / "models" / "loras" / PAIRS["svi-v2-pro"]["low"]):
        history = server.run(graph)
        assert "film" not in str(history["status"]["messages"][1])  # nothing from the cache


def test_pairs_in_a_line_need_no_base_model(server: Server) -> None:
    graph = film(f"{seeded(1)} | pairs={PAIR}")
    del graph["film"]["inputs"]["base_model"]
    assert server.queue(graph)[0] == 200


def test_pairs_of_a_line_are_for_its_clip_alone(server: Server) -> None:
    """As connected for that clip, and taken off again for the next."""
    graph, at = studio()
    with_pair = routed(graph, at)
    paired = f"{seeded(1)}\n{seeded(2)} | pairs={PAIR}"
    _, whole = add_film(graph, at, f"{paired}\n{seeded(3)}")
    _, until = add_film(graph, at, paired, "until")
    _, first = add_film(graph, at, seeded(1), "first")
    _, second = add_film(graph, with_pair, seeded(2), "second", previous=first)
    _, third = add_film(graph, at, seeded(3), "third", previous=second)
    _, plain = add_film(graph, at, seeded(2), "plain", previous=first)
    compare(graph, "as routed", until, second)
    compare(graph, "as plain", whole, third)
    compare(graph, "without", until, plain)
    outputs = server.run(graph)["outputs"]
    assert outputs["as routed"]["difference"] == outputs["as plain"]["difference"] == [0]
    assert outputs["without"]["relative"][0] > 1e-3


def linked(graph: Graph, at: dict[str, Link]) -> dict[str, Any]:
    sampler, *_ = graph.add("KSamplerSelect", sampler_name="heun")
    settings = {"model": at["high"], "scheduler": "beta", "steps": 3, "denoise": 1.0}
    return {"sampler": sampler, "sigmas": graph.add("BasicScheduler", **settings)[0]}


# Everything that is said of sampling once, and must reach each clip.
SETTINGS: dict[str, Callable[[Graph, dict[str, Link]], dict[str, Any]]] = {
    "cfg by step": lambda *_: {"cfg_steps": "3.5, 2", "negative": "bad"},
    "sampler and sigmas": linked,
    "first steps": lambda graph, at: {
        "model_first": routed(graph, at)["high"],
        "steps": 3,
        "cfg_first": 2.0,
    },
    "two passes": lambda *_: {
        "trajectory": "two passes as core",
        "sampler_name": "dpmpp_2m",
        "steps": 5,
    },
    "split by step": lambda *_: {"split": "step", "switch_step": 2, "steps": 3, "shift": 0.0},
    "motion": lambda *_: {"motion_latents": 2, "length": 21, "scheduler": "beta"},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_clip_is_what_the_sampler_node_makes(server: Server, setting: str) -> None:
    graph, at = studio()
    given = SETTINGS[setting](graph, at)
    _, latent = add_film(graph, at, seeded(1, 2), **given)
    _, plain = add_film(graph, at, seeded(1, 2), "bare")
    second = sampled(graph, at, 2, given, sampled(graph, at, 1, given))
    compare(graph, "same", latent, second)
    if setting != "motion":
        compare(graph, "plain", latent, plain)
    outputs = server.run(graph)["outputs"]
    assert outputs["same"]["difference"] == [0]
    assert setting == "motion" or outputs["plain"]["relative"][0] > 1e-3


def sampled(
    graph: Graph,
    at: dict[str, Link],
    seed: int,
    given: dict[str, Any],
    previous: Link | None = None,
) -> Link:
    """A clip from SVIProDualSampler."""
    settings = {"settings": "manual", "steps": 2, "cfg_high": 1.0, "cfg_low": 1.0, "shift": 5.0}
    settings |= {"length": 13, "motion_latents": 1, "seed": seed} | given
    for role, text in (("positive", "a fox"), ("negative", settings.pop("negative", ""))):
        settings[role] = graph.add("CLIPTextEncode", clip=at["clip"], text=text)[0]
    crop = {"upscale_method": "lanczos", "width": 32, "height": 32, "crop": "center"}
    image, *_ = graph.add("ImageScale", image=at["image"], **crop)
    settings["anchor"] = graph.add("VAEEncode", pixels=image, vae=at["vae"])[0]
    clip = {"previous": previous} if previous else {"motion_latents": 0}
    models = {"model_high": at["high"], "model_low": at["low"]}
    return graph.add("SVIProDualSampler", **(models | settings | clip))[0]


def test_a_video_goes_on_from_one_that_exists(server: Server) -> None:
    """Opened by ComfyUI's own node, its last 1 + 4m frames encoded; they are not shown again."""
    prefix = new_prefix()
    path = video_of(server, prefix, report(server, film(seeded(1), prefix)))
    name = path.relative_to(server.base / "output").as_posix()
    for motion in (1, 2):
        graph, at = studio()
        video, *_ = graph.add("LoadVideo", file=f"{name} [output]")
        frames, *_ = graph.add("GetVideoComponents", video=video)
        count = graph.add("GetImageSize", image=frames)[2]
        graph.add("PreviewAny", "count", source=count)
        length = 1 + 4 * motion
        frames, *_ = graph.add(
            "ImageFromBatch", image=frames, batch_index=13 - length, length=length
        )
        previous, *_ = graph.add("VAEEncode", pixels=frames, vae=at["vae"])
        settings = {"previous": previous, "motion_latents": motion, "length": 21}
        add_film(graph, at, seeded(2, 3), **settings)
        outputs = server.run(graph)["outputs"]
        assert outputs["count"]["text"] == ["13"]
        assert f".mp4: {2 * (21 - length)} frames" in outputs["film"]["text"][0]


def test_only_the_last_clip_ends_on_the_end_image(server: Server) -> None:
    latents = []
    for ends in (False, True):
        graph, at = studio()
        prefix, given = new_prefix(), {}
        if ends:
            given["end_image"] = graph.add("ImageInvert", image=at["image"])[0]
        add_film(graph, at, seeded(1, 2), filename_prefix=prefix, **given)
        assert told(report(server, graph)) == [SAMPLED, SAMPLED]
        latents.append(latents_of(server, prefix))
    (first, last), (same, other) = latents
    assert np.array_equal(first, same)
    assert not np.array_equal(last, other)


def test_an_end_image_makes_only_the_last_clip_again(server: Server) -> None:
    prefix = new_prefix()
    report(server, film(seeded(1, 2), prefix))
    graph, at = studio()
    add_film(graph, at, seeded(1, 2), filename_prefix=prefix, end_image=at["image"])
    assert told(report(server, graph)) == [FOUND, SAMPLED]


def test_the_workflow_is_in_the_final_file(server: Server) -> None:
    prefix, workflow = new_prefix(), {"nodes": [], "version": 0.4}
    graph = film(seeded(1), prefix)
    events = list(server.events(graph, extra_pnginfo={"workflow": workflow}))
    assert events[-1]["type"] == "execution_success"
    (path,) = (server.base / "output" / "film").glob(f"{Path(prefix).name}_*.mp4")
    with av.open(str(path)) as video:
        found = {key: json.loads(video.metadata[key]) for key in ("prompt", "workflow")}
    assert found["workflow"] == workflow
    # ComfyUI writes into it whether a node has changed.
    assert {key: node["inputs"] for key, node in found["prompt"].items()} == {
        key: node["inputs"] for key, node in graph.items()
    }


def test_finished_clips_are_shown_while_the_next_is_made(server: Server) -> None:
    prefix = new_prefix()
    shown: list[str] = []
    for event in server.events(film(seeded(1, 2, 3), prefix)):
        if event["type"] == "executed" and event["data"]["node"] == "film":
            (video,) = event["data"]["output"]["images"]
            path = server.base / "output" / video["subfolder"] / video["filename"]
            assert path.is_file() and video["type"] == "output"
            shown.append(video["filename"][:9])
    assert shown == ["clip_0001", "clip_0002", "clip_0003", Path(prefix).name[:9]]


@pytest.mark.parametrize(
    ("prompts", "settings", "said"),
    [
        ("", {}, "There is no prompt. Write one for each clip"),
        ("a fox\na fox | speed=3", {}, "Line 2 of the prompts: There is no option 'speed'"),
        ("a fox\n\na fox | length=6", {}, "Line 3 of the prompts: length is 6"),
        ("a fox | length=1000000001", {}, "Line 1 of the prompts: length is 1000000001"),
        ("a fox | seed=-1", {}, "Line 1 of the prompts: seed is '-1'"),
        ("a fox\na fox | pairs=x@99", {}, "Line 2 of the prompts: A strength in"),
        ("a fox\na fox | pairs=nope", {}, "Clip 2: Pair 'nope' is not in your catalog"),
        ("a fox", {"length": 10**9 + 1}, "length is 1000000001"),
        ("a fox\na fox | length=5", {}, "Clip 2 has 5 frames"),
        ("a fox\na fox", {"length": 9, "motion_latents": 2}, "Clip 1 has 9 frames"),
        ("a fox | length=5\na fox", {"motion_latents": 3, "join": "cut"}, "Clip 1 has 5 frames"),
        ("a fox", {"join": "fade"}, "join is 'fade'"),
    ],
)
def test_bad_lines_are_refused_before_anything_is_loaded(
    server: Server, prompts: str, settings: dict[str, Any], said: str
) -> None:
    graph = film(prompts, base_model="wan-i2v-14b", **settings)
    logged = server.log.stat().st_size
    status, body = server.queue(graph)
    assert status == 400
    assert said in body["node_errors"]["film"]["errors"][0]["details"]
    new = server.log.read_bytes()[logged:].decode(errors="replace")
    assert "to load" not in new and "model weight dtype" not in new


def test_a_linked_text_is_read_when_the_node_runs(server: Server) -> None:
    graph, at = studio()
    text, *_ = graph.add("PrimitiveStringMultiline", value="a fox\na fox | speed=3")
    add_film(graph, at, text)
    assert error_of(server.run(graph)).startswith("Line 2 of the prompts: There is no option")


@pytest.mark.parametrize(
    ("prefix", "width", "said"),
    [
        ("", 36, "width is 36; it must be 16 or more and a multiple of 8, such as 32."),
        ("film/" + "名" * 74, 32, "the name is too long. Choose a shorter one"),
    ],
)
def test_what_would_fail_at_the_end_stops_before_the_first_clip(
    server: Server, prefix: str, width: int, said: str
) -> None:
    logged = server.log.stat().st_size
    assert said in error_of(server.run(film(seeded(1), prefix, width=width)))
    assert b"Requested to load WAN21" not in server.log.read_bytes()[logged:]


@pytest.mark.parametrize("prefix", ["../out", "/tmp/out", "film/../../out"])
def test_a_video_outside_of_the_output_folder_is_refused(server: Server, prefix: str) -> None:
    before = sorted(server.base.iterdir())
    history = server.run(film(seeded(1), prefix))
    assert "outside the output folder" in error_of(history)
    assert sorted(server.base.iterdir()) == before
    assert not Path("/tmp/out_clips").exists()

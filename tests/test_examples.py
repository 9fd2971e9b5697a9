"""Every example workflow: complete, laid out clearly, and run on the tiny models as posted."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import pytest

from pack.catalog.stacks import choose, parse_selection
from pack.catalog.store import Store
from rig.client import Server
from rig.demo import fitted
from rig.graphs import error_of
from rig.server import ROOT

FOLDER = ROOT / "example_workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TITLE = 30  # px above a node
# Name -> frames of its video on the tiny models, and what the run tells.
RUNS = {
    "wan22_ai_toolkit_preview": (
        9,
        [
            "25 steps, uni_pc / given sigmas, shift 3",
            "high: 7 steps at cfg 4, low: 18 steps at cfg 4",
        ],
    ),
    "wan22_i2v_dual_pass": (9, ["high, merged", "4 steps, euler / simple, shift 5"]),
    "wan22_i2v_full_quality": (
        9,
        ["high: no LoRA", "high: 8 steps at cfg 3.5, low: 12 steps at cfg 3.5"],
    ),
    "wan22_i2v_gguf": (9, ["high, unmerged over", "4 steps, euler / simple, shift 5"]),
    "wan22_low_side_only": (9, ["high: 2 steps at cfg 1, low: 2 steps at cfg 1"]),
    "wan22_offline_merge": (0, ["high, merged"]),
    "wan22_svi_long_video": (29, ["SVI_v2_PRO", "29 frames"]),
}


def workflow(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def prompt(name: str) -> Any:
    """The shipped API form on the tiny models."""
    return fitted(json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8")))


def note(name: str) -> str:
    """The text of the only note."""
    (text,) = (
        node["widgets_values"][0]
        for node in workflow(name)["nodes"]
        if node["type"] == "MarkdownNote"
    )
    return str(text)


def node_of(prompt: Any, class_type: str) -> Any:
    (node,) = (node for node in prompt.values() if node["class_type"] == class_type)
    return node["inputs"]


def run(server: Server, prompt: Any) -> tuple[list[Path], str]:
    """The videos that it saved, and all that its nodes told."""
    history = server.run(prompt)
    assert history["status"]["status_str"] == "success", error_of(history)
    outputs = history["outputs"].values()
    saved = [
        server.base / "output" / file["subfolder"] / file["filename"]
        for output in outputs
        for file in output.get("images", ())
        if file["type"] == "output"
    ]
    return saved, "\n".join(text for output in outputs for text in output.get("text", ()))


def frames(path: Path) -> int:
    with av.open(path) as video:
        return sum(1 for _ in video.decode(video=0))


def test_every_example_is_in_this_table() -> None:
    assert list(RUNS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_a_picture_an_api_form_and_numbered_steps(name: str) -> None:
    assert (FOLDER / f"{name}.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (FOLDER / "api" / f"{name}.json").exists()
    steps = re.findall(r"^(\d)\. ", note(name), re.MULTILINE)
    assert steps == ["1", "2", "3", "4", "5"][: max(len(steps), 3)]
    assert "`" not in note(name)  # hard to read on a note's ground in the newer renderer


@pytest.mark.parametrize("name", NAMES)
def test_no_node_lies_over_another_and_a_group_holds_each(name: str) -> None:
    example = workflow(name)
    boxes = {
        node["id"]: (x, y - TITLE, x + node["size"][0], y + node["size"][1])
        for node in example["nodes"]
        for x, y in [node["pos"]]
    }
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one, other)
    groups = [
        (x, y, x + width, y + height)
        for group in example["groups"]
        for x, y, width, height in [group["bounding"]]
    ]
    for node in example["nodes"]:
        left, top, right, bottom = boxes[node["id"]]
        inside = [g for g in groups if g[0] < left and g[1] < top and right < g[2]]
        assert len([g for g in inside if bottom < g[3]]) == (node["type"] != "MarkdownNote")


@pytest.mark.parametrize("name", NAMES)
def test_a_picker_offers_the_files_of_its_pairs(name: str, tmp_path: Path) -> None:
    """ComfyUI's page offers to download what a node's properties name."""
    store = Store(ROOT / "catalog", tmp_path)
    store.read()
    for node in workflow(name)["nodes"]:
        if node["type"] == "CatalogLoraPairPicker":
            base_model, text = node["widgets_values"]
            chosen = choose(parse_selection(text), store.catalog(), base_model)
            files = [entry for choice in chosen for entry in choice.pair.entries]
            offered = [
                (model["name"], model["hash"]) for model in node["properties"].get("models", ())
            ]
            assert offered == [(entry.file, entry.sha256) for entry in files]


@pytest.mark.parametrize("name", NAMES)
def test_a_note_names_settings_that_there_are(server: Server, name: str) -> None:
    sampler = server.get("/object_info/SVIProDualSampler").json()["SVIProDualSampler"]
    options = sampler["input"]["optional"]["settings"][1]["options"]
    assert set(re.findall(r"\*([^*]+, \d+ steps)\*", note(name))) <= set(options)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(server: Server, request: pytest.FixtureRequest, name: str) -> None:
    if "gguf" in name:
        request.getfixturevalue("gguf")
    length, told = RUNS[name]
    saved, text = run(server, prompt(name))
    assert [frames(path) for path in saved] == [length] * bool(length)
    for words in told:
        assert words in text


CHANGES = {
    "a strength": ("CatalogLoraPairPicker", {"pairs": "lightx2v-4step@1:0.8"}),
    "a pair": ("CatalogLoraPairPicker", {"pairs": "lightx2v-4step, svi-v2-pro@0:0.5"}),
    "cfg_low": ("SVIProDualSampler", {"settings": "manual", "cfg_low": 2.0}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_low_side_runs_the_low_expert_only(server: Server, change: str) -> None:
    example = prompt("wan22_low_side_only")
    run(server, example)
    class_type, inputs = CHANGES[change]
    node_of(example, class_type).update(inputs)
    _, text = run(server, example)
    assert "high: as in an earlier run, not run again" in text


def test_a_line_added_to_the_long_video_makes_only_that_clip(server: Server) -> None:
    example = prompt("wan22_svi_long_video")
    node = node_of(example, "SVIProLongVideo")
    node["filename_prefix"] = "test/longer"
    run(server, example)
    node["prompts"] += "\nThe red fox is running away."
    _, text = run(server, example)
    told = re.findall(r"^clip \d: (\w+)", text, re.MULTILINE)
    assert told == ["found", "found", "found", "sampled"]
    assert "37 frames" in text

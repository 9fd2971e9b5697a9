"""What counts as a change before a node, and what does not."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

folder_paths = pytest.importorskip("folder_paths")

from pack.nodes.sampling.replay import Same  # noqa: E402
from pack.nodes.video.upstream import Upstream, marked, upstream_of  # noqa: E402

Prompt = dict[str, dict[str, Any]]
MODEL, IMAGE = "upstream/m.safetensors", "upstream/fox.png"


@pytest.fixture(autouse=True)
def files() -> tuple[Path, Path]:
    """A model and an input file that the prompt names."""
    model = Path(folder_paths.get_folder_paths("diffusion_models")[-1]) / MODEL
    image = Path(folder_paths.get_input_directory()) / IMAGE
    for path in (model, image):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"as it was")
        os.utime(path, (1, 1))
    return model, image


def prompt() -> Prompt:
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": MODEL, "dtype": "default"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": f"{IMAGE} [input]"}},
        "3": {"class_type": "Scale", "inputs": {"image": ["2", 0], "by": [0.5, 1], "to": 64}},
        "4": {
            "class_type": "Long",
            "inputs": {"model": ["1", 0], "image": ["3", 0], "prompts": "a\nb", "seed": 1},
        },
        "5": {"class_type": "Save", "inputs": {"video": ["4", 0]}},
        "6": {"class_type": "Other", "inputs": {"image": ["2", 1]}},
    }


def hashed(of: Prompt, node: str = "4") -> str:
    return upstream_of(of, node, {"model", "image", "size", "value", "a", "b"}).hash


def test_ids_titles_and_the_order_of_nodes_do_not_count() -> None:
    new = {"1": "a:7", "2": "1", "3": "99", "4": "2", "5": "x", "6": "y"}
    moved: Prompt = {}
    for key, node in reversed(list(prompt().items())):
        inputs = {
            name: [new[value[0]], value[1]]
            if isinstance(value, list) and isinstance(value[0], str)
            else value
            for name, value in reversed(list(node["inputs"].items()))
        }
        moved[new[key]] = {"_meta": {"title": "T"}, **node, "inputs": inputs}
    assert hashed(moved, "2") == hashed(prompt())
    assert len(hashed(prompt())) == 64


def put(at: str, **inputs: Any) -> Callable[[Prompt], Any]:
    return lambda of: of[at]["inputs"].update(inputs)


@pytest.mark.parametrize(
    "change",
    [
        put("4", prompts="a\nb\nc", seed=2, new_in_a_later_version=["2", 0]),
        put("5", fps=16),
        put("6", more=1),
        lambda of: of.pop("6"),
        lambda of: of.update({"7": {"class_type": "New", "inputs": {"image": ["4", 0]}}}),
    ],
)
def test_what_does_not_feed_the_node_does_not_count(change: Callable[[Prompt], Any]) -> None:
    changed = prompt()
    change(changed)
    assert hashed(changed) == hashed(prompt())


@pytest.mark.parametrize(
    "change",
    [
        put("3", to=65),
        put("3", to="64"),
        put("3", by=[0.5, 2]),
        put("3", prompts="only the node's own are chosen from"),
        put("3", image=["2", 1]),
        put("3", image=["1", 0]),
        put("4", image=["2", 0]),
        put("4", size=4),
        put("4", image=["nothing", 0]),
        put("4", image=["nobody", 0]),
        lambda of: of["3"].update(class_type="Crop"),
        lambda of: of["3"]["inputs"].pop("to"),
        lambda of: of["4"]["inputs"].pop("model"),
    ],
)
def test_what_feeds_the_node_counts(change: Callable[[Prompt], Any]) -> None:
    changed = prompt()
    change(changed)
    assert hashed(changed) != hashed(prompt())


@pytest.mark.parametrize("which", [0, 1])
def test_a_named_file_counts_by_size_and_time(files: tuple[Path, Path], which: int) -> None:
    seen = {hashed(prompt())}
    os.utime(files[which], ns=(5, 10**9 + 1))
    seen.add(hashed(prompt()))
    files[which].write_bytes(b"another")
    os.utime(files[which], (1, 1))
    seen.add(hashed(prompt()))
    files[which].unlink()
    seen.add(hashed(prompt()))
    assert len(seen) == 4


@pytest.mark.parametrize(
    "value",
    [
        {"on": True, "lora": MODEL},
        [MODEL, "euler", 3],
        {"__value__": [[{"name": MODEL}]]},
        f"x/../{MODEL}",
        MODEL,
        IMAGE,
        f"{IMAGE} [input]",
    ],
)
def test_files_are_found_wherever_a_value_names_them(
    files: tuple[Path, Path], value: object
) -> None:
    of = {"1": {"class_type": "X", "inputs": {"value": value}}}
    before = hashed(of, "1")
    for path in files:
        os.utime(path, (2, 2))
    assert hashed(of, "1") != before


@pytest.mark.parametrize("form", ["{}", "../{}", "../../../../../../../..{}", "{} [output]"])
@pytest.mark.parametrize("where", ["beside the folders", "anywhere"])
def test_no_name_leads_out_of_comfyuis_folders(tmp_path: Path, form: str, where: str) -> None:
    base = Path(folder_paths.get_input_directory()).parent
    path = (base if where == "beside the folders" else tmp_path) / "secret.png"
    path.write_bytes(b"1")
    for name in (path.as_posix(), path.name, str(path)):
        of = {"1": {"class_type": "X", "inputs": {"value": form.format(name)}}}
        os.utime(path, (1, 1))
        before = hashed(of, "1")
        os.utime(path, (2, 2))
        assert hashed(of, "1") == before


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "/", "\\", "C:\\x.png", "C:x", "\\\\host\\x", "a\0b", "\ud800.png", "x" * 999]
    + [" [input]", "[output]", "a\nb", "con", "x" * 10**6, "\u202e", "*", "?" * 300],
)
def test_texts_that_name_no_file_are_texts(text: str) -> None:
    of = {"1": {"class_type": "X", "inputs": {"value": text}}}
    assert hashed(of, "1") == hashed(copy.deepcopy(of), "1")


def test_a_circle_and_a_link_to_nowhere_end() -> None:
    of = prompt()
    of["1"]["inputs"]["model"] = ["4", 0]
    of["2"]["inputs"]["self"] = ["2", 0]
    of["3"]["inputs"]["gone"] = ["77", 0]
    assert hashed(of) == hashed(copy.deepcopy(of)) != hashed(prompt())


def test_nodes_without_inputs_or_class_do_not_stop_it() -> None:
    of: Prompt = {"1": {}, "2": {"class_type": "X", "inputs": {"a": ["1", 0], "b": None}}}
    assert hashed(of, "2") != hashed({**of, "1": {"class_type": "Y"}}, "2")


def test_a_node_that_is_not_in_the_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="no node 9"):
        hashed(prompt(), "9")


class Thing:
    """Something that ComfyUI has loaded."""


def test_a_model_file_counts_as_it_was_when_something_was_loaded(files: tuple[Path, Path]) -> None:
    one, other = Thing(), Thing()

    stale = ("m.safetensors",)
    first = seen((one, 1), (other, 1))
    os.utime(files[0], (5, 5))
    assert seen((other, 1), (one, 1)) == Upstream(first.hash, stale)
    # Which of the two is in use can not be told: neither's clips are found, now or later.
    partly = seen((one, 2), (other, 1))
    assert partly.hash != first.hash and partly.stale == stale
    assert seen((one, 2), (other, 1)) == seen((one, 3), (other, 1)) == partly
    anew = seen((Thing(), 1), (Thing(), 1))
    assert anew.hash not in (first.hash, partly.hash) and not anew.stale


def seen(*loaded: tuple[Thing, int]) -> Upstream:
    things = [(Same(thing), mark) for thing, mark in loaded]
    return upstream_of(prompt(), "4", {"model", "image"}, things)


def test_what_is_loaded_is_known_whatever_pack_made_it() -> None:
    """Objects of other packs may have no patcher, and may not be watched."""

    class Slotted:
        __slots__ = ()

    one, slotted = Thing(), Slotted()
    assert marked([one, None]) == marked([one]) != marked([Thing()])
    assert len(marked([slotted])) == 1
    assert marked([slotted]) != marked([slotted])  # in doubt it is another
    assert upstream_of(prompt(), "4", {"model"}, marked([one, slotted])).stale == ()


def test_an_input_file_counts_as_it_is_whatever_is_loaded(files: tuple[Path, Path]) -> None:
    thing = Thing()
    loaded = [(Same(thing), 1)]
    before = upstream_of(prompt(), "4", {"image"}, loaded)
    os.utime(files[1], (5, 5))
    after = upstream_of(prompt(), "4", {"image"}, loaded)
    assert before.hash != after.hash and not after.stale


def test_long_chains_and_many_ways_take_no_time() -> None:
    """5000 nodes, each linked twice to the one before: 2**5000 ways, and deeper than recursion."""
    of: Prompt = {"0": {"class_type": "X", "inputs": {"value": MODEL}}}
    for at in range(1, 5000):
        of[str(at)] = {"class_type": "X", "inputs": {"a": [str(at - 1), 0], "b": [str(at - 1), 1]}}
    started = time.process_time()
    hashed(of, "4999")
    assert time.process_time() - started < 2


def test_folders_of_many_files_take_no_time(files: tuple[Path, Path]) -> None:
    crowd = files[0].parent
    for at in range(2000):
        (crowd / f"{at}.safetensors").touch()
    seconds = []
    for _ in range(5):  # a garbage collection may fall into one
        started = time.process_time()
        hashed(prompt())
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1
    for at in range(2000):
        (crowd / f"{at}.safetensors").unlink()

"""Every published layout of LoRA files loads in full; every faulty file stops or is announced."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_header import BAD

from rig import experts
from rig.lora_builders import OUTER
from rig.lora_canonical import MODULES, State, canonical
from rig.lora_faults import FAULTY, sound
from rig.lora_files import DORA, LAYOUTS, expected, write
from rig.tiny_models import FILES
from rig.tiny_quants import read_expert

if not os.environ.get("DUALPASS_COMFYUI"):
    pytest.skip("needs a real ComfyUI: run `python3 dev.py test`", allow_module_level=True)

import folder_paths
import torch
from comfy.lora import calculate_weight

from pack.catalog.stacks import parse_selection
from pack.nodes.lora.apply import patched
from pack.nodes.lora.files import LoraError, open_file

NAME = "x.safetensors"
ANNOUNCED = ("warning:", "note:", "not in this model")


@pytest.fixture(scope="module")
def base() -> State:
    """The weights of the expert in float64."""
    return read_expert(Path(os.environ["DUALPASS_MODELS"], "models", FILES["i2v_high"]))


@pytest.fixture(scope="module")
def model() -> Any:
    return experts.load("i2v_high", torch.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A loras folder of ComfyUI for one test."""
    folders, _ = folder_paths.folder_names_and_paths["loras"]
    folders.insert(0, str(tmp_path))
    yield tmp_path
    folders.remove(str(tmp_path))


def put(model: Any, strength: float = 1.0, strict: bool = True, mode: str = "auto") -> Any:
    return patched(model, "high", [(open_file(NAME), (strength,))], mode, strict)


@pytest.mark.parametrize("outer", ((), OUTER), ids=("blocks", "all"))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_each_weight_as_it_says(
    layout: str, outer: Any, base: State, model: Any, folder: Path
) -> None:
    told = canonical(base, modules=(*MODULES, *outer))
    write(folder / NAME, LAYOUTS[layout](told))
    clone, report = put(model, 0.5)
    wanted = expected(layout, told, 0.5)
    assert wanted
    objects = {key: value for key, value in clone.object_patches.items() if key.count(".") > 1}
    assert {*clone.patches, *objects} == {f"diffusion_model.{key}" for key in wanted}
    weights = model.model.state_dict()
    for key, value in wanted.items():
        name = f"diffusion_model.{key}"
        ours = objects.get(name)
        if ours is None:
            ours = calculate_weight(clone.patches[name], weights[name].float().clone(), name)
        assert (ours.double() - value).norm() < 1e-6 * (value - base[key]).norm(), (key, report)
    assert "not in this model" not in report


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_gives_the_same_beside_the_weights(
    layout: str, base: State, model: Any, folder: Path
) -> None:
    write(folder / NAME, LAYOUTS[layout](canonical(base)))
    plain = experts.call(model, size=16)
    merged = experts.call(put(model, 0.5, mode="merged")[0], size=16)
    beside = experts.call(put(model, 0.5, mode="unmerged")[0], size=16)
    assert (merged - plain).abs().max() > 1e-3 * plain.abs().max()
    tolerance = 1e-4 if layout in DORA else 1e-5
    assert (beside - merged).abs().max() < tolerance * merged.abs().max()


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_file_does_not_come_to_comfyuis_reader(kind: str, folder: Path) -> None:
    (folder / NAME).write_bytes(BAD[kind][1])
    with pytest.raises(LoraError, match=f"{NAME} .*{re.escape(str(folder))}"):
        open_file(NAME)


@pytest.mark.parametrize("dtype", (torch.bool, torch.uint16, torch.int64))
def test_a_tensor_of_another_kind_is_refused_with_the_name(dtype: Any, folder: Path) -> None:
    key = "diffusion_model.blocks.0.self_attn.q"
    factors = {f"{key}.lora_up.weight": torch.ones(128, 4, dtype=dtype)}
    write(folder / NAME, (factors | {f"{key}.lora_down.weight": torch.ones(4, 128)}, None))
    with pytest.raises(LoraError, match=NAME):
        open_file(NAME)


@pytest.mark.parametrize("mode", ("merged", "unmerged"))
@pytest.mark.parametrize("layout", ("diff_m", "modulation.diff"))
def test_modulations_reach_the_model_and_leave_it(
    layout: str, mode: str, base: State, model: Any, folder: Path
) -> None:
    """Core's own loading passes over them, whatever its loader says."""
    state, metadata = LAYOUTS[layout](canonical(base))
    write(
        folder / NAME, ({k: v for k, v in state.items() if "diff_m" in k or "modu" in k}, metadata)
    )
    plain = experts.call(model)
    clone, report = put(model, 0.5, mode=mode)
    assert "3 of 3 modules" in report
    changed = experts.call(clone)
    assert (changed - plain).abs().max() > 1e-3 * plain.abs().max()
    assert (experts.call(put(model, 1.0, mode=mode)[0]) - changed).abs().max() > 1e-4
    assert clone.patches_uuid == put(model, 1.0, mode=mode)[0].patches_uuid
    assert torch.equal(experts.call(model), plain)


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_file_stops_the_run_or_is_announced(
    fault: str, base: State, model: Any, folder: Path
) -> None:
    row = FAULTY[fault]
    write(folder / NAME, row.make(sound(base)))
    try:
        # Strengths come through the text of a selection, which is where they are checked.
        ((strength,),) = (choice.high for choice in parse_selection(f"x@{row.strength!r}"))
        _, text = put(model, strength)
        level = "announced" if any(each in text for each in ANNOUNCED) else "fine"
    except ValueError as error:
        level, text = "refused", str(error)
    assert (level, row.word in text.lower()) == (row.level, True), text


@pytest.mark.parametrize("fault", [f for f, row in FAULTY.items() if row.level == "refused"])
def test_without_strict_a_misfit_is_a_warning_and_damage_still_stops(
    fault: str, base: State, model: Any, folder: Path
) -> None:
    row = FAULTY[fault]
    write(folder / NAME, row.make(sound(base)))
    try:
        clone, text = put(model, strict=False)
    except LoraError as error:
        assert "switch strict off" not in str(error)
        return
    assert "warning:" in text or not 0 < abs(row.strength) <= 10
    experts.call(clone)


def test_a_file_that_was_replaced_is_read_anew(base: State, model: Any, folder: Path) -> None:
    write(folder / NAME, LAYOUTS["lora_A"](canonical(base)))
    first = put(model)[0]
    held = open_file(NAME)
    assert open_file(NAME) is held
    write(folder / "new", LAYOUTS["lora_A"](canonical(base, "another")))
    os.replace(folder / "new", folder / NAME)
    assert open_file(NAME) is not held
    assert put(model)[0].patches_uuid != first.patches_uuid

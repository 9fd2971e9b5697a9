"""The doctor: what a file tells by its header, in every layout that is published."""

from __future__ import annotations

import json
import math
import os
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pack.catalog.doctor.diagnosis import spans
from pack.catalog.doctor.examine import examine

MODELS = os.environ.get("DUALPASS_MODELS", "")
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "F64": 8, "F8_E4M3": 1}
# Module -> which sides of the model it gives and takes.
LINEARS = {
    **{f"{attn}_attn.{part}": "dd" for attn in ("self", "cross") for part in "qkvo"},
    **{"ffn.0": "fd", "ffn.2": "df"},
}
IMAGE = {"cross_attn.k_img": "dd", "cross_attn.v_img": "dd"}
DIFFUSERS = {
    **{
        f"{own}_attn.{part}": f"attn{at}.to_{part}"
        for at, own in ((1, "self"), (2, "cross"))
        for part in "qkv"
    },
    **{"self_attn.o": "attn1.to_out.0", "cross_attn.o": "attn2.to_out.0"},
    **{"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"},
    **{"cross_attn.k_img": "attn2.add_k_proj", "cross_attn.v_img": "attn2.add_v_proj"},
}

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def save(
    folder: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    values: Mapping[str, bytes] | None = None,
    metadata: Mapping[str, str] | None = None,
    name: str = "my_high_noise.safetensors",
) -> Path:
    """A file with these tensors: all zero and taking no room on disk, but for these values."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for key, (dtype, shape) in tensors.items():
        span = SIZES[dtype] * math.prod(shape)
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + span]}
        end += span
    text = json.dumps(header).encode()
    path = folder / name
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
        for key, value in (values or {}).items():
            file.seek(8 + len(text) + header[key]["data_offsets"][0])
            file.write(value)
    return path


def factors(
    template: str = "diffusion_model.blocks.{block}.{module}.{part}.weight",
    parts: tuple[str, str] = ("lora_down", "lora_up"),
    *,
    linears: Mapping[str, str] = LINEARS,
    blocks: Iterable[int] = range(40),
    sides: tuple[int, int] = (5120, 13824),
    rank: int = 64,
    dtype: str = "F16",
) -> Tensors:
    """The two factors of each linear of each block."""
    size = dict(zip("df", sides, strict=True))
    tensors: Tensors = {}
    for block in blocks:
        for module, (gives, takes) in linears.items():
            down, up = (template.format(block=block, module=module, part=part) for part in parts)
            tensors[down] = dtype, (rank, size[takes])
            tensors[up] = dtype, (size[gives], rank)
    return tensors


def flat(tensors: Tensors, prefix: str) -> Tensors:
    """The same under kohya's names: modules with _ for a dot."""

    def renamed(key: str) -> str:
        module, _, part = key.removeprefix("diffusion_model.").partition(".lora")
        return f"{prefix}{module.replace('.', '_')}.lora{part}"

    return {renamed(key): value for key, value in tensors.items()}


def alphas(tensors: Tensors, dtype: str = "F32") -> Tensors:
    keys = (key.removesuffix(".lora_down.weight") for key in tensors)
    return {f"{key}.alpha": (dtype, ()) for key in keys if not key.endswith(".weight")}


def diffusers(prefix: str) -> Tensors:
    named = {DIFFUSERS[module]: sides for module, sides in LINEARS.items()}
    return factors(f"{prefix}blocks.{{block}}.{{module}}.{{part}}.weight", PEFT, linears=named)


DOTTED = "blocks.{block}.{module}.{part}.weight"
DEFAULT = "blocks.{block}.{module}.{part}.default.weight"
PEFT = ("lora_A", "lora_B")
LAYOUTS: dict[str, Tensors] = {
    "diffusion_model. lora_down/up": factors(),
    "diffusion_model. lora_A/B": factors(f"diffusion_model.{DOTTED}", PEFT),
    "diffusion_model. lora_A/B.default": factors(f"diffusion_model.{DEFAULT}", PEFT),
    "diffusion_model. _lora.down/up": factors(
        "diffusion_model.blocks.{block}.{module}{part}.weight", ("_lora.down", "_lora.up")
    ),
    "lora_unet_ lora_down/up": flat(factors(), "lora_unet_"),
    "lora_unet__ lora_down/up": flat(factors(), "lora_unet__"),
    "lycoris_ lora_down/up": flat(factors(), "lycoris_"),
    "bare blocks. lora_A/B": factors(DOTTED, PEFT),
    "bare blocks. lora_A/B.default": factors(DEFAULT, PEFT),
    "base_model.model. lora_A/B": factors(f"base_model.model.{DOTTED}", PEFT),
    "pipe.dit. lora_A/B.default": factors(f"pipe.dit.{DEFAULT}", PEFT),
    "transformer. lora_A/B": factors(f"transformer.{DOTTED}", PEFT),
    "transformer. names of diffusers lora_A/B": diffusers("transformer."),
    "diffusion_model. names of diffusers lora_A/B": diffusers("diffusion_model."),
    "bare blocks. names of diffusers lora_A/B": diffusers(""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_is_known(tmp_path: Path, layout: str) -> None:
    told = examine(save(tmp_path, LAYOUTS[layout]))
    assert told.layout == (layout,)
    assert (told.modules, told.ranks, told.dtypes) == (400, {64: 400}, {"F16": 400})
    assert told.modules_by_block == dict.fromkeys(range(40), 10)
    assert told.block_count == 40
    assert told.made_for.startswith("Wan 14B; whether 2.1 or 2.2, T2V or I2V")
    assert told.problems == ()


def tiny(tensors: Tensors) -> Tensors:
    """The same for the tiny expert of the tests: two blocks, 128 and 256 wide."""
    small = {5120: 128, 13824: 256, 64: 4}
    ours = {
        key: value for key, value in tensors.items() if "blocks.0." in key or "blocks_0_" in key
    }
    return {key: (dtype, tuple(small[n] for n in shape)) for key, (dtype, shape) in ours.items()}


@pytest.mark.skipif(not MODELS, reason="needs a real ComfyUI: run `python3 dev.py test`")
def test_what_comfyui_leaves_out_is_noted_and_only_that(tmp_path: Path) -> None:
    import comfy.lora
    import comfy.lora_convert
    import comfy.sd
    import comfy.utils

    unets = Path(MODELS) / "models" / "diffusion_models"
    expert = comfy.sd.load_diffusion_model(str(min(unets.glob("*i2v_high*.safetensors"))))
    names = comfy.lora.model_lora_keys_unet(expert.model, {})
    for layout, tensors in LAYOUTS.items():
        path = save(tmp_path, tiny(tensors))
        state = comfy.lora_convert.convert_lora(comfy.utils.load_torch_file(str(path)))
        loaded = len(comfy.lora.load_lora(state, names, log_missing=False))
        assert loaded in (0, 10), layout
        noted = any("leaves out" in note for note in examine(path).notes)
        assert noted == (loaded == 0), layout


REPORT = """\
Wan21_I2V_lightx2v_rank64.safetensors (758,588,800 bytes)
  made for  Wan 2.1 I2V 14B, as its image branch tells
  role      not told by the name, and weights do not tell: ask who made it
  layout    diffusion_model. lora_down/up
  modules   482 in BF16, 482 biases, 160 weights, 40 modulations
  rank      64
  alpha     not stored, so the scale is 1
  blocks    40 of 40, with 12 modules each
  Wan 2.2   122 of its modules are not there (k_img, v_img, norm_k_img, img_emb). That is to be \
expected: only Wan 2.1's I2V models have an image branch
  trigger   stop motion
  metadata  modelspec.title: My LoRA
  note      ComfyUI's own LoRA loader leaves out the 40 modulations (.diff_m)."""


def lightx2v() -> Tensors:
    """As LightX2V's files for Wan 2.1 I2V: an image branch, and full differences."""
    tensors = factors(linears=LINEARS | IMAGE, dtype="BF16")
    for part, sides in (("1", (5120, 1280)), ("3", (5120, 5120))):
        tensors[f"diffusion_model.img_emb.proj.{part}.lora_down.weight"] = "BF16", (64, sides[1])
        tensors[f"diffusion_model.img_emb.proj.{part}.lora_up.weight"] = "BF16", (sides[0], 64)
    modules = [key.removesuffix(".lora_up.weight") for key in tensors if key.endswith("up.weight")]
    biases = {f"{module}.diff_b": ("BF16", (5120,)) for module in modules}
    norms = ["self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q", "cross_attn.norm_k_img"]
    for block in range(40):
        stem = f"diffusion_model.blocks.{block}"
        biases |= {f"{stem}.{norm}.diff": ("BF16", (5120,)) for norm in norms}
        biases[f"{stem}.diff_m"] = "BF16", (1, 6, 5120)
    return tensors | biases


def test_a_report_says_all_of_it(tmp_path: Path) -> None:
    metadata = {"modelspec.title": "My LoRA", "modelspec.trigger_phrase": "stop motion"}
    path = save(tmp_path, lightx2v(), {}, metadata, "Wan21_I2V_lightx2v_rank64.safetensors")
    told = examine(path)
    report = REPORT.replace("758,588,800", f"{path.stat().st_size:,}")
    assert str(told) == report
    assert told.missing_on_wan22 == 80 + 2 + 40


@pytest.mark.parametrize(
    ("tensors", "made_for", "count"),
    [
        (factors(sides=(1536, 8960), blocks=range(30)), "Wan 2.1 1.3B", 30),
        (factors(sides=(3072, 14336), blocks=range(30)), "Wan 2.2 5B", 30),
        (factors(sides=(128, 256), blocks=range(2)), "a model 128 wide, which no Wan is", None),
        (factors(sides=(5120, 8960)), "a model 5120 wide, which no Wan is", None),
        (
            factors() | {"diffusion_model.patch_embedding.diff": ("F16", (5120, 36, 1, 2, 2))},
            "Wan I2V 14B, as its patch embedding tells",
            40,
        ),
        (
            factors() | {"diffusion_model.patch_embedding.diff": ("F16", (5120, 16, 1, 2, 2))},
            "Wan T2V 14B, as its patch embedding tells",
            40,
        ),
        ({"diffusion_model.blocks.0.diff_m": ("F16", (1, 6, 5120))}, "a Wan model; its", None),
    ],
)
def test_widths_tell_the_model(
    tmp_path: Path, tensors: Tensors, made_for: str, count: int | None
) -> None:
    told = examine(save(tmp_path, tensors))
    assert told.made_for.startswith(made_for)
    assert told.block_count == count
    assert told.problems == ()


Q = "diffusion_model.blocks.0.self_attn.q"
F16 = struct.pack("<e", 32)


@pytest.mark.parametrize(
    ("dtype", "raw", "alpha"),
    [
        ("F32", struct.pack("<f", 32), 32),
        ("F64", struct.pack("<d", 0.5), 0.5),
        ("F16", F16, 32),
        ("BF16", struct.pack("<f", 8)[2:], 8),
        ("I64", struct.pack("<q", 8), 8),
        ("I32", struct.pack("<i", 16), 16),
    ],
)
def test_an_alpha_is_read_in_every_dtype(
    tmp_path: Path, dtype: str, raw: bytes, alpha: float
) -> None:
    tensors = factors()
    stored = alphas(tensors, dtype)
    told = examine(save(tmp_path, tensors | stored, dict.fromkeys(stored, raw)))
    assert told.alphas == {alpha: 400}
    assert f"stored: {alpha:g} in {dtype}, so the scale is {alpha / 64:.4g}" in str(told)


@pytest.mark.parametrize(
    ("stored", "raw", "problem"),
    [
        (("F32", ()), struct.pack("<f", math.nan), "Alphas that are no finite number: 1."),
        (("F32", ()), struct.pack("<f", math.inf), "Alphas that are no finite number: 1."),
        (("F32", (2,)), b"", "Alphas that are no finite number: 1."),
        (("F8_E4M3", ()), b"", "Alphas that are no finite number: 1."),
    ],
)
def test_an_alpha_that_is_no_number_is_a_problem(
    tmp_path: Path, stored: tuple[str, tuple[int, ...]], raw: bytes, problem: str
) -> None:
    path = save(tmp_path, factors() | {f"{Q}.alpha": stored}, {f"{Q}.alpha": raw})
    told = examine(path)
    assert told.problems[0].startswith(problem)
    json.dumps(told.as_json(), allow_nan=False)


RS_LORA = '{"transformer.r": 64, "transformer.use_rslora": true, "transformer.lora_alpha": 16}'


@pytest.mark.parametrize(
    ("tensors", "metadata", "note"),
    [
        (
            factors() | {f"{Q}.alpha": ("F32", ())},
            {},
            "Modules of alpha 0, which change nothing: 1.",
        ),
        (
            factors(),
            {"lora_adapter_metadata": RS_LORA},
            "An alpha of 16 stands only in the metadata",
        ),
        (factors(), {"lora_adapter_metadata": RS_LORA}, "Trained as rs-LoRA"),
        (factors(), {"ss_network_args": '{"rs_lora": "True"}'}, ""),
        (flat(factors(), "lora_unet_"), {"ss_network_alpha": "32"}, "An alpha of 32 stands only"),
        (flat(factors(), "lora_unet_"), {}, "Trainers with these names store alphas"),
        (factors(blocks=range(20)), {}, "Blocks that are not covered: 20-39."),
        (factors(blocks=[0, *range(2, 40)]), {}, "Blocks that are not covered: 1."),
        (factors() | {"lora_te_x.alpha": ("F32", ())}, {}, ""),
        (
            factors() | {"lora_te_x.lora_up.weight": ("F32", (4, 4))},
            {},
            "Modules that Wan does not have: 1, such as lora_te_x.",
        ),
        (factors(), {"ss_output_name": "my_low_noise"}, "names it 'my_low_noise', which says low"),
        (factors(), {"ss_output_name": "my_high_noise"}, ""),
        (factors(), {"modelspec.title": "mine"}, ""),
    ],
)
def test_what_is_doubtful_is_noted(
    tmp_path: Path, tensors: Tensors, metadata: dict[str, str], note: str
) -> None:
    told = examine(save(tmp_path, tensors, {}, metadata))
    assert told.problems == ()
    assert any(note in each for each in told.notes) if note else told.notes == ()


def test_an_alpha_of_rs_lora_has_its_own_scale(tmp_path: Path) -> None:
    tensors = factors()
    stored = alphas(tensors)
    path = save(tmp_path, tensors | stored, dict.fromkeys(stored, struct.pack("<f", 16)),
                {"lora_adapter_metadata": RS_LORA})  # fmt: skip
    assert "stored: 16 in F32, so the scale is 2\n" in str(examine(path))


def changed(part: str, value: tuple[str, tuple[int, ...]] | None) -> Tensors:
    """A LoRA of which one tensor is another, or missing."""
    tensors = factors()
    del tensors[f"{Q}.{part}.weight"]
    return tensors | ({f"{Q}.{part}.weight": value} if value else {})


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        (changed("lora_down", None), f"Modules without down: 1, such as {Q[16:]}."),
        (changed("lora_up", None), f"Modules without up: 1, such as {Q[16:]}."),
        (changed("lora_up", ("F16", (9, 32))), "with an up and a down of different ranks: 1"),
        (changed("lora_up", ("I8", (5120, 64))), "Modules in I8, which is no kind of weight: 1"),
        (changed("lora_up", ("F16", ())), "Modules with an up and a down of different ranks: 1"),
        (factors(rank=0), "Modules of rank 0: 400"),
        (factors() | factors("blocks.{block}.{module}.{part}.weight", sides=(1536, 8960)),
         "Its modules fit models of different widths: 1536 and 5120."),
        ({f"{Q}.hada_w1_a": ("F16", (5120, 8))}, "without w1_b and w2_a and w2_b"),
        ({f"{Q}.lokr_w1_a": ("F16", (8, 8))}, "without w1_b and w2: 1"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_a_problem(tmp_path: Path, tensors: Tensors, problem: str) -> None:
    told = examine(save(tmp_path, tensors))
    assert problem in " ".join(told.problems)
    assert not told.as_json()["usable"]


def every_block(parts: Tensors) -> Tensors:
    stems = [f"lycoris_blocks_{block}_self_attn_q" for block in range(40)]
    return {f"{stem}.{part}": value for stem in stems for part, value in parts.items()}


@pytest.mark.parametrize(
    ("parts", "layout", "ranks"),
    [
        (
            {
                **{"hada_w1_a": ("F16", (5120, 8)), "hada_w1_b": ("F16", (8, 5120))},
                **{"hada_w2_a": ("F16", (5120, 8)), "hada_w2_b": ("F16", (8, 5120))},
            },
            "LoHa",
            {8: 40},
        ),
        ({"lokr_w1": ("F16", (8, 8)), "lokr_w2": ("F16", (640, 640))}, "LoKr", {}),
        (
            {
                "lokr_w1": ("F16", (8, 8)),
                "lokr_w2_a": ("F16", (640, 4)),
                "lokr_w2_b": ("F16", (4, 640)),
            },
            "LoKr",
            {4: 40},
        ),
        (
            {
                **{"lora_down.weight": ("F16", (16, 5120)), "lora_up.weight": ("F16", (5120, 16))},
                **{"dora_scale": ("F32", (5120, 1))},
            },
            "lora_down/up with DoRA",
            {16: 40},
        ),
        ({"diff": ("F16", (5120, 5120))}, "differences", {}),
        ({"oft_blocks": ("F16", (4, 8, 8))}, "OFT", {}),
    ],
)
def test_every_kind_of_adapter_is_known(
    tmp_path: Path, parts: Tensors, layout: str, ranks: dict[int, int]
) -> None:
    told = examine(save(tmp_path, every_block(parts)))
    assert told.layout == (f"lycoris_ {layout}",)
    assert told.ranks == ranks
    assert told.problems == ()
    assert "14B" in told.made_for or layout == "OFT"


def test_adaptive_ranks_are_told_by_their_ends(tmp_path: Path) -> None:
    tensors: Tensors = {}
    for block in range(40):
        tensors |= factors(blocks=[block], rank=16 + block)
    told = examine(save(tmp_path, tensors))
    assert len(told.ranks) == 40
    assert "rank      16 to 55, a rank of its own for each module" in str(told)


SD = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
FLUX = "transformer.single_transformer_blocks.0.attn.to_k"
STRANGERS: dict[str, list[tuple[str, ...]]] = {
    "a LoRA for Flux": [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight",),
        (f"{FLUX}.lora_A.weight", f"{FLUX}.lora_B.weight"),
    ],
    "a LoRA for Stable Diffusion": [(f"{SD}.lora_up.weight", f"{SD}.alpha")],
    "a LoRA for a text encoder": [("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",)],
    "a LoRA for another family": [("diffusion_model.transformer_blocks.0.ff.lora_A.weight",)],
    "a LoRA for a model that is not Wan": [("layers.0.thing.lora_A.weight",)],
    "a full model of Wan": [
        ("blocks.0.self_attn.q.weight", "blocks.0.modulation", "head.head.bias"),
        ("model.diffusion_model.blocks.0.ffn.0.weight",),
    ],
    "a full model of another": [("model.diffusion_model.input_blocks.0.0.weight",)],
    "a VAE": [("encoder.conv1.weight", "decoder.conv1.weight", "decoder.head.0.gamma")],
    "a text encoder": [("shared.weight", "encoder.block.0.layer.0.SelfAttention.k.weight")],
    "not a LoRA: it holds emb_params": [("emb_params",)],
}


@pytest.mark.parametrize(
    ("what", "keys"), [(what, keys) for what in STRANGERS for keys in STRANGERS[what]]
)
def test_what_is_no_lora_for_wan_is_said_plainly(
    tmp_path: Path, what: str, keys: tuple[str, ...]
) -> None:
    told = examine(save(tmp_path, dict.fromkeys(keys, ("F16", (8, 8)))))
    (problem,) = told.problems
    assert problem.startswith(f"This is {what}")


def test_a_broken_file_has_its_header_s_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"<html>")
    (problem,) = examine(path).problems
    assert problem.startswith("x.safetensors is a web page")
    assert examine(tmp_path / "gone.sft").problems[0].startswith("gone.sft cannot be read")


def test_captions_and_texts_of_strangers_are_shown_safely(tmp_path: Path) -> None:
    frequencies = {
        "1_a": {"cat": 5, "a\u202edog": 9},
        "2_b": {"cat": 5, **dict.fromkeys("vwxyz", 1)},
    }
    metadata = {"ss_tag_frequency": json.dumps(frequencies), "modelspec.title": "x\x1b[31m" * 90}
    told = examine(save(tmp_path, factors(), {}, metadata))
    assert told.tags[:3] == ("cat", "adog", "v")
    assert told.metadata["modelspec.title"] == ("x[31m" * 90)[:100]


@pytest.mark.parametrize(
    ("counts", "tags"),
    [
        ('{"x": 1e999}', ()),
        ('{"x": NaN}', ()),
        ('{"x": -Infinity}', ()),
        ('{"x": -5, "y": 0, "z": "2"}', ("z",)),
        ('{"x": 1e300, "y": ' + "9" * 4000 + "}", ("y", "x")),
        ('{"x": ' + "9" * 5000 + "}", ()),
    ],
)
def test_captions_that_no_count_can_have_are_no_obstacle(
    tmp_path: Path, counts: str, tags: tuple[str, ...]
) -> None:
    metadata = {"ss_tag_frequency": f'{{"a": {counts}}}'}
    told = examine(save(tmp_path, factors(), {}, metadata))
    assert (told.tags, told.problems) == (tags, ())


@pytest.mark.parametrize("frequencies", ["{", "[]", '{"a": 5}', '{"a": {"b": "c"}}', "[" * 99_999])
def test_captions_that_cannot_be_read_are_left_out(tmp_path: Path, frequencies: str) -> None:
    assert examine(save(tmp_path, factors(), {}, {"ss_tag_frequency": frequencies})).tags == ()


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux to count bytes")
def test_two_gigabytes_take_a_moment_and_only_the_header_is_read(tmp_path: Path) -> None:
    tensors = factors(rank=128, dtype="F32")
    stored = alphas(tensors)
    path = save(tmp_path, tensors | stored, dict.fromkeys(stored, struct.pack("<f", 64)))
    assert path.stat().st_size > 2e9
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    before, started = bytes_read(), time.perf_counter()
    assert examine(path).alphas == {64: 400}
    assert bytes_read() - before < header + 30_000
    assert time.perf_counter() - started < 5


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not MODELS, reason="needs the tiny models: run `python3 dev.py test`")
def test_the_tiny_loras_of_the_tests_are_told_apart() -> None:
    told = {path.name: examine(path) for path in Path(MODELS).glob("models/loras/**/*.safetensors")}
    bad = {name for name, each in told.items() if each.problems}
    assert bad == {"no_match.safetensors"}
    seko = told["seko_v1_i2v_high_noise_model.safetensors"]
    assert (seko.role, seko.alphas, seko.ranks) == ("high", {2: 20}, {4: 20})
    assert seko.layout == ("diffusion_model. lora_down/up",)
    wan21 = told["Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors"]
    assert wan21.missing_on_wan22 == 6
    assert wan21.dtypes == {"BF16": 26}
    svi = [each for name, each in told.items() if name.startswith("SVI")]
    assert {(each.role, each.layout) for each in svi} == {
        ("high", ("diffusion_model. lora_A/B",)),
        ("low", ("diffusion_model. lora_A/B",)),
    }


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([3], "3"), ([0, 1, 2, 7], "0-2, 7"), ([5, 4, 9, 10], "4-5, 9-10")],
)
def test_numbers_are_told_in_spans(numbers: list[int], text: str) -> None:
    assert spans(numbers) == text

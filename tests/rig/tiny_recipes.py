"""Makes the tiny models. ComfyUI reads shapes, so small random weights pass for real ones."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType as Kind
from PIL import Image
from safetensors.torch import save_file

from rig.tiny_models import FILES, IMAGE, PAIRS
from rig.tiny_quants import fp8_scaled, fp16, write_gguf

State = dict[str, torch.Tensor]
DIM, FFN, TEXT, BLOCKS, RANK = 128, 256, 768, 2, 4
ALPHA = RANK / 2  # not the rank: whoever forgets alpha gets another result
LORA_STD = 0.08  # moves a result by 5 to 20 %
PARTS = [f"{attn}_attn.{part}" for attn in ("self", "cross") for part in "qkvo"] + [
    "ffn.0",
    "ffn.2",
]
IMAGE_PARTS = ["cross_attn.k_img", "cross_attn.v_img"]
IMAGE_EMBEDDING = ["img_emb.proj.1", "img_emb.proj.3"]
# Detection takes text_dim for 4096 unless the file's own header says otherwise.
CONFIG = {"config": json.dumps({"transformer": {"text_dim": TEXT}})}


def linears(parts: list[str]) -> list[str]:
    return [f"blocks.{block}.{part}" for block in range(BLOCKS) for part in parts]


def expert_shapes(**config: Any) -> State:
    """The weights of a Wan model, without their data."""
    import comfy.ldm.wan.model
    import comfy.ops

    size = {
        "dim": DIM,
        "ffn_dim": FFN,
        "freq_dim": 256,
        "text_dim": TEXT,
        "num_heads": 1,
    }
    kind = {
        "model_type": "t2v",
        "in_dim": 36,
        "out_dim": 16,
        "num_layers": BLOCKS,
    } | config
    operations = comfy.ops.manual_cast
    model = comfy.ldm.wan.model.WanModel(**size, **kind, device="meta", operations=operations)
    return model.state_dict()


def vae_shapes() -> State:
    """The weights of a Wan 2.1 VAE, without their data."""
    import comfy.ldm.wan.vae

    with torch.device("meta"):
        model = comfy.ldm.wan.vae.WanVAE(
            dim=16,
            z_dim=16,
            temperal_downsample=[False, True, True],
            conv_out_channels=3,
        )
    return model.state_dict()


def text_shapes() -> State:
    """CLIP-L, which core's CLIPLoader takes for type `wan`; umt5-xxl can not be made small."""
    import comfy.clip_model
    import comfy.ops

    path = Path(comfy.clip_model.__file__).with_name("sd1_clip_config.json")
    config = json.loads(path.read_text())
    model = comfy.clip_model.CLIPTextModel(config, None, "meta", comfy.ops.manual_cast)
    return model.state_dict()


def noise_of(seed: str) -> Callable[..., torch.Tensor]:
    """A source of normal noise, the same for the same seed."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    return lambda *shape: torch.randn(shape, generator=generator)


def weights(shapes: State, seed: str, dtype: torch.dtype) -> State:
    """Random weights of these shapes."""
    noise = noise_of(seed)
    return {key: scaled(key, noise(*like.shape)).to(dtype) for key, like in shapes.items()}


def scaled(key: str, noise: torch.Tensor) -> torch.Tensor:
    """Sized so that signals stay bounded: norms near one, the others by their fan-in."""
    if key.endswith("gamma") or ("norm" in key and key.endswith("weight")):
        return 1 + noise / 10
    fan_in = noise[0].numel() if noise.ndim > 1 else 100
    return noise / fan_in**0.5


def lora(shapes: State, targets: list[str], seed: str, down: str, up: str) -> State:
    """Factors of rank 4 for these linears, under the given names."""
    noise = noise_of(seed)
    state = {}
    for target in targets:
        rows, columns = shapes[f"{target}.weight"].shape
        state[f"diffusion_model.{target}.{down}.weight"] = noise(RANK, columns) / columns**0.5
        state[f"diffusion_model.{target}.{up}.weight"] = noise(rows, RANK) * LORA_STD
    return state


def seko(seed: str) -> State:
    """As Seko V1, which is LightX2V's 4-step file: with alphas."""
    targets = linears(PARTS)
    alphas = {f"diffusion_model.{target}.alpha": torch.tensor(ALPHA) for target in targets}
    return lora(expert_shapes(), targets, seed, "lora_down", "lora_up") | alphas


def svi(seed: str) -> State:
    """As SVI v2 PRO: PEFT's names, no alphas, half precision."""
    state = lora(expert_shapes(), linears(PARTS), seed, "lora_A", "lora_B")
    return {key: value.half() for key, value in state.items()}


def wan21(seed: str) -> State:
    """As LightX2V's Wan 2.1 files: an image branch, differences of biases, no alphas, bfloat16."""
    shapes = expert_shapes(model_type="i2v")
    targets = linears(PARTS + IMAGE_PARTS) + IMAGE_EMBEDDING
    state = lora(shapes, targets, seed, "lora_down", "lora_up")
    noise = noise_of(f"{seed} biases")
    for target in targets:
        bias = noise(*shapes[f"{target}.bias"].shape)
        state[f"diffusion_model.{target}.diff_b"] = bias * LORA_STD / 4
    return {key: value.bfloat16() for key, value in state.items()}


def no_match(seed: str) -> State:
    """A LoRA of another family, Stable Diffusion 1.5."""
    noise = noise_of(seed)
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    return {
        f"{key}.lora_down.weight": noise(RANK, 320),
        f"{key}.lora_up.weight": noise(320, RANK),
        f"{key}.alpha": torch.tensor(float(RANK)),
    }


FAMILIES = {
    "lightx2v-4step": seko,
    "lightx2v-cfg-step-distill": wan21,
    "lightx2v-unified": wan21,
    "seko-v1": seko,
    "svi-v2-pro": svi,
}


def experts() -> Iterator[tuple[str, State]]:
    """Handle and weights of each expert; no two are alike."""
    kinds: dict[str, Any] = {
        "i2v": {},
        "t2v": {"in_dim": 16},
        "wan21": {"model_type": "i2v"},
    }
    for handle in ("i2v_high", "i2v_low", "t2v_high", "t2v_low", "wan21_i2v"):
        shapes = expert_shapes(**kinds[handle.split("_")[0]])
        yield handle, weights(shapes, handle, torch.bfloat16)


def write_copies(handle: str, state: State, models: Path) -> None:
    """The same expert in each other number format that FILES has of it."""
    for suffix, convert in (("fp16", fp16), ("fp8", fp8_scaled)):
        if copy := FILES.get(f"{handle}_{suffix}"):
            save_file(convert(state), models / copy, CONFIG)
    for suffix, best in (("gguf", Kind.Q8_0), ("q4_k_gguf", Kind.Q4_K)):
        if copy := FILES.get(f"{handle}_{suffix}"):
            write_gguf(state, models / copy, best)


def write_models(models: Path) -> None:
    """Every file of FILES and PAIRS."""
    for file in (*FILES.values(), *(f"loras/{file}" for _, file in pair_files())):
        (models / file).parent.mkdir(parents=True, exist_ok=True)
    for handle, state in experts():
        save_file(state, models / FILES[handle], CONFIG)
        write_copies(handle, state, models)
    save_file(weights(vae_shapes(), "vae", torch.float32), models / FILES["vae"])
    save_file(weights(text_shapes(), "text", torch.float16), models / FILES["text_encoder"])
    for pair_id, file in pair_files():
        save_file(FAMILIES[pair_id](file), models / "loras" / file)
    save_file(no_match("no_match"), models / FILES["no_match"])


def pair_files() -> Iterator[tuple[str, str]]:
    """Pair id and name of each LoRA file."""
    return ((pair_id, file) for pair_id, files in PAIRS.items() for file in files.values())


def main() -> None:
    base = Path(sys.argv[1])
    sys.argv[1:] = ["--cpu"]  # comfy.cli_args reads it at its import
    import comfy.options

    comfy.options.enable_args_parsing()
    write_models(base / "models")
    (base / "input").mkdir()
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    image.save(base / "input" / IMAGE)


if __name__ == "__main__":
    main()

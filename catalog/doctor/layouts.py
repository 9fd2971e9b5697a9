"""The key layouts of published LoRA files: which part of which module of Wan a key is for."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Longest first, so that each key gets all of its prefix.
_prefixes = (
    *("base_model.model.diffusion_model.", "model.diffusion_model.", "diffusion_model."),
    *("base_model.model.", "pipe.dit.", "transformer_2.", "transformer.", "lora_transformer_"),
    *("lora_unet__", "lora_unet_", "lycoris_", "unet.", "dit.", "model."),
)
# What stands after the module: kind of adapter, and part of it. One table for every trainer.
_suffixes = {
    **{f".lora_{part}.weight": ("lora_down/up", part) for part in ("down", "up", "mid")},
    **{f"_lora.{part}.weight": ("_lora.down/up", part) for part in ("down", "up")},
    **{f".lora.{part}.weight": ("lora.down/up", part) for part in ("down", "up")},
    **{f".lora_linear_layer.{p}.weight": ("lora_linear_layer", p) for p in ("down", "up")},
    **{f".hada_{part}": ("LoHa", part) for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f".lokr_{p}": ("LoKr", p) for p in ("w1", "w2", "w1_a", "w1_b", "w2_a", "w2_b", "t2")},
    **{f".{part}.weight": ("GLoRA", part) for part in ("a1", "a2", "b1", "b2")},
    **{".oft_blocks": ("OFT", "oft"), ".oft_diag": ("OFT", "oft"), ".rescale": ("OFT", "rescale")},
    **{f".{part}": ("", part) for part in ("alpha", "diff", "diff_b", "diff_m", "set_weight")},
    **{f".{part}": ("", part) for part in ("w_norm", "b_norm", "reshape_weight")},
    **{".dora_scale": ("", "dora"), ".lora_magnitude_vector": ("", "dora")},
    **{".lora_magnitude_vector.weight": ("", "dora")},
}
_suffix = re.compile(f"(.+?)({'|'.join(map(re.escape, _suffixes))})")
_peft = re.compile(r"(.+?)\.lora_([AB])(?:\.(?!weight$)(\w+))?(?:\.weight)?")
_plain = re.compile(r"(.+?)\.(weight|bias)")

_inner = [
    *(f"self_attn.{part}" for part in ("q", "k", "v", "o", "norm_q", "norm_k")),
    *(f"cross_attn.{part}" for part in ("q", "k", "v", "o", "norm_q", "norm_k")),
    *("cross_attn.k_img", "cross_attn.v_img", "cross_attn.norm_k_img"),
    *("ffn.0", "ffn.2", "norm1", "norm2", "norm3", "modulation"),
]
_outer = [
    *("patch_embedding", "text_embedding.0", "text_embedding.2", "head.head", "head"),
    *("time_embedding.0", "time_embedding.2", "time_projection.1", "head.modulation"),
    *(f"img_emb.proj.{part}" for part in (0, 1, 3, 4)),
]
# What diffusers calls them: https://github.com/huggingface/diffusers, transformer_wan.py
_diffusers_inner = {
    **{f"attn1.to_{part}": f"self_attn.{part}" for part in "qkv"},
    **{f"attn2.to_{part}": f"cross_attn.{part}" for part in "qkv"},
    **{"attn1.to_out.0": "self_attn.o", "attn2.to_out.0": "cross_attn.o"},
    **{f"attn1.norm_{part}": f"self_attn.norm_{part}" for part in "qk"},
    **{f"attn2.norm_{part}": f"cross_attn.norm_{part}" for part in "qk"},
    **{f"attn2.add_{part}_proj": f"cross_attn.{part}_img" for part in "kv"},
    **{"attn2.norm_added_k": "cross_attn.norm_k_img", "scale_shift_table": "modulation"},
    **{"ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2"},
}
_condition = "condition_embedder."
_diffusers_outer = {
    **{f"{_condition}text_embedder.linear_{at + 1}": f"text_embedding.{2 * at}" for at in (0, 1)},
    **{f"{_condition}time_embedder.linear_{at + 1}": f"time_embedding.{2 * at}" for at in (0, 1)},
    **{f"{_condition}time_proj": "time_projection.1", "proj_out": "head.head"},
    **{f"{_condition}image_embedder.ff.net.0.proj": "img_emb.proj.1"},
    **{f"{_condition}image_embedder.ff.net.2": "img_emb.proj.3"},
}
_block = re.compile(r"((?:vace_)?blocks)_(\d{1,4})(?:_(.+))?")


def _flat(module: str) -> str:
    return module.replace(".", "_")


_known_inner = {_flat(name): (name, False) for name in _inner} | {
    _flat(name): (module, True) for name, module in _diffusers_inner.items()
}
_known_outer = {_flat(name): (name, False) for name in _outer} | {
    _flat(name): (module, True) for name, module in _diffusers_outer.items()
}


@dataclass(frozen=True)
class Key:
    """One key of a file, taken apart.

    `module` is Wan's own name such as blocks.3.ffn.0 if `known`, otherwise as the file has it.
    `part` is empty for a weight of a model, and no part of an adapter.
    """

    prefix: str
    module: str
    kind: str
    part: str
    adapter: str = ""
    known: bool = False
    diffusers: bool = False
    block: int | None = None

    @property
    def of_image(self) -> bool:
        """Whether it is for the image branch, which only Wan 2.1's I2V models have."""
        return self.module.endswith("_img") or self.module.startswith("img_emb.")


def read_key(key: str) -> Key:
    """The key taken apart, in whichever layout it is."""
    path, kind, part, adapter = _parted(key)
    prefix = next((each for each in _prefixes if path.startswith(each)), "")
    module, diffusers, block = _found(_flat(path[len(prefix) :]))
    known = bool(module)
    return Key(prefix, module or path, kind, part, adapter, known, diffusers, block)


def _parted(key: str) -> tuple[str, str, str, str]:
    """Module, kind of adapter, part, and the adapter's name if PEFT left it in."""
    if found := _suffix.fullmatch(key):
        return found[1], *_suffixes[found[2]], ""
    if found := _peft.fullmatch(key):
        part = "down" if found[2] == "A" else "up"
        return found[1], "lora_A/B", part, found[3] or ""
    found = _plain.fullmatch(key)
    return (found[1] if found else key), "", "", ""


def _found(flat: str) -> tuple[str, bool, int | None]:
    """Wan's name of a module, whether diffusers' was used, and the block it is in."""
    block = _block.fullmatch(flat)
    if not block:
        return *_known_outer.get(flat, ("", False)), None
    stem = f"{block[1]}.{int(block[2])}"
    if not block[3]:
        return stem, False, int(block[2])
    inner, diffusers = _known_inner.get(block[3], ("", False))
    return f"{stem}.{inner}" if inner else "", diffusers, int(block[2])

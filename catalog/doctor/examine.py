"""Examines a LoRA file by its header: what it is, what it covers, which model it was made for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..detect import detect
from ..header import Header, HeaderError, read_header
from ..paths import is_hidden
from .anatomy import Module, find_modules, find_slips, find_widths, load_alphas
from .diagnosis import Diagnosis, joined, spans

_T = TypeVar("_T")

# Width of a model: its name, width of its feed-forward part, blocks.
_sizes = {5120: ("14B", 13824, 40), 1536: ("1.3B", 8960, 30), 3072: ("5B", 14336, 30)}
# What most of the names begin with or hold, and what that is.
_families = {
    r"(double|single)_blocks|single_transformer_blocks": "Flux or HunyuanVideo",
    r"(down|up|mid|input|middle|output)_blocks?[._]": "Stable Diffusion (1.5 or XL)",
    r"lora_te|text_model|text_encoder": "a text encoder",
    r"transformer_blocks": "another family, such as LTX, SD3 or Qwen-Image",
}
_strangers = {
    r"^model\.diffusion_model\.": "a full model of another family",
    r"^shared$|token_embedding|^encoder\.block\.|text_model|^cond_stage": "a text encoder",
    r"^(\w+\.)*(encoder|decoder|first_stage_model|vae)\.": "a VAE",
}
_core_prefixes = {"diffusion_model.", "lora_unet_", "lora_unet__"}
_parts = {"diff": "weights", "set_weight": "weights", "diff_b": "biases", "diff_m": "modulations"}
_titles = ("ss_output_name", "modelspec.title", "name")
_told = (*_titles, "modelspec.architecture", "ss_base_model_version", "ss_network_module")
_triggers = ("modelspec.trigger_phrase", "trigger_phrase", "trigger_words", "trigger_word")
# LyCORIS' `rs_lora` is left out: the alpha that it stores is scaled already (modules/locon.py).
_rs_lora = re.compile(r'use_rslora"?\s*[:=]\s*"?true', re.IGNORECASE)
_said_alpha = re.compile(r'(?:lora_alpha|ss_network_alpha)"?\s*[:=]\s*"?(\d+(?:\.\d+)?)')


def examine(path: Path) -> Diagnosis:
    """What a file is, however broken. Reads its header and its alphas, never a weight."""
    try:
        header = read_header(path)
        return diagnose(path, header, find_modules(header))
    except HeaderError as error:
        return Diagnosis(path.name, (str(error),))
    except OSError as error:
        return Diagnosis(path.name, (f"{path.name} cannot be read ({error.strerror}).",))


def diagnose(path: Path, header: Header, modules: Sequence[Module]) -> Diagnosis:
    """What a file is that has this sound header, with these modules.

    Raises OSError where its alphas cannot be read.
    """
    adapters = [module for module in modules if module.kind or _differences(module)]
    known = [module for module in adapters if module.key.known]
    if len(known) > len(adapters) / 2:
        return _of_wan(path, header, adapters, known)
    return Diagnosis(path.name, (_stranger(adapters, modules),), size=header.size)


def _of_wan(
    path: Path, header: Header, adapters: Sequence[Module], known: Sequence[Module]
) -> Diagnosis:
    factors = [module for module in known if module.kind]
    alphas = [alpha for alpha in load_alphas(path, header, factors) if alpha is not None]
    blocks = Counter(module.key.block for module in factors if module.key.block is not None)
    told = header.metadata
    return Diagnosis(
        path.name,
        problems=find_slips(known, alphas),
        notes=(*_notes(path, told, known), *_of_scale(told, factors, alphas), *_rest(adapters)),
        size=header.size,
        made_for=_made_for(known),
        role=detect([path.name])[0].role,
        layout=tuple(sorted({_layout(module) for module in factors or known})),
        dtypes=_counted(dtype for module in factors for dtype in sorted(module.dtypes)),
        modules=len(factors),
        ranks=_counted(module.rank for module in factors if module.rank),
        alphas=_counted(alphas),
        alpha_dtypes=tuple(sorted({m.parts["alpha"].dtype for m in factors if "alpha" in m.parts})),
        rs_lora=is_rs_lora(told),
        differences=_counted(part for module in known for part in _differences(module)),
        modules_by_block=dict(sorted(blocks.items())),
        block_count=_size(known)[2],
        missing_on_wan22=sum(module.key.of_image for module in known),
        trigger=_clean(next((told[key] for key in _triggers if key in told), "")),
        tags=_tags(told.get("ss_tag_frequency", "")),
        metadata={key: _clean(told[key]) for key in _told if key in told},
    )


def _counted(values: Iterable[_T]) -> dict[_T, int]:
    return dict(Counter(values).most_common())


def _differences(module: Module) -> list[str]:
    """What a module has of full differences, which need no factors."""
    return [_parts[part] for part in _parts if part in module.parts]


def _stranger(adapters: Sequence[Module], modules: Sequence[Module]) -> str:
    """What a file is that is no LoRA for Wan."""
    names = [module.key.module for module in adapters or modules]
    for pattern, family in (_families if adapters else _strangers).items():
        if sum(bool(re.search(pattern, name)) for name in names) > len(names) / 2:
            of = f"a LoRA for {family}, not for Wan" if adapters else f"{family}, not a LoRA"
            return f"This is {of}."
    if adapters:
        return f"This is a LoRA for a model that is not Wan; it changes {_clean(names[0])}."
    known = sum(module.key.known for module in modules)
    if known > len(modules) / 2:
        return "This is a full model of Wan, not a LoRA. Its place is models/diffusion_models."
    return f"This is not a LoRA: it holds {_clean(names[0])}, and no part of an adapter."


def _size(modules: Sequence[Module]) -> tuple[str, int, int | None]:
    """Name, width and number of blocks of the Wan model that fits; the name is empty for none."""
    widths, feeds = find_widths(modules)
    width = max(widths, key=widths.__getitem__, default=0)
    name, feed, blocks = _sizes.get(width, ("", 0, None))
    return ("", width, None) if feeds.keys() - {feed} else (name, width, blocks)


def _made_for(modules: Sequence[Module]) -> str:
    name, width, _ = _size(modules)
    patch = next((m.sides for m in modules if m.key.module == "patch_embedding"), None)
    task = {16: "T2V", 36: "I2V"}.get(patch[1] if patch else 0)
    if not name:
        wans = joined([str(size) for size in _sizes])
        unlike = f"a model {width} wide, which no Wan is ({wans})" if width else "a Wan model"
        return f"{unlike}; its tensors do not tell more"
    if name != "14B":
        return "Wan 2.1 1.3B" if name == "1.3B" else "Wan 2.2 5B"
    if any(module.key.of_image for module in modules):
        return "Wan 2.1 I2V 14B, as its image branch tells"
    if task:
        return f"Wan {task} 14B, as its patch embedding tells; 2.1 or 2.2 is not told"
    return "Wan 14B; whether 2.1 or 2.2, T2V or I2V, its tensors do not tell"


def _layout(module: Module) -> str:
    names = "names of diffusers" if module.key.diffusers else ""
    adapter = f".{module.key.adapter}" if module.key.adapter else ""
    style = (module.kind or "differences") + adapter + (" with DoRA" * ("dora" in module.parts))
    return " ".join(filter(None, (module.key.prefix or "bare blocks.", names, style)))


def is_rs_lora(metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata say that its scale is alpha / sqrt(rank)."""
    return any(_rs_lora.search(f"{key}={value}") for key, value in metadata.items())


def said_alpha(metadata: Mapping[str, str]) -> float | None:
    """The alpha that stands in a file's metadata."""
    found = filter(None, (_said_alpha.search(f"{k}={v}") for k, v in metadata.items()))
    return next((float(each[1]) for each in found), None)


def _rest(adapters: Sequence[Module]) -> Iterator[str]:
    rest = [module.key.module for module in adapters if not module.key.known]
    if rest:
        yield f"Modules that Wan does not have: {len(rest)}, such as {_clean(rest[0])}."


def _notes(path: Path, told: Mapping[str, str], modules: Sequence[Module]) -> Iterator[str]:
    """What is good to know about the modules of a LoRA for Wan."""
    _, _, count = _size(modules)
    foreign = [m for m in modules if m.key.diffusers or m.key.prefix not in _core_prefixes]
    if foreign:
        yield (
            f"ComfyUI's own LoRA loader knows {len(modules) - len(foreign)} of these "
            f"{len(modules)} keys for Wan, and leaves out the others."
        )
    bare = sum("diff_m" in module.parts for module in modules)
    if bare:
        yield f"ComfyUI's own LoRA loader leaves out the {bare} modulations (.diff_m)."
    blocks = {module.key.block for module in modules}
    gaps = set(range(count or 0)) - blocks
    if gaps and blocks - {None}:
        yield f"Blocks that are not covered: {spans(gaps)}. Few files leave out blocks on purpose."
    yield from _of_name(path, told)


def _of_scale(
    told: Mapping[str, str], modules: Sequence[Module], alphas: Sequence[float]
) -> Iterator[str]:
    said = said_alpha(told)
    if 0 in alphas:
        yield f"Modules of alpha 0, which change nothing: {alphas.count(0)}."
    if is_rs_lora(told):
        yield "Trained as rs-LoRA: its scale is alpha / sqrt(rank). Most loaders take alpha / rank."
    if modules and not alphas and said:
        yield f"An alpha of {said:g} stands only in the metadata, which loaders do not read."
    elif modules and not alphas and modules[0].key.prefix.startswith("lora_unet"):
        yield "Trainers with these names store alphas. Here they are lost: try other strengths."


def _of_name(path: Path, told: Mapping[str, str]) -> Iterator[str]:
    """The role as names in the metadata have it, where that is not what the file's name says."""
    role = detect([path.name])[0].role
    for key in _titles:
        other = detect([told[key]])[0].role if key in told else "unknown"
        if other not in ("unknown", role):
            yield f"Its metadata names it {_clean(told[key])!r}, which says {other}."
            return


def _tags(frequencies: str) -> tuple[str, ...]:
    """The five most frequent captions of the training, as kohya's trainers store them."""
    try:
        counted = Counter[str]()
        for tags in json.loads(frequencies or "{}").values():
            counted.update({str(tag): n for tag, count in tags.items() if (n := int(count)) > 0})
    # int() of what is infinite is an OverflowError.
    except (ValueError, OverflowError, TypeError, AttributeError, RecursionError):
        return ()
    return tuple(_clean(tag) for tag, _ in counted.most_common(5))


def _clean(text: str) -> str:
    """Text of a stranger's file, fit for one line."""
    return "".join(character for character in text if not is_hidden(character))[:100]

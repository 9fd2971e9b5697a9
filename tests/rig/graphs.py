"""API prompts on the tiny models: a dictionary that grows, with references to node outputs."""

from __future__ import annotations

from typing import Any

from rig.tiny_models import IMAGE, name

Link = list[Any]


class Graph(dict[str, dict[str, Any]]):
    """A prompt in API form; `add` returns links to the new node's outputs."""

    def add(self, class_type: str, /, key: str = "", **inputs: Any) -> list[Link]:
        key = key or f"{class_type}-{len(self)}"
        self[key] = {"class_type": class_type, "inputs": inputs}
        return [[key, slot] for slot in range(4)]


def scene(
    high: str = "i2v_high", low: str = "i2v_low", **size: int
) -> tuple[Graph, dict[str, Link]]:
    """Both experts, conditioning and an empty latent, as WanImageToVideo makes them."""
    graph = Graph()
    at = {
        "high": expert(graph, high),
        "low": expert(graph, low),
        "vae": graph.add("VAELoader", vae_name=name("vae"))[0],
    }
    clip = graph.add("CLIPLoader", clip_name=name("text_encoder"), type="wan")[0]
    text = [
        graph.add("CLIPTextEncode", clip=clip, text=words)[0] for words in ("a fox runs", "bad")
    ]
    image = graph.add("LoadImage", image=IMAGE)[0]
    frames: dict[str, Any] = {"width": 64, "height": 64, "length": 9, "batch_size": 1} | size
    at["positive"], at["negative"], at["latent"], _ = graph.add(
        "WanImageToVideo",
        positive=text[0],
        negative=text[1],
        vae=at["vae"],
        start_image=image,
        **frames,
    )
    return graph, at


def expert(graph: Graph, handle: str) -> Link:
    """A tiny expert through the loader that its file needs."""
    if handle.endswith("gguf"):
        return graph.add("UnetLoaderGGUF", unet_name=name(handle))[0]
    return graph.add("UNETLoader", unet_name=name(handle), weight_dtype="default")[0]


def shifted(graph: Graph, model: Link, shift: float) -> Link:
    return graph.add("ModelSamplingSD3", model=model, shift=shift)[0]


def dual(graph: Graph, at: dict[str, Link], **settings: Any) -> tuple[Link, Link]:
    """The dual sampler on a scene; its latent and its schedule."""
    inputs = {
        "model_high": at["high"],
        "model_low": at["low"],
        "positive": at["positive"],
        "negative": at["negative"],
        "latent": at["latent"],
    }
    latent, schedule, *_ = graph.add("SVIProDualSampler", **(inputs | settings))
    return latent, schedule


def core(graph: Graph, at: dict[str, Link], model: Link, **settings: Any) -> Link:
    """One KSampler of ComfyUI on a scene."""
    return graph.add(
        "KSampler",
        model=model,
        positive=at["positive"],
        negative=at["negative"],
        latent_image=at["latent"],
        **({"denoise": 1.0} | settings),
    )[0]


def compare(graph: Graph, key: str, a: Link, b: Link) -> None:
    """A probe node at `key`; its outputs are `difference`, `relative` and `finite`."""
    graph.add("ProbeCompare", key, a=a, b=b)


def error_of(history: dict[str, Any]) -> str:
    """The message of the error that ended a prompt."""
    (error,) = (data for kind, data in history["status"]["messages"] if kind == "execution_error")
    return str(error["exception_message"])

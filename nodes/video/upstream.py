"""What a node is fed with, as one hash: the nodes before it, and the files that they name."""

from __future__ import annotations

import hashlib
import json
import ntpath
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import folder_paths

from ..sampling.replay import Same

Prompt = Mapping[str, Mapping[str, Any]]
Stat = tuple[int, ...]  # bytes, and time of the last change in ns; nothing for no file
# Something that ComfyUI has loaded, and the mark that changes with its patches.
Loaded = tuple[Same, object]

# Of each model file: its size and time, and what was loaded when they were taken.
_first_seen: dict[str, tuple[Stat, Sequence[Loaded]]] = {}


class Upstream(NamedTuple):
    """The sha256 in hex of what a node is made from; `stale` are files that may not be in use."""

    hash: str
    stale: tuple[str, ...]


def marked(things: Iterable[Any]) -> list[Loaded]:
    """Models, text encoders and VAEs of any pack, and what changes with their patches."""
    patchers = [getattr(each, "patcher", each) for each in things if each is not None]
    return [
        (Same(getattr(each, "model", each)), getattr(each, "patches_uuid", None))
        for each in patchers
    ]


def upstream_of(
    prompt: Prompt, node_id: str, inputs: Container[str], loaded: Sequence[Loaded] = ()
) -> Upstream:
    """What the `inputs` of a node are made from, by an API prompt.

    Class types, values and links count, by content, so that ids and other nodes do not; and size
    and time of every file in ComfyUI's model folders or its input folder that a text names. A model
    file counts as it was when all of what is `loaded` was: ComfyUI goes on with what it has when a
    file is replaced. Where only a part was loaded anew since, it counts as both. Raises ValueError
    for a node that is not there.
    """
    if node_id not in prompt:
        raise ValueError(f"The prompt has no node {node_id}.")

    given = prompt[node_id].get("inputs") or {}
    kept = {name: value for name, value in given.items() if name in inputs}
    nodes = {**prompt, node_id: {**prompt[node_id], "inputs": kept}}
    files, hashes = _Files(loaded), dict[str, str]()
    begun: set[str] = set()
    # Not by recursion: a long chain of nodes would be deeper than Python goes.
    waiting = [(node_id, False)]
    while waiting:
        at, fed = waiting.pop()
        if fed:
            feeding = {link: hashes.get(link, "circle") for link in _links(nodes, at)}
            hashes[at] = _hashed(nodes[at], feeding, files)
        elif at not in begun:
            begun.add(at)
            waiting += [(at, True), *((link, False) for link in _links(nodes, at))]
    return Upstream(hashes[node_id], tuple(sorted(files.stale)))


def _links(nodes: Prompt, at: str) -> list[str]:
    """The nodes that feed a node; a link to nowhere is a value like others."""
    inputs = nodes[at].get("inputs") or {}
    return [inputs[name][0] for name in sorted(inputs) if _leads(inputs[name], nodes)]


def _leads(value: Any, nodes: Container[str]) -> bool:
    return _is_link(value) and value[0] in nodes


def _is_link(value: Any) -> bool:
    """As ComfyUI tells a link from a list: [id of a node, number of its output]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
    )


def _hashed(node: Mapping[str, Any], feeding: Mapping[str, str], files: _Files) -> str:
    """The hash of one node; `feeding` has those of the nodes that it is linked to.

    Two nodes that say the same count as one: the same inputs make the same of them.
    """
    said: dict[str, Any] = {}
    for name, value in (node.get("inputs") or {}).items():
        if _leads(value, feeding):
            said[name] = ["link", feeding[value[0]], value[1]]
        else:
            said[name] = ["value", value, [files.stats(text) for text in _texts(value)]]
    text = json.dumps([node.get("class_type"), said], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value; some loaders keep a list of files in one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _texts(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


class _Files:
    """Looks up files by name, each name once."""

    def __init__(self, loaded: Sequence[Loaded]) -> None:
        self._known: dict[str, list[Stat]] = {}
        self._loaded = loaded
        self.stale: set[str] = set()

    def stats(self, name: str) -> list[Stat]:
        """Of each file that a name may mean."""
        if name not in self._known:
            found = dict(_candidates(name)) if _may_name_a_file(name) else {}
            stats = (self._stat(*each) for each in found.items())
            self._known[name] = sorted(filter(None, stats))
        return self._known[name]

    def _stat(self, path: str, is_model: bool) -> Stat:
        now = _stat(path)
        if not (is_model and self._loaded):
            return now
        then, before = _first_seen.get(path, (now, ()))
        still = [each for each in before if each in self._loaded]
        if not still:
            then = now
        elif len(still) < len(before) and then[-len(now) :] != now:
            then += now
        if len(still) < len(before) or not before:
            _first_seen[path] = then, self._loaded
        if then != now:
            self.stale.add(os.path.basename(path))
        return then


def _may_name_a_file(text: str) -> bool:
    """Whether a text could be a name below a folder."""
    elsewhere = text.startswith(("/", "\\")) or ntpath.splitdrive(text)[0]
    return 0 < len(text) <= 1024 and "\n" not in text and not elsewhere


def _candidates(name: str) -> Iterator[tuple[str, bool]]:
    """The paths a name may mean, all below ComfyUI's folders, and whether it is a model's.

    By name alone, as ComfyUI's loaders look: no folder is listed, however many files are in it.
    """
    for kind in list(folder_paths.folder_names_and_paths):
        if path := folder_paths.get_full_path(kind, name):  # takes `..` for nothing at the top
            yield path, True
    name, annotated = folder_paths.annotated_filepath(name)
    folder = os.path.abspath(annotated or folder_paths.get_input_directory())
    path = os.path.abspath(os.path.join(folder, name))
    if path.startswith(os.path.join(folder, "")):
        yield path, False


def _stat(path: str) -> Stat:
    if not os.path.isfile(path):  # of a name with half a character or a NUL too
        return ()
    try:
        stat = os.stat(path)
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns

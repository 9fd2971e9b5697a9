"""High, low or both, and the other half, from file names, when no catalog entry says so."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from .entries import Entry
from .names import Name, read_name, read_tokens
from .pairs import LoraPair, find_pairs
from .paths import checked_file

_Role = Literal["high", "low", "both", "unknown"]

# Halves may differ in these if nothing else can be meant; the higher, the later it is overlooked.
_patience = {"filler": 1, "precision": 1, "copy": 1, "moment": 1, "rank": 2}
_patience |= {"version": 3, "strength": 3, "lead": 3, "epoch": 4}
_foreign = re.compile(r"(?i)vace|animate|phantom|(?<!\d)5b|1\.3b|hunyuan|ltx|flux|qwen|cog")
_fun_inp = re.compile(r"(?i)(?<![a-z])fun(?![a-z]).*inp(?![a-z])")
_kinds = {
    "accelerator": r"lightx2v|distill|(?<!\d)[2-8][-_ ]?steps?(?![a-z])",
    "continuity": r"(?<![a-z])svi(?![a-z])",
    "reward": r"reward|(?<![a-z])hps(?![a-z])",
}


@dataclass(frozen=True)
class Detected:
    """What the name of a file says; `partner` is the other half among the files given."""

    file: str
    role: _Role
    partner: str | None


class _Soft(NamedTuple):
    """A part of a name in which the halves may differ, and where it stands in the stem."""

    patience: int
    text: str
    start: int
    end: int


def detect(files: Iterable[str]) -> tuple[Detected, ...]:
    """Role and partner of each file, in the order given; unknown and None where names leave doubt.

    Names with their folders are all that counts, the disk is not looked at. Partners are mutual,
    and lie in one folder or in two that differ in high and low alone.
    """
    files = tuple(files)
    names = {file: read_name(file) for file in files}
    partners = _partners(names)
    return tuple(
        Detected(file, _told(names[file], file in partners), partners.get(file)) for file in files
    )


def detected_pairs(files: Iterable[str], declared: Collection[str]) -> tuple[LoraPair, ...]:
    """The pairs and halves among files that no catalog entry names.

    One of `declared` without a folder means all files of that name. Ids are unique, and stay while
    the files stay. The base model may be empty. Files that no entry may name are left out.
    """
    known = {each.file: each for each in detect(files)}
    offered = {file: each for file, each in known.items() if _is_offered(each, declared)}
    groups: list[tuple[Detected, ...]] = []
    for each in offered.values():
        partner = offered.get(each.partner or "")
        if partner is None:
            groups.append((each,))
        elif each.role == "high":
            groups.append((each, partner))
    names = {file: read_name(file) for file in offered}
    titles = [_title(*(names[each.file] for each in group)) for group in groups]
    ids = list(map(_slug, titles, groups))
    counts = Counter(ids)
    ids = [f"{i}-{_digest(g)}" if counts[i] > 1 else i for i, g in zip(ids, groups, strict=True)]
    return tuple(
        _pair(group, names[group[0].file], title, pair_id)
        for group, title, pair_id in zip(groups, titles, ids, strict=True)
    )


def _told(name: Name, paired: bool) -> _Role:
    return cast("_Role", name.role) if name.trust + paired > 1 else "unknown"


def _partners(names: Mapping[str, Name]) -> dict[str, str]:
    """Who belongs to whom: from the same words down to those that differ in soft parts alone.

    A group of three is left alone, since nothing says which two of them are meant. Each step looks
    at wider groups, and who has found its partner keeps it.
    """
    halves = (file for file, name in names.items() if name.trust and name.role in ("high", "low"))
    keys = {file: _keys(names[file]) for file in halves}
    partners: dict[str, str] = {}
    for step in range(6):
        groups: dict[object, list[str]] = {}
        for file, steps in keys.items():
            groups.setdefault(steps[step], []).append(file)
        for group in groups.values():
            two = sorted(names[file].role for file in group) == ["high", "low"]
            if two and not partners.keys() & set(group):
                partners |= zip(group, group[::-1], strict=True)
    return partners


def _keys(name: Name) -> tuple[object, ...]:
    said = name.tokens[min(name.cut)].kind if name.cut else ""
    literal = (name.place, name.extension, said, _without(name.stem, _spans(name), "\0"))
    firm, soft = _parted(name)
    return literal, *(
        (name.place, firm, tuple(part[:2] for part in soft if part.patience > step))
        for step in range(5)
    )


def _parted(name: Name) -> tuple[str, list[_Soft]]:
    """What both halves must have alike, in one piece, and the parts in which they may differ."""
    whole, soft = "", []
    for index, token in enumerate(name.tokens):
        if token.kind == "text" and len(token.text) > 2:
            whole += token.text
        elif index in name.cut:
            whole += "" if name.trust > 1 else "*"  # a doubtful word has to stand in the same place
        elif not name.echoes(index):
            kind = "lead" if _leads(index, name) else token.kind
            firm, loose = _split(kind, token.text)
            whole += "~" * (kind == "epoch")  # an unnumbered file is no neighbour of epoch 10
            whole += "_" * (whole[-1:].isdigit() and firm[:1].isdigit()) + firm
            if loose:
                soft.append(_Soft(_patience[kind], loose, token.start + len(firm), token.end))
    return whole, soft


def _leads(index: int, name: Name) -> bool:
    """Whether a token is the 23 of `23High noise`, the epoch at the head of some names."""
    token = name.tokens[index]
    short = index == 0 and token.kind == "number" and len(token.text) < 4
    after = name.tokens[1] if short and 1 in name.cut else token
    return after.kind == "noise" and after.start == token.end


def _split(kind: str, text: str) -> tuple[str, str]:
    """The firm and the soft part of a token, such as v1 and 1 of `v1.1`."""
    if kind == "wan":
        return f"wan2{text[-1]}", ""
    if kind not in _patience and kind != "step":
        return text, ""
    first, *more = re.findall(r"\d+", text) or [""]
    first = first.lstrip("0") or "0"
    if kind == "step":
        return f"step{first}", ""
    if kind == "version" and (first, more) not in (("2", ["1"]), ("2", ["2"])):  # those are Wan's
        return f"v{first}", re.sub(r"( 0+)+$", "", " ".join(["", *more]))
    if kind == "strength":
        return re.split(r"\d", text)[0], " ".join([first, *more])
    if kind == "moment":  # two halves are saved on one day, not in one second
        return text[:8], text[8:]
    if kind == "version":
        return "_".join(["v", first, *more]), ""
    return "", first if kind in ("rank", "epoch") else text


def _is_offered(each: Detected, declared: Collection[str]) -> bool:
    file = _posix(each.file)
    free = file not in declared and file.rpartition("/")[2] not in declared
    try:
        return each.role != "unknown" and free and checked_file(file) == file
    except ValueError:
        return False


def _title(name: Name, other: Name | None = None) -> str:
    """What the names have in common, for eyes; of a name that says nothing more, its folder too."""
    alike = {part[:2] for part in _parted(other or name)[1]}
    spans = _spans(name) + [part[2:] for part in _parted(name)[1] if part[:2] not in alike]
    spans += [token[2:] for index, token in enumerate(name.tokens) if name.echoes(index)]
    words = [_without(name.stem, spans, " ")]
    if name.is_bare:
        words = [folder.replace("\0", " ") for folder in name.place[-1:]] + words
    return (
        re.sub(r"([\s_()\[\]{}-]|(?<=\s)\.|\.(?=\s))+", " ", " ".join(words)).strip(" .,+&")[:150]
        or "LoRA"
    )


def _spans(name: Name) -> list[tuple[int, int]]:
    return [name.tokens[index][2:] for index in name.cut]


def _without(text: str, spans: Iterable[tuple[int, int]], mark: str) -> str:
    for start, end in sorted(set(spans), reverse=True):
        text = f"{text[:start]}{mark}{text[end:]}"
    return text


def _slug(title: str, group: tuple[Detected, ...]) -> str:
    words = re.findall(r"[a-z0-9]+(?:\.[a-z0-9]+)*", title.lower())
    words += [] if title.isascii() else ["lora", _digest(group)]
    words += [group[0].role] if len(group) == 1 else []
    return "-".join(words)[:100]


def _digest(group: tuple[Detected, ...]) -> str:
    return hashlib.sha256(_posix(group[0].file).encode()).hexdigest()[:8]


def _pair(group: tuple[Detected, ...], name: Name, title: str, pair_id: str) -> LoraPair:
    words = " ".join((*name.place, name.stem))
    base_model = _base_model(name, words)
    kind = next((kind for kind, sign in _kinds.items() if re.search(sign, words, re.I)), "")
    suffix = {"high": " High Noise", "low": " Low Noise"}
    entries = [
        Entry(
            name=title + suffix.get(each.role, ""),
            file=_posix(each.file),
            base_model=base_model,
            pair_id=pair_id,
            pair_role=each.role,
            kind=kind,
        )
        for each in group
    ]
    return find_pairs(entries, base_model)[0]


def _base_model(name: Name, words: str) -> str:
    """`wan-i2v-14b` and its like, where the words say it; nothing but Wan 2.2 has two experts."""
    tasks = {"fun-inp"} if _fun_inp.search(words) else _said(name, "task")
    if tasks not in ({"i2v"}, {"t2v"}, {"fun-inp"}) or _foreign.search(words):
        return ""
    old = {text[-1] for text in _said(name, "wan")} == {"1"}
    return f"{'wan2.1' if old else 'wan'}-{tasks.pop()}-14b"


def _said(name: Name, kind: str) -> set[str]:
    """The words of one kind in a name, or else in its folders."""
    found = {token.text for token in name.tokens if token.kind == kind}
    folders = (token for folder in name.place for token in read_tokens(folder))
    return found or {token.text for token in folders if token.kind == kind}


def _posix(file: str) -> str:
    return file.replace("\\", "/")

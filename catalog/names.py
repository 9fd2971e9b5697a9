"""What one file name says: its words, and which pass of Wan 2.2 they put the file on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

_scripts = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_lower = rf"[^\W\d_A-Z{_scripts}]"
_gap = r"[\W_]{0,3}"
# In capitals a word goes on until a hump begins: HIGHRes holds a word, HIGHLIGHT does not.
_end = r"(?=v\d|(?![a-z])(?!(?<=[A-Z])[A-Z](?![a-z])))"
# What is high or low outside of Wan, too: a low angle is a style, and so is a contrast that is low.
_scale = re.compile(
    "angled?|cam|camera|perspective|level|ground|res|resolution|quality|details?|detailed|fps|bits?|"
    "poly|keyed|key|lights?|lighting|lit|contrast|saturation|exposure|brightness|dynamic|range|hem|"
    "speed|motion|movement|energy|intensity|impact|gravity|pressure|temp|temperature|power|pitch|"
    "waist|cut|fi|tier|v?ram|memory|strength|weight|cfg|steps?|rank|slider|size|volume|density|zoom"
)
_moves = ("motion", "zoom")  # LoRAs are often named so: slow_motion_high
_scaled = re.compile(rf"(?!(?:{'|'.join(_moves)})\Z)(?:{_scale.pattern})")
# What such a word has after it or before it in sayings.
_after = re.compile(
    "shots?|views?|heels?|dress|skirt|school|kicks?|jumps?|punch|squat|crouch|dive|wind|fade|elf|to"
)
_before = re.compile("thigh|knee|ankle|shoulder|chest|sky|mile|ultra|super|very|too|so|to|or|vs")
_both = "|".join(
    rf"{one}(?:{_gap}(?i:noise))?{_gap}(?:(?i:and|n){_gap})?{other}"
    for words in (("high", "low"), ("High", "Low"), ("HIGH", "LOW"))
    for one, other in (words, words[::-1])
)
_noise_of_one = rf"(?i:(?:high|low){_gap}noise{_gap}(?:high|low){_gap}(?!noise)[a-z])"
_cjk = "[高低](?:噪[声聲音点點]?|杂讯|雜訊|ノイズ)"
# Each alternative begins where the last word ended and takes bounded looks ahead: linear in time.
_lexer = re.compile(
    rf"""(?P<both>(?!{_noise_of_one})(?:{_both})(?:{_gap}(?i:noise))?{_end})
    |(?P<noise>(?i:hi(?:gh)?|low?|[hl]){_gap}(?i:noise)|{_cjk})
    |(?P<word>(?i:high|low){_end})
    |(?P<short>(?:HN|LN|Hn|Ln|hn|ln)(?![A-Za-z]))
    |(?P<wan>(?i:wan){_gap}(?i:v(?:ideo)?)?{_gap}2[\W_]?[12](?=14[bB]|\D|\Z))
    |(?P<task>(?i:ti2v|[istv]2v|flf2v)(?=[^a-z]|\Z|high|low))
    |(?P<filler>(?:[aA]?14[bB]|(?i:loras?)){_end})
    |(?P<precision>(?i:fp(?:32|16|8|4)|bf16|int[48]|e4m3(?:fn)?|e5m2|q\d_(?:\d|k(?:_[sml])?)){_end})
    |(?P<rank>(?:(?i:rank)[_-]?(?:4|8|16|32|48|64|96|98|128|148|256)|[rR](?:32|64|128))(?![\da-zA-Z]))
    |(?P<version>(?<!\d)[vV][._ ]?\d+(?:\.\d+|_\d(?!\d))*)
    |(?P<epoch>(?i:epochs?|epoc?){_gap}\d+|\d+[ _-]?(?i:epochs?|epoc?){_end}
        |(?<![^\W_])(?<![sS]\d[\W_])(?<![sS]\d\d[\W_])[eE]0*[1-9]\d+(?![a-zA-Z]))
    |(?P<step>(?i:steps?{_gap}\d+|s\d{{3,}}(?![a-z])|\d+[ _-]?steps?){_end})
    |(?P<moment>20\d{{12}}(?!\d))
    |(?P<strength>(?i:rcm)\d{{1,2}}[._]\d{{1,2}}(?!\d))
    |(?P<copy>\(\d{{1,2}}\)\Z)
    |(?P<number>\d+)
    |(?P<text>[{_scripts}]+?(?={_cjk}|[^{_scripts}]|\Z)
        |[A-Z]+?(?=(?<!T)HIGHNOISE|(?<![BFGPSL])LOWNOISE|v\d|[A-Z][a-z]|[^A-Za-z]|\Z)
        |[A-Z]?{_lower}+?(?=(?<!t)highnoise|(?<![bfgpsl])lownoise|v\d|(?!{_lower})))""",
    re.VERBOSE,
)
_technical = re.compile(
    "wan|loras?|lokr|models?|expert|lightning|lightx|kijai|comfy|comfyui|merged?|final|fixed|scaled|"
    "transformer|unet|dit|moe|distill|distilled|noise|version|ver|ep|e|f"
)
_header = ("task", "filler", "precision", "rank", "epoch", "version")
_longer = re.compile("thigh|([bfgps]|be|fol|hol|pil|shal|swal|yel)low")
_sizes = ("clip", "vit", "vision", "yolo", "sam", "hiera", "dino")  # these come in sizes L and H
_extension = re.compile(r"(?i)\.(safetensors|sft|gguf|pth?|ckpt|bin)\Z")


class Token(NamedTuple):
    """A word of a name in small letters, what it is, and where it stands."""

    kind: str
    text: str
    start: int
    end: int


_Tokens = tuple[Token, ...]


class _Mark(NamedTuple):
    """A sign of a role: its weight against others, and how far it counts by itself."""

    at: int
    role: str
    weight: int
    trust: int


@dataclass(frozen=True)
class Name:
    """What a name says. `role` is high, low, both, unknown (it contradicts itself) or empty.

    With `trust` 2 the role counts, with 1 only if the other half is there, with 0 never. `cut` are
    the tokens that say it, `place` the folders with a zero character for what makes them so.
    """

    role: str
    trust: int
    stem: str
    extension: str
    place: tuple[str, ...]
    tokens: _Tokens
    cut: frozenset[int]

    @property
    def is_bare(self) -> bool:
        """Whether the name says nothing but the role, so that its folder has to say what it is."""
        rest = (token for index, token in enumerate(self.tokens) if index not in self.cut)
        return all(token.kind == "text" and _technical.fullmatch(token.text) for token in rest)

    def echoes(self, index: int) -> bool:
        """Whether a token repeats the role in short, as the H of `MuscleMommyH_high_noise` does."""
        before, token, _ = _around(index, self.tokens)
        glued = before.kind == "text" and before.end == token.start
        if token.kind != "short" and (not glued or before.text.startswith(_sizes)):
            return False
        return token.text in (self.role[:1], f"{self.role[:1]}n")


def read_name(file: str) -> Name:
    """Read a relative path, with / or \\ between folders. No disk is touched; any text will do."""
    *folders, base = (unicodedata.normalize("NFKC", part) for part in re.split(r"[/\\]", file))
    base = base.replace("%20", " ")
    stem = _extension.sub("", base)
    tokens = read_tokens(stem)
    role, trust, cut = _role(tokens, stem)
    sides, place = zip(*map(_folder, folders), strict=True) if folders else ((), ())
    said = set(sides) - {""}
    if len(said) > 1 or (said and role and said != {role}):
        role = "unknown"
    elif said:
        role, trust = said.pop(), 2
    return Name(role, trust, stem, base[len(stem) :].lower(), place, tokens, cut)


@lru_cache(maxsize=1024)
def _folder(name: str) -> tuple[str, str]:
    """The role that a folder gives all its files, if any, and its name without that word."""
    role, trust, cut = _role(tokens := read_tokens(name), name)
    if trust < 2 or role not in ("high", "low"):
        return "", name
    for index in sorted(cut, reverse=True):
        name = f"{name[: tokens[index].start]}\0{name[tokens[index].end :]}"
    return role, name


def read_tokens(text: str) -> _Tokens:
    """The words of a name in order; what is between them is no word."""
    return tuple(
        Token(match.lastgroup or "", match[0].lower(), match.start(), match.end())
        for match in _lexer.finditer(text)
    )


def _role(tokens: _Tokens, stem: str) -> tuple[str, int, frozenset[int]]:
    """The role that the strongest mark has, and how far it counts; all other words stay words.

    One mark is cut, or `slider_high_HN` were a half of `slider_low_LN`; of high noise each one is.
    """
    both = frozenset(index for index in range(len(tokens)) if _says_both(index, tokens))
    marks = [mark for mark in _marks(tokens, stem) if mark.at not in both]
    if both:
        return ("unknown" if any(mark.weight > 2 for mark in marks) else "both"), 2, both
    nothing = _Mark(-1, "", 0, 0)
    top = max(marks, key=lambda mark: (mark.weight, mark.trust, mark.at), default=nothing)
    if any(mark.role != top.role and mark.weight >= top.weight - 1 for mark in marks):
        return "unknown", 2, frozenset()
    cut = {mark.at for mark in marks if mark.weight == 6 == top.weight} or {top.at}
    return top.role, top.trust, frozenset(cut if top.trust else ())


def _marks(tokens: _Tokens, stem: str) -> Iterator[_Mark]:
    """The signs of a role in a name; a high low that is no plain "both" speaks against either."""
    content = [i for i, token in enumerate(tokens) if _is_content(token)]
    for index, token in enumerate(tokens):
        role, weight, trust = "high" if token.text[0] in "h高" else "low", 6, 2
        if token.kind == "both":
            role, weight, trust = "unknown", 4, 0
        elif token.kind == "word":
            weight, trust = _weigh_word(index, tokens, stem)
        elif token.kind != "noise":
            weight, trust = _weigh_letters(index, tokens, stem, content)
        start = tokens[index - 1].text if index and tokens[index - 1].end == token.start else ""
        if weight and not (start and _longer.match(start + token.text)):  # as in yelLow
            yield _Mark(index, role, weight, trust)


def _around(index: int, tokens: _Tokens) -> list[Token]:
    """A token between its neighbours, which may be empty."""
    none = Token("", "", 0, 0)
    return [tokens[i] if 0 <= i < len(tokens) else none for i in range(index - 1, index + 2)]


def _is_content(token: Token) -> bool:
    """Whether a token says what the file shows, and may make a saying with the word before it."""
    if token.kind == "text":
        return token.text.isascii() and not _technical.fullmatch(token.text)
    return token.kind in ("word", "both", "noise", "short")


def _weigh_word(index: int, tokens: _Tokens, stem: str) -> tuple[int, int]:
    """How much the word high or low says, by the words beside it."""
    before, token, after = _around(index, tokens)
    if _scale.fullmatch(after.text) or _before.fullmatch(before.text):
        return 0, 0
    scaled = bool(_scaled.fullmatch(before.text))
    around = [before] * scaled + [after] * (after.kind == "text" and _is_content(after))
    loud, *others = (stem[each.start : each.end].isupper() for each in (token, *around))
    if loud and not stem.isupper() and not any(others):
        return 5, 2
    if scaled:
        return 2, 0
    if after.kind == "number" and len(after.text) == 1:  # as in high five
        return 3, 1
    edges = stem[token.start - 1 : token.start] + stem[token.end : token.end + 1]
    if not _is_content(after) or edges in ("()", "[]", "{}", "【】"):
        return 4, 1 if before.text in _moves else 2
    return 3, int(before.kind in _header and not _after.fullmatch(after.text))


def _weigh_letters(index: int, tokens: _Tokens, stem: str, content: list[int]) -> tuple[int, int]:
    """What H, L, HN and LN say: little without the other half, unless there is no other word."""
    before, token, after = _around(index, tokens)
    if token.kind == "short" and stem[token.start : token.end].isupper():
        return 5, 2 if content == [index] else 1
    glued = (index and before.end == token.start) or (after.kind and after.start == token.end)
    letter = (
        token.text in ("h", "l", "高", "低") and not glued and not before.text.startswith(_sizes)
    )
    said = (letter or token.kind == "short") and not _scaled.fullmatch(before.text)
    return (3, int(not content or content[-1] <= index)) if said else (0, 0)


def _says_both(index: int, tokens: _Tokens) -> bool:
    """high_low where it ends a name or is joined, or the word both at the end of a name."""
    before, token, after = _around(index, tokens)
    if token.kind == "both":
        noises = token.text.count("noise")
        joined = noises > 1 or re.search(r"[+&]|[\W_](and|n)[\W_]", token.text)
        # kick_high_low_noise may be the low half of kick_high, and high_noise_low is neither.
        once = noises == 1 and (_is_content(before) or not token.text.endswith("noise"))
        said = bool(joined) or (token.text[0] == "h" and not once)
        return said and not (_is_content(after) or _scale.fullmatch(before.text))
    if token.text != "both" or after.kind:
        return token.text == "both" and after.text in ("noise", "noises", "models", "experts")
    return len({each.text for each in tokens if each.kind == "task"}) < 2

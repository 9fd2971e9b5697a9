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
# What is high or low outside of Wan, too: a low angle shot is a style, no pass.
_scales = (
    "angled?|shots?|views?|cam|camera|perspective|level|ground|altitude|res|resolution|rez|dpi|def|"
    "definition|quality|details?|detailed|fidelity|fps|frame|framerate|bits?|bitrate|poly|keyed|key|"
    "lights?|lighting|lit|contrast|saturat(?:ed|ion)|exposure|brightness|dynamic|range|iso|shutter|"
    "speed|motion|movement|energy|intensity|impact|gravity|pressure|temp|temperature|power|pitch|"
    "freq|frequency|beam|heels?|heeled|rise|waist|waisted|cut|neck|neckline|collar|ponytails?|bun|"
    "pigtails?|twintails?|tails?|dress|skirt|hem|tops?|tide|fi|end|budget|cost|tier|profile|v?ram|"
    r"mem|memory|strength|weight|cfg(?!\W?_?step)|steps?(?!\W?_?\d)|rank(?!\W?_?\d)|to|or|vs"
)
_role_end = rf"{_end}(?!{_gap}(?i:{_scales}){_end})"
_both = "|".join(
    rf"{one}(?:{_gap}(?i:noise))?{_gap}(?:(?i:and|n){_gap})?{other}"
    for words in (("high", "low"), ("High", "Low"), ("HIGH", "LOW"))
    for one, other in (words, words[::-1])
)
_cjk = "[高低](?:噪[声聲音点點]?|杂讯|雜訊|ノイズ)"
# Each alternative begins where the last word ended and takes bounded looks ahead: linear in time.
_lexer = re.compile(
    rf"""(?P<both>(?:{_both})(?:{_gap}(?i:noise))?{_role_end})
    |(?P<noise>(?i:hi(?:gh)?|low?|[hl]){_gap}(?i:noise)|{_cjk})
    |(?P<word>(?i:high|low){_role_end})
    |(?P<short>(?:HN|LN|Hn|Ln|hn|ln)(?![A-Za-z]))
    |(?P<wan>(?i:wan){_gap}(?i:v(?:ideo)?)?{_gap}2[\W_]?[12](?=14[bB]|\D|\Z))
    |(?P<task>(?i:ti2v|[istv]2v|flf2v)(?=[^a-z]|\Z|high|low))
    |(?P<filler>(?:[aA]?14[bB]|(?i:loras?)){_end})
    |(?P<precision>(?i:fp(?:32|16|8|4)|bf16|f16|int[48]|e4m3(?:fn)?|e5m2|scaled|
        q\d(?:_(?:\d|k(?:_[sml])?))?){_end})
    |(?P<rank>(?i:rank|dim|alpha){_gap}\d+|[rR](?:8|16|32|64|96|128|256)(?![\da-zA-Z]))
    |(?P<version>(?<!\d)[vV][._ ]?\d+(?:\.\d+|_\d(?!\d))*)
    |(?P<epoch>(?i:epochs?|epoc?|ep){_gap}\d+|(?<![^\W_])[eE]\d+(?![a-zA-Z])
        |\d+[ _-]?(?i:epochs?|epoc?|ep){_end})
    |(?P<step>(?i:steps?{_gap}\d+|s\d{{3,}}(?![a-z])|\d+[ _-]?steps?){_end})
    |(?P<moment>20\d{{12}}(?!\d))
    |(?P<strength>(?i:rcm|x|str|strength)\d{{1,2}}[._]\d{{1,2}}(?!\d))
    |(?P<copy>\(\d{{1,2}}\)\Z)
    |(?P<number>\d+)
    |(?P<text>[{_scripts}]+?(?={_cjk}|[^{_scripts}]|\Z)
        |[A-Z]+?(?=(?<!T)HIGHNOISE|(?<![BFGPSL])LOWNOISE|v\d|[A-Z][a-z]|[^A-Za-z]|\Z)
        |[A-Z]?{_lower}+?(?=(?<!t)highnoise|(?<![bfgpsl])lownoise|v\d|(?!{_lower})))""",
    re.VERBOSE,
)
_technical = re.compile(
    "wan|loras?|lokr|models?|expert|lightning|lightx|kijai|comfy|comfyui|merged|final|fixed|"
    "transformer|unet|dit|moe|distill|distilled|noise"
)
# Sayings that exist for one side alone: such a word needs the other half as its witness.
_sayings = re.compile(
    "school|five|fashion|fantasy|elf|elves|priest|priestess|tower|tech|kicks?|jumps?|knees?|boots|"
    "socks|stockings|chair|roller|noon|tea|society|court|king|queen|road|way|riders?|riding|life|"
    "octane|lands?|street|class|gloss|value|risk|stakes|pass"
)
_before = re.compile(
    "thigh|knee|ankle|waist|shoulder|chest|sky|mile|ultra|super|very|too|so|extra|get|gets|getting|"
    "aim|fly|flying|junior|senior|to|or|vs|how|swing|lay|all"
)
_longer = re.compile("thigh|([bfgps]|be|fol|hol|pil|shal|swal|yel)low")
_sizes = ("clip", "vit", "vision", "yolo", "sam", "hiera", "dino")  # these come in sizes L and H
_extension = re.compile(r"(?i)\.(safetensors|sft|gguf|pth?|ckpt|bin)\Z")
_wan = re.compile(r"(?i)(?<![a-z])(?:svi|wan(?![\W_]?v?[\W_]?2[\W_]?1(?!\d)))|[it]2v")


class Token(NamedTuple):
    """A word of a name in small letters, what it is, and where it stands."""

    kind: str
    text: str
    start: int
    end: int


class _Mark(NamedTuple):
    """A sign of a role: 4 is plain, 3 plain where it stands, 2 doubtful, 1 likely a mere saying."""

    at: int
    role: str
    weight: int


@dataclass(frozen=True)
class Name:
    """What a name says. `role` is high, low, both, unknown (it contradicts itself) or empty.

    Where it is not `sure`, the role counts only if the other half is there. `cut` are the tokens
    that say it. `place` are the folders, with a zero character for what makes them high or low.
    """

    role: str
    sure: bool
    stem: str
    extension: str
    place: tuple[str, ...]
    tokens: tuple[Token, ...]
    cut: frozenset[int]

    @property
    def is_bare(self) -> bool:
        """Whether the name says nothing but the role, so that its folder has to say what it is."""
        rest = (token for index, token in enumerate(self.tokens) if index not in self.cut)
        return all(token.kind == "text" and _technical.fullmatch(token.text) for token in rest)

    def echoes(self, index: int) -> bool:
        """Whether a token repeats the role in short, as the H of `MuscleMommyH_high_noise` does."""
        token, before = self.tokens[index], self.tokens[index - 1] if index else None
        if token.kind not in ("text", "short") or _is_size(index, self.tokens):
            return False
        fits = before is None or before.kind == "text" or before.end < token.start
        return fits and token.text in (self.role[:1], f"{self.role[:1]}n")


def read_name(file: str) -> Name:
    """Read a relative path, with / or \\ between folders. No disk is touched; any text will do."""
    *folders, base = (unicodedata.normalize("NFKC", part) for part in re.split(r"[/\\]", file))
    base = base.replace("%20", " ")
    stem = _extension.sub("", base)
    tokens = read_tokens(stem)
    role, sure, cut = _role(tokens, stem, bool(_wan.search(file)))
    sides, place = zip(*map(_folder, folders), strict=True) if folders else ((), ())
    said = set(sides) - {""}
    if len(said) > 1 or (said and role and said != {role}):
        role = "unknown"
    elif said:
        role, sure = said.pop(), True
    return Name(role, sure, stem, base[len(stem) :].lower(), place, tokens, cut)


@lru_cache(maxsize=1024)
def _folder(name: str) -> tuple[str, str]:
    """The role that a folder gives all its files, if any, and its name without that word."""
    tokens = read_tokens(name)
    role, sure, cut = _role(tokens, name, hinted=False)
    if not sure or role not in ("high", "low"):
        return "", name
    for index in sorted(cut, reverse=True):
        name = f"{name[: tokens[index].start]}\0{name[tokens[index].end :]}"
    return role, name


def read_tokens(text: str) -> tuple[Token, ...]:
    """The words of a name in order; what is between them is no word."""
    return tuple(
        Token(match.lastgroup or "", match[0].lower(), match.start(), match.end())
        for match in _lexer.finditer(text)
    )


def _role(tokens: tuple[Token, ...], stem: str, hinted: bool) -> tuple[str, bool, frozenset[int]]:
    marks = list(_marks(tokens, stem, hinted))
    both = {index for index, token in enumerate(tokens) if _says_both(index, tokens)}
    if both:
        clear = all(mark.weight == 1 for mark in marks)
        return ("both" if clear else "unknown"), True, frozenset(both)
    if not marks:
        return "", False, frozenset()
    top = max(mark.weight for mark in marks)
    role = next(mark.role for mark in marks if mark.weight == top)
    cut = {mark.at for mark in marks if mark.weight == top and mark.role == role}
    for index, other, weight in marks:
        beside = {index - 1, index + 1} & cut
        if other != role and (weight >= top - 1 or beside):
            return "unknown", True, frozenset()
    return role, top > 2, frozenset(cut)


def _marks(tokens: tuple[Token, ...], stem: str, hinted: bool) -> Iterator[_Mark]:
    for index, token in enumerate(tokens):
        word = stem[token.start : token.end]
        if token.kind == "word":
            weight = _word_weight(index, tokens, stem)
        elif token.kind == "short":
            weight = 3 if hinted or word.isupper() else 2
        else:
            weight = 4 if token.kind == "noise" else _letter_weight(index, tokens, hinted)
        if weight and not (index and _goes_on(tokens[index - 1], token)):
            yield _Mark(index, "high" if token.text[0] in "h高" else "low", weight)


def _goes_on(before: Token, token: Token) -> bool:
    """Whether a capital stands within a word, as in yelLow."""
    return before.end == token.start and bool(_longer.match(before.text + token.text))


def _word_weight(index: int, tokens: tuple[Token, ...], stem: str) -> int:
    token = tokens[index]
    before = tokens[index - 1] if index else Token("", "", 0, 0)
    after = tokens[index + 1] if index + 1 < len(tokens) else Token("end", "", 0, 0)
    if _before.fullmatch(before.text):
        return 0
    if after.kind != "text" and not after.text.startswith(("rank_", "rank ", "rank-")):
        return 3
    if _technical.fullmatch(after.text):
        return 3
    if _sayings.fullmatch(after.text):
        return 1
    around = stem[token.start - 1 : token.start] + stem[token.end : token.end + 1]
    loud = stem[token.start : token.end].isupper() and not stem.isupper()
    technical = before.kind not in ("", "text", "number") or _technical.fullmatch(before.text)
    return 3 if technical or loud or around in ("()", "[]", "{}", "【】") else 2


def _letter_weight(index: int, tokens: tuple[Token, ...], hinted: bool) -> int:
    """A lone H or L says something at the end of a name that speaks of Wan, or beside its twin."""
    token = tokens[index]
    if token.kind != "text" or token.text not in ("h", "l", "高", "低") or _is_size(index, tokens):
        return 0
    later = range(index + 1, len(tokens))
    if (index and tokens[index - 1].end == token.start) or (
        later and tokens[index + 1].start == token.end
    ):
        return 0
    final = all(tokens[i].kind != "text" or _technical.fullmatch(tokens[i].text) for i in later)
    return 3 if hinted and final else 2


def _is_size(index: int, tokens: tuple[Token, ...]) -> bool:
    return index > 0 and tokens[index - 1].text.startswith(_sizes)


def _says_both(index: int, tokens: tuple[Token, ...]) -> bool:
    """high_low, or the word both at the end of a name that is not about image and text."""
    if tokens[index].kind == "both" or tokens[index].text != "both":
        return tokens[index].kind == "both"
    if index + 1 < len(tokens):
        return tokens[index + 1].text in ("noise", "noises", "models", "experts", "passes")
    return len({token.text for token in tokens if token.kind == "task"}) < 2

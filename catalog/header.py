"""The header of a safetensors file, checked more strictly than by those who will load it."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

_most_bytes = 16 * 1024 * 1024
_most_tensors = 100_000
_most_dimensions = 8
_longest_name = 512
_largest = 2**60
_half = re.compile("[\ud800-\udfff]")
_again = "download it again"
_not_safetensors = "get the .safetensors file instead"

# Bytes of one value. Formats of less than a byte are left out: no loader takes them in a LoRA.
_bytes = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}
# How files begin that people take for safetensors: code, what it is, what to do.
_others = (
    (b"<", "WEB_PAGE", "is a web page, often a login page, saved under this name", _again),
    (b'{"', "ERROR_PAGE", "is a server's message, saved under this name", _again),
    (b"version https://git-lfs", "LFS_POINTER", "is a git-lfs pointer, not the file", _again),
    (b"PK\x03\x04", "TORCH_ZIP", "is a torch file (.pt, .ckpt), not safetensors", _not_safetensors),
    (b"\x80\x02", "TORCH_OLD", "is an old torch file, not safetensors", _not_safetensors),
    (b"GGUF", "GGUF", "is a GGUF file, not safetensors", _not_safetensors),
)


class HeaderError(ValueError):
    """A file that is no sound safetensors file; one sentence with its name, and a `code`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header has it; `start` and `end` are bytes, from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """All that a file says of itself: tensors in the order of the file, and its `size` in bytes.

    `data` is where the tensors begin, in bytes from the start of the file.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    size: int
    data: int


class _Slip(Exception):
    """A code, what is wrong with the file, and what to do."""


def read_header(path: Path) -> Header:
    """The header of a file, of which nothing else is read. Raises HeaderError.

    Refuses all that the safetensors library refuses (its format page), and beyond that keys that
    stand twice, files without tensors, and what is larger than a LoRA can be.
    """
    try:
        size, text = _load(path)
        return _parsed(size, text)
    except _Slip as slip:
        code, what, remedy = slip.args
        raise HeaderError(code, f"{path.name} {what}; {remedy}.") from None
    except OSError as error:
        why = f"{path.name} cannot be read ({error.strerror or error}); check its place."
        raise HeaderError("UNREADABLE", why) from error


def _fail(code: str, what: str, remedy: str = _again) -> NoReturn:
    raise _Slip(code, what, remedy)


def _load(path: Path) -> tuple[int, bytes]:
    """The size of the file, and its header as it stands there."""
    # Before opening: whoever opens a named pipe waits for a writer.
    if not stat.S_ISREG(path.stat().st_mode):
        _fail("NOT_A_FILE", "is a folder or a device, not a file", "name the file itself")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = _length(size, file.read(64))
        file.seek(8)
        return size, file.read(length)


def _length(size: int, begin: bytes) -> int:
    """How long the header is, after a look at how the file begins."""
    if not size:
        _fail("EMPTY", "is empty")
    length = int.from_bytes(begin[:8], "little")
    if size >= 8 and 2 <= length <= _most_bytes:
        if length > size - 8:
            what = f"is incomplete: {size:,} bytes, and its header alone has {length:,}"
            _fail("TRUNCATED", what)
        return length
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n\t ").lower()
    for start, code, what, remedy in _others:
        if text.startswith(start.lower()):
            _fail(code, what, remedy)
    if size < 8:
        _fail("SHORT", f"has only {size} bytes")
    _fail("HEADER_LEN", "does not begin like a safetensors file", _not_safetensors)


def _parsed(size: int, text: bytes) -> Header:
    top = _json(text)
    metadata = top.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _fail("META", "has metadata that are no texts")
    if any(map(_half.search, (*metadata, *metadata.values()))):
        _fail("SURROGATE", "has half a character in its metadata")
    if not 0 < len(top) <= _most_tensors:
        code = "TOO_MANY" if top else "NO_TENSORS"
        _fail(code, f"holds {len(top):,} tensors, not 1 to {_most_tensors:,}")
    tensors = {name: _tensor(name, info) for name, info in top.items()}
    _check_spans(tensors, size, 8 + len(text))
    return Header(MappingProxyType(tensors), MappingProxyType(metadata), size, 8 + len(text))


def _json(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        _fail("NOT_OBJECT", "has no object in curly brackets for a header")
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_once, parse_int=_integer, parse_constant=_constant
        )
    except UnicodeDecodeError:
        _fail("UTF8", "has a header that is not UTF-8")
    except (json.JSONDecodeError, RecursionError):
        _fail("JSON", "has a header that is not JSON")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        _fail("DUP_KEY", f"names {twice!r:.80} twice in its header")
    return value


def _integer(literal: str) -> int:
    # The library takes no sign, not even that of -0. No size has 20 digits.
    return int(literal) if literal[0] != "-" and len(literal) < 20 else -1


def _constant(literal: str) -> NoReturn:
    _fail("NAN_LITERAL", f"has {literal} in its header, which is no number")


def _tensor(name: str, info: Any) -> Tensor:
    if not 0 < len(name) <= _longest_name or not name.isprintable():
        _fail("NAME", f"names a tensor {name!r:.80}, not 1 to {_longest_name} visible characters")
    if not isinstance(info, dict) or info.keys() != {"dtype", "shape", "data_offsets"}:
        _fail("INFO", f"says of {name!r:.80} something else than dtype, shape and data_offsets")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _bytes:
        _fail("DTYPE", f"has {name!r:.80} as {dtype!r:.20}, which no LoRA is made of")
    if not _are_sizes(shape) or len(shape) > _most_dimensions:
        _fail("SHAPE", f"gives {name!r:.80} the shape {shape!r:.80}, which none can have")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _fail("OFFSET", f"has {name!r:.80} at {offsets!r:.80}, which is no place")
    span = offsets[1] - offsets[0]
    if _span(name, dtype, shape) != span:
        _fail("SIZE", f"has {span:,} bytes for {name!r:.80} of shape {shape} in {dtype}")
    return Tensor(dtype, tuple(shape), *offsets)


def _are_sizes(value: Any) -> bool:
    # A bool would pass isinstance as an int.
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _span(name: str, dtype: str, shape: list[int]) -> int:
    """How many bytes a tensor takes."""
    span = _bytes[dtype]
    for size in shape:
        span *= size
        # Step by step as the library multiplies: a zero at the end does not undo an overflow.
        if span > _largest:
            _fail("OVERFLOW", f"gives {name!r:.80} the shape {shape}, more than any disk holds")
    return span


def _check_spans(tensors: Mapping[str, Tensor], size: int, data: int) -> None:
    """No bytes without a tensor, none with two: who hides something needs such a place."""
    end = 0
    for name, start, stop in _spans(tensors):
        if start != end:
            what = "a gap before" if start > end else "an overlap at"
            _fail("HOLE_OR_OVERLAP", f"has {what} {name!r:.80}")
        end = stop
    if data + end > size:
        _fail("TRUNCATED", f"is incomplete: {size:,} bytes, and its header needs {data + end:,}")
    if data + end < size:
        _fail("TRAILING", f"has {size - data - end:,} bytes more than its header speaks of")


def _spans(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, int, int]]:
    places = sorted((each.start, each.end, name) for name, each in tensors.items())
    return ((name, start, end) for start, end, name in places)

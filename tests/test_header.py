"""The header of a safetensors file: what is refused, with which code, and that no more is read."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from pack.catalog.header import HeaderError, Tensor, read_header

KEY = "diffusion_model.blocks.0.ffn.0.lora_down.weight"


def pack(header: object, data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    """A file with this header, as text, bytes or what becomes JSON."""
    text = header if isinstance(header, (str, bytes)) else json.dumps(header)
    raw = text.encode() if isinstance(text, str) else text
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def info(**changes: Any) -> dict[str, Any]:
    """What a header says of a tensor of 16 bytes."""
    return {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes


def one(name: str = KEY, **changes: Any) -> bytes:
    return pack({name: info(**changes)})


def written(folder: Path, content: bytes) -> Path:
    path = folder / "my.safetensors"
    path.write_bytes(content)
    return path


def many(count: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return pack(dict.fromkeys(map(str, range(count)), empty), b"")


GOOD = one()
TEXT = GOOD[8:-16].decode()
BAD: dict[str, tuple[str, bytes]] = {
    # What people save in the place of a LoRA.
    "empty file": ("EMPTY", b""),
    "web page": ("WEB_PAGE", b"<!DOCTYPE html><html><body>Sign in</body></html>"),
    "web page after blanks": ("WEB_PAGE", b"\xef\xbb\xbf\n  <HTML><body>Sign in</body></html>"),
    "server's message": ("ERROR_PAGE", b'{"error":"Access to model is restricted"}'),
    "git-lfs pointer": ("LFS_POINTER", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
    "torch zip": ("TORCH_ZIP", b"PK\x03\x04" + b"\0" * 100),
    "old torch": ("TORCH_OLD", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P"),
    "gguf": ("GGUF", b"GGUF\x03\0\0\0" + b"\0" * 100),
    "short": ("SHORT", b"Not here"[:7]),
    "other text": ("HEADER_LEN", b"Entry not found"),
    # The length, and what it covers.
    "length 0": ("HEADER_LEN", pack("{}", length=0)),
    "length beyond the limit": ("HEADER_LEN", pack(TEXT, length=100_000_001)),
    "length of all ones": ("HEADER_LEN", b"\xff" * 64),
    "cut in the header": ("TRUNCATED", GOOD[:40]),
    "cut in the data": ("TRUNCATED", GOOD[:-1]),
    "bytes at the end": ("TRAILING", GOOD + b"\0"),
    "length one less": ("JSON", pack(TEXT, length=len(TEXT) - 1)),
    # The text.
    "not UTF-8": ("UTF8", pack(TEXT.encode().replace(b"blocks", b"bl\xffcks"))),
    "not JSON": ("JSON", pack(TEXT[:-1] + ",}")),
    "too deep": ("JSON", pack('{"a":' * 100_000 + "1" + "}" * 100_000)),
    "list": ("NOT_OBJECT", pack("[]")),
    "blank before": ("NOT_OBJECT", pack(" " + TEXT)),
    "key twice": ("DUP_KEY", pack(TEXT[:-1] + "," + TEXT[1:])),
    "field twice": ("DUP_KEY", pack(TEXT.replace('"dtype"', '"dtype": "F16", "dtype"'))),
    "NaN": ("NAN_LITERAL", pack(TEXT.replace("16]", "NaN]"))),
    "metadata of numbers": ("META", pack({"__metadata__": {"a": 1}, KEY: info()})),
    "metadata of nothing": ("META", pack({"__metadata__": None, KEY: info()})),
    "half a character": ("SURROGATE", pack({"__metadata__": {"a": "\ud800"}, KEY: info()})),
    # The tensors.
    "no tensors": ("NO_TENSORS", pack({"__metadata__": {"a": "b"}}, b"")),
    "200,000 tensors": ("TOO_MANY", many(200_000)),
    "long name": ("NAME", one("x" * 513)),
    "no name": ("NAME", one("")),
    "half a character in a name": ("NAME", one("x\ud800")),
    "bidirectional name": ("NAME", one("x\u202ey")),
    "no object": ("INFO", pack({KEY: 5})),
    "field missing": ("INFO", pack({KEY: {"dtype": "F32", "shape": [2, 2]}})),
    "field too many": ("INFO", one(hidden="x")),
    "unknown dtype": ("DTYPE", one(dtype="F128")),
    "packed dtype": ("DTYPE", one(dtype="F4", shape=[32])),
    "dtype in lower case": ("DTYPE", one(dtype="f32")),
    "dtype as a list": ("DTYPE", one(dtype=["F32"])),
    "negative size": ("SHAPE", one(shape=[-2, -2])),
    "size as float": ("SHAPE", pack(TEXT.replace("[2, 2]", "[2.0, 2]"))),
    "size true": ("SHAPE", one(shape=[True, 4])),
    "shape as a number": ("SHAPE", one(shape=4)),
    "9 dimensions": ("SHAPE", one(shape=[1] * 7 + [2, 2])),
    "size of 400 digits": ("SHAPE", pack(TEXT.replace("[2, 2]", f"[{'9' * 400}, 2]"))),
    "more than 64 bits": ("OVERFLOW", one(shape=[2**31, 2**31, 2**31])),
    "more than 64 bits, then none": ("OVERFLOW", one(shape=[2**40, 2**40, 0])),
    "wrong size": ("SIZE", one(shape=[2, 3])),
    "empty span, 4 GB shape": (
        "SIZE",
        pack({KEY: info(shape=[2**15, 2**15], data_offsets=[0, 0])}),
    ),
    "negative offset": ("OFFSET", one(data_offsets=[-16, 0])),
    "minus zero": ("OFFSET", pack(TEXT.replace("[0, 16]", "[-0, 16]"))),
    "offsets swapped": ("OFFSET", one(data_offsets=[16, 0])),
    "three offsets": ("OFFSET", one(data_offsets=[0, 8, 16])),
    "hole before": ("HOLE_OR_OVERLAP", pack({KEY: info(data_offsets=[4, 20])}, b"\0" * 20)),
    "hole between": (
        "HOLE_OR_OVERLAP",
        pack({KEY: info(), "b": info(data_offsets=[20, 36])}, b"\0" * 36),
    ),
    "overlap": (
        "HOLE_OR_OVERLAP",
        pack({KEY: info(), "b": info(data_offsets=[8, 24])}, b"\0" * 24),
    ),
    "two views of one": ("HOLE_OR_OVERLAP", pack({KEY: info(), "b": info()})),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_with_its_code_name_and_remedy(tmp_path: Path, kind: str) -> None:
    code, content = BAD[kind]
    with pytest.raises(HeaderError) as caught:
        read_header(written(tmp_path, content))
    assert caught.value.code == code
    text = str(caught.value)
    assert text.startswith("my.safetensors ")
    assert text.endswith(("; download it again.", "; get the .safetensors file instead."))
    assert len(text) < 250


STRICTER = {"key twice", "packed dtype", "no tensors", "200,000 tensors"} | {
    *("length beyond the limit", "metadata of nothing", "long name", "no name", "9 dimensions"),
    *("bidirectional name", "field too many", "blank before"),
}


def refused_by_the_library(path: Path) -> bool:
    try:
        with safe_open(path, "numpy"):
            return False
    except (SafetensorError, OSError):
        return True


@pytest.mark.parametrize("kind", sorted(BAD.keys() - STRICTER))
def test_the_library_refuses_it_too(tmp_path: Path, kind: str) -> None:
    """So that each row stands for a fault that is known as one, but for those named above."""
    assert refused_by_the_library(written(tmp_path, BAD[kind][1]))


def test_a_good_file_is_told_in_full(tmp_path: Path) -> None:
    tensors = {"b": info(data_offsets=[16, 32]), KEY: info(), "alpha": info(shape=[], dtype="F16")}
    tensors["alpha"]["data_offsets"] = [32, 34]
    content = pack({"__metadata__": {"format": "pt"}} | tensors, b"\0" * 34)
    header = read_header(written(tmp_path, content))
    assert list(header.tensors.items()) == [
        ("b", Tensor("F32", (2, 2), 16, 32)),
        (KEY, Tensor("F32", (2, 2), 0, 16)),
        ("alpha", Tensor("F16", (), 32, 34)),
    ]
    assert header.metadata == {"format": "pt"}
    assert (header.size, header.data) == (len(content), len(content) - 34)
    with pytest.raises(TypeError):
        header.tensors["x"] = header.tensors["b"]  # type: ignore[index]


@pytest.mark.parametrize(
    "content",
    [
        pack(TEXT + " " * 9),
        one("ä b/[1]"),
        pack({KEY: info(shape=[0, 5], data_offsets=[0, 0])}, b""),
        pack({"a": info(shape=[0], data_offsets=[0, 0]), KEY: info()}),
        # Its length is 0x3c, which is `<` as a character.
        pack(json.dumps({"a": info()}).ljust(0x3C + 256)),
    ],
)
def test_what_is_unusual_but_sound_is_read(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    assert read_header(path).tensors
    assert not refused_by_the_library(path)


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "UNREADABLE"),
    "folder": (lambda path: path.mkdir(), "NOT_A_FILE"),
    "pipe": (lambda path: os.mkfifo(path), "NOT_A_FILE"),
    "loop": (lambda path: path.symlink_to(path), "UNREADABLE"),
}


@pytest.mark.skipif(os.name == "nt", reason="files of these kinds are POSIX")
@pytest.mark.parametrize("kind", PLACES)
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    make, code = PLACES[kind]
    path = tmp_path / "my.safetensors"
    make(path)
    with pytest.raises(HeaderError, match=r"^my\.safetensors ") as caught:
        read_header(path)
    assert caught.value.code == code


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux to count bytes")
def test_of_two_gigabytes_only_the_header_is_read(tmp_path: Path) -> None:
    blocks, size = 400, 2**31 // 400 // 4 * 4
    places = ([at * size, (at + 1) * size] for at in range(blocks))
    header = {f"{KEY}.{at}": info(shape=[size // 4], data_offsets=p) for at, p in enumerate(places)}
    content = pack(header, b"")
    path = written(tmp_path, content)
    os.truncate(path, len(content) + blocks * size)
    before = bytes_read()
    assert len(read_header(path).tensors) == blocks
    assert bytes_read() - before < len(content) + 20_000


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_two_thousand_tensors_take_no_time_to_speak_of(tmp_path: Path) -> None:
    path = written(tmp_path, many(2000))
    assert quickest(lambda: read_header(path)) < 0.5  # 10 ms alone on a slow machine


def quickest(run: Callable[[], object]) -> float:
    """Seconds of the CPU, of the quickest of five: whatever else is going on."""
    seconds = []
    for _ in range(5):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)


SIZES = st.one_of(st.integers(0, 5), st.sampled_from([-1, True, 1.0, 2**31, 2**63, 10**30, None]))
INFOS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F8_E4M3", "I64", "BOOL", "F4", "X", 1]),
        "shape": st.lists(SIZES, max_size=3),
        "data_offsets": st.lists(SIZES, min_size=2, max_size=2),
    },
    optional={"more": st.none()},
)
# By the rule, so that many files are sound: tensor after tensor, no gap.
SOUND = st.lists(
    st.tuples(st.text(min_size=1, max_size=8), st.lists(st.integers(0, 3), max_size=3)),
    min_size=1,
    max_size=4,
    unique_by=lambda each: each[0],
)


def in_a_row(shapes: list[tuple[str, list[int]]]) -> tuple[dict[str, Any], bytes]:
    tensors, end = {}, 0
    for name, shape in shapes:
        span = 2
        for size in shape:
            span *= size
        tensors[name] = info(dtype="F16", shape=shape, data_offsets=[end, end + span])
        end += span
    return tensors, b"\0" * end


HEADERS = st.one_of(
    SOUND.map(in_a_row).map(lambda made: pack(*made)),
    st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), INFOS, max_size=3).map(pack),
    st.binary(max_size=40),
)


@settings(max_examples=400, deadline=None)
@given(HEADERS, st.data())
def test_nothing_that_is_accepted_is_refused_by_the_library(
    raw: bytes, data: st.DataObject
) -> None:
    """Over sound files, wrong ones, and both with a byte changed or a piece cut or doubled."""
    cut = data.draw(st.integers(0, len(raw)))
    change = data.draw(st.sampled_from(["none", "byte", "cut", "insert"]))
    piece = data.draw(st.sampled_from([b"0", b"-", b"1", b'"', b",", b" ", b"\\ud800", b"\xff"]))
    if change != "none":
        raw = raw[:cut] + piece * (change != "cut") + raw[cut + (change != "insert") :]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), raw)
        try:
            read_header(path)
        except HeaderError:
            return
        assert not refused_by_the_library(path)

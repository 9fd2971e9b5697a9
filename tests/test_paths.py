"""The one way to a path that is written: it stays below its folder, on every system."""

from __future__ import annotations

import ntpath
import os
import posixpath
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pack.catalog.paths import PathError, checked_file, safe_dest

UNSAFE = [
    # What huggingface_hub's tests know as unsafe.
    *["../x.safetensors", "a/../../x.safetensors", "/x.safetensors", "C:\\x.safetensors"],
    *["C:x.safetensors", "\\x.safetensors", "\\\\srv\\share\\x.safetensors", "..\\x.safetensors"],
    *["a\\..\\x.safetensors", "a/..\\x.safetensors", "//srv/share/x.safetensors", "..", "C:/x.sft"],
    *["", ".", "a//b.safetensors", "./a.safetensors", ".hidden.safetensors", "a.safetensors."],
    *["a.safetensors ", "con.safetensors", "NUL.sft", "com¹.sft", "CONOUT$.sft", "a /x.sft"],
    *["x.safetensors:ads", "x\0.safetensors", "x" * 300 + ".safetensors", "x.pt", "x/"],
    *["x.safetensors.exe", "x\u200b.safetensors", "e\u0301.safetensors", "x\udc80.safetensors"],
]


@pytest.mark.parametrize("file", UNSAFE)
def test_an_unsafe_name_is_refused_and_named(tmp_path: Path, file: str) -> None:
    with pytest.raises(PathError) as caught:
        safe_dest(tmp_path, file)
    assert repr(file)[:40] in str(caught.value)


@pytest.mark.parametrize(
    "file", ["x.safetensors", "a/b/x.sft", "Wan 2.2/é…ü.SAFETENSORS", "a..b.sft"]
)
def test_a_safe_name_leads_below_the_folder(tmp_path: Path, file: str) -> None:
    assert safe_dest(tmp_path / "loras", file) == tmp_path / "loras" / file
    assert safe_dest(Path(os.path.relpath(tmp_path)), file) == tmp_path / file
    assert not os.listdir(tmp_path)


NAMES = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            ["..", ".", "/", "\\", "C:", "a", "con", "NUL", " ", "\0", "é", "?", ".sft"]
        ),
        max_size=8,
    ).map("".join),
).map(lambda text: f"{text}.sft")


@settings(max_examples=300, deadline=None)
@given(NAMES)
def test_what_is_not_refused_stays_inside_on_posix_and_on_windows(file: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            dest = safe_dest(Path(folder), file)
        except PathError:
            return
        assert dest == Path(folder) / file
    for system, root in ((posixpath, "/models/loras"), (ntpath, "C:\\models\\loras")):
        joined = system.normpath(system.join(root, *file.split("/")))
        assert system.commonpath([root, joined]) == root
        assert joined == system.sep.join([root, *file.split("/")])


def test_the_verdict_on_a_name_is_that_of_the_catalog() -> None:
    for file in UNSAFE:
        with pytest.raises(ValueError, match=r"^(must|holds|has)"):
            checked_file(file)


STANDING: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (lambda path: path.write_text("x"), ""),
    "filelink": (lambda path: path.symlink_to(__file__), ""),
    "dangling": (lambda path: path.symlink_to("nowhere"), ""),
    "loop": (lambda path: path.symlink_to(path), ""),
    "folder": (lambda path: path.mkdir(), "is no file"),
    "fifo": (lambda path: os.mkfifo(path), "is no file"),
    "twin": (lambda path: path.with_name("X.safetensors").touch(), "is in the way of"),
    "twin link": (lambda path: path.with_name("X.SafeTensors").symlink_to("y"), "is in the way of"),
}


@pytest.mark.skipif(os.name == "nt", reason="needs links, pipes and names told apart by case")
@pytest.mark.parametrize("kind", STANDING)
def test_what_stands_in_the_place_of_the_file(tmp_path: Path, kind: str) -> None:
    """A link there is never written through: the path that comes back is the link's own."""
    make, refusal = STANDING[kind]
    make(tmp_path / "x.safetensors")
    if refusal:
        with pytest.raises(PathError, match=refusal):
            safe_dest(tmp_path, "x.safetensors")
    else:
        assert safe_dest(tmp_path, "x.safetensors") == tmp_path / "x.safetensors"


@pytest.mark.skipif(os.name == "nt", reason="needs links, pipes and names told apart by case")
@pytest.mark.parametrize("kind", STANDING)
def test_what_stands_in_the_place_of_a_folder(tmp_path: Path, kind: str) -> None:
    STANDING[kind][0](tmp_path / "x.safetensors")
    file = "x.safetensors/a.safetensors"
    if kind == "folder":
        assert safe_dest(tmp_path, file) == tmp_path / file
    else:
        with pytest.raises(PathError, match="is no folder|is in the way of"):
            safe_dest(tmp_path, file)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_linked_folder_is_the_users_layout_and_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "wan").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "linked").symlink_to(tmp_path / "loras")
    dest = safe_dest(tmp_path / "linked", "wan/x.sft")
    assert dest == tmp_path / "linked/wan/x.sft"
    (tmp_path / "elsewhere" / "X.sft").touch()
    with pytest.raises(PathError, match="X.sft is in the way of x.sft"):
        safe_dest(tmp_path / "linked", "wan/x.sft")


@pytest.mark.skipif(os.name == "nt", reason="needs names told apart by case")
def test_a_folder_may_have_a_twin_where_it_is_there_itself(tmp_path: Path) -> None:
    (tmp_path / "Wan").mkdir()
    with pytest.raises(PathError, match="Wan is in the way of wan"):
        safe_dest(tmp_path, "wan/x.sft")
    (tmp_path / "wan").mkdir()
    assert safe_dest(tmp_path, "wan/x.sft") == tmp_path / "wan/x.sft"


def test_a_decomposed_name_on_disk_is_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "e\u0301.sft").touch()
    assert safe_dest(tmp_path, "é.sft") == tmp_path / "é.sft"

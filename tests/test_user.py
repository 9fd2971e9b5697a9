"""What is written for the user: nothing of theirs is lost, however and by whom it is written."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pack.catalog import user as user_module
from pack.catalog.disk import LoraFolders
from pack.catalog.entries import CatalogError, Entry, read_entries
from pack.catalog.header import HeaderError
from pack.catalog.measure import MeasureError, measured
from pack.catalog.store import Store
from pack.catalog.user import UserError, add_entries, locked, write_json

ROOT = Path(__file__).parents[1]
BASE = "wan-i2v-14b"
TODAY = "2026-11-21"


def entry(role: str, file: str, pair_id: str = "mine", **more: Any) -> Entry:
    return Entry(file=file, base_model=BASE, pair_id=pair_id, pair_role=role, **more)


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "loras.json").read_text())


def put(folder: Path, content: object, name: str = "loras.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


RAW = {"file": "a.sft", "base_model": BASE, "pair_id": "mine", "pair_role": "high"}


def test_the_first_entries_make_the_folder_and_the_file(tmp_path: Path) -> None:
    high = entry("high", "h.sft", name="My LoRA", strength=(0.5, 1.0), cfg=1.0, tags=("a", "b"))
    add_entries(tmp_path / "user", [high, entry("low", "l.sft", size=5, size_gb=0.5)], TODAY)
    text = (tmp_path / "user" / "loras.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
    high_line = RAW | {"file": "h.sft", "name": "My LoRA", "dest": "loras", "strength": [0.5, 1]}
    assert json.loads(text) == {
        "version": "1",
        "date": TODAY,
        "loras": [
            high_line | {"cfg": 1, "tags": ["a", "b"]},
            RAW | {"file": "l.sft", "pair_role": "low", "dest": "loras", "size": 5, "size_gb": 0.5},
        ],
    }


def test_every_field_comes_back_as_it_was(tmp_path: Path) -> None:
    full = entry(
        **{"role": "both", "file": "wan/b.sft", "name": "Bé", "source": "huggingface"},
        **{"size_gb": 1.234, "tags": ("x",), "hf_repo": "a/b", "hf_file": "c.sft", "steps": 4},
        **{"sha256": "a" * 64, "size": 10**9, "revision": "main", "kind": "style", "cfg": 1.5},
        **{"strength": (1.0, 0.0), "shift": 5.0, "sampler": "euler", "scheduler": "simple"},
        **{"trigger": "t", "same_as": "s", "notes": "n"},
    )
    add_entries(tmp_path, [full], TODAY)
    assert read_entries(tmp_path / "loras.json") == ((full,), ())


def test_all_that_was_there_stays(tmp_path: Path) -> None:
    """Fields, entries and categories that the catalog does not know, and broken entries too."""
    loras = [RAW | {"my own": "field"}, "no entry"]
    there = {"version": "1.3", "vaes": [{"any": 5}, 2.5, None, "é", "\ud800"], "date": "2020-01-01"}
    put(tmp_path, there | {"loras": loras})
    add_entries(tmp_path, [entry("low", "l.sft")], TODAY)
    changed = {"version": "1.4", "date": TODAY, "loras": [*loras, now_entry("l.sft", "low")]}
    assert document(tmp_path) == there | changed


def now_entry(file: str, role: str) -> dict[str, str]:
    return RAW | {"file": file, "pair_role": role, "dest": "loras"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *[("1", "2"), ("9", "10"), ("1.3", "1.4"), ("0.1.9", "0.1.10"), (None, "1"), ("", "1")],
        *[("v2", "1"), ("1.", "1"), (5, "1"), ("1" * 40, "1"), ("١", "1")],
    ],
)
def test_the_version_grows(tmp_path: Path, before: object, after: str) -> None:
    put(tmp_path, {} if before is None else {"version": before})
    add_entries(tmp_path, [entry("both", "b.sft")], TODAY)
    assert (document(tmp_path)["version"], document(tmp_path)["date"]) == (after, TODAY)


def test_what_is_there_already_is_not_added_again(tmp_path: Path) -> None:
    path = put(tmp_path, {"loras": [RAW]}, "models.json")
    before = path.read_bytes()
    assert add_entries(tmp_path, [entry("high", "a.sft")], TODAY) is False
    assert not (tmp_path / "loras.json").exists()
    assert add_entries(tmp_path, [entry("high", "a.sft"), entry("low", "l.sft")], TODAY) is True
    assert document(tmp_path)["loras"] == [now_entry("l.sft", "low")]
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["models.json", "loras.json"])
def test_what_is_said_anew_of_an_entry_takes_its_place(tmp_path: Path, name: str) -> None:
    old = RAW | {"pair_role": "High ", "sha256": "a" * 64, "trigger": "old", "my own": "field"}
    other = RAW | {"pair_role": "low", "file": "l.sft"}
    put(tmp_path, {"version": "4", "vaes": 5, "extra": [old, 7, other], "loras": []}, name)
    retrained = entry("high", "a.sft", sha256="b" * 64, cfg=2.0)
    assert add_entries(tmp_path, [retrained], TODAY) is True
    now = json.loads((tmp_path / name).read_text())
    changed = old | {"sha256": "b" * 64, "cfg": 2}
    assert now["extra"] == [changed, 7, other]
    assert (now["version"], now["date"], now["vaes"], now["loras"]) == ("5", TODAY, 5, [])
    assert add_entries(tmp_path, [retrained], TODAY) is False
    assert json.loads((tmp_path / name).read_text()) == now


@pytest.mark.parametrize("name", ["models.json", "loras.json"])
@pytest.mark.parametrize("role", ["high", "both"])
def test_a_pair_that_is_there_with_other_files_is_refused(
    tmp_path: Path, name: str, role: str
) -> None:
    path = put(tmp_path, {"loras": [RAW]}, name)
    before = path.read_bytes()
    with pytest.raises(UserError, match=rf"mine of {BASE} has a\.sft for high and also z\.sft"):
        add_entries(tmp_path, [entry(role, "z.sft"), entry("both", "o.sft", "other")], TODAY)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == sorted([".lock", name])


def test_a_contradiction_of_long_ago_is_no_obstacle_to_another_pair(tmp_path: Path) -> None:
    put(tmp_path, {"loras": [RAW, RAW | {"file": "z.sft"}]})
    add_entries(tmp_path, [entry("both", "b.sft", "other")], TODAY)
    assert len(document(tmp_path)["loras"]) == 3


def test_a_pair_of_the_users_replaces_the_shipped_one(tmp_path: Path) -> None:
    shipped = tmp_path / "catalog"
    shipped.mkdir()
    put(shipped, {"loras": [RAW, RAW | {"file": "l.sft", "pair_role": "low"}]})
    put(shipped, {}, "models.json")
    add_entries(tmp_path / "user", [entry("both", "b.sft")], TODAY)
    (pair,) = Store(shipped, tmp_path / "user").catalog().find_pairs(BASE)
    assert (pair.high, pair.low, pair.problem) == (None, None, "")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"loras": [\n  {"file": "x.sft",}\n]}', "loras.json:2:"),
        ('{"loras": [], "loras": []}', "loras.json:1:15"),
        ("", "loras.json:1:1"),
        ("[]", "loras.json:1:1"),
    ],
)
def test_a_file_that_is_no_strict_json_is_left_as_it_is(
    tmp_path: Path, text: str, place: str
) -> None:
    put(tmp_path, text)
    with pytest.raises(CatalogError, match=place):
        add_entries(tmp_path, [entry("both", "b.sft")], TODAY)
    assert (tmp_path / "loras.json").read_text() == text


def test_what_stands_where_the_list_should_is_kept(tmp_path: Path) -> None:
    path = put(tmp_path, {"loras": {"my": "thing"}})
    with pytest.raises(UserError, match="^loras in your loras.json is no list. Correct that"):
        add_entries(tmp_path, [entry("both", "b.sft")], TODAY)
    assert json.loads(path.read_text()) == {"loras": {"my": "thing"}}


def test_a_catalog_that_would_be_too_large_is_left_as_it_is(tmp_path: Path) -> None:
    path = put(tmp_path, {"loras": [RAW | {"pair_id": f"p{at}"} for at in range(5000)]})
    before = path.read_bytes()
    with pytest.raises(UserError, match="cannot take more: More than 5000 entries"):
        add_entries(tmp_path, [entry("both", "b.sft")], TODAY)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == [".lock", "loras.json"]


@pytest.mark.skipif(os.name == "nt", reason="needs links and modes")
def test_a_link_and_the_mode_are_kept(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = put(tmp_path / "dotfiles", {"loras": [RAW]})
    real.chmod(0o640)
    (tmp_path / "loras.json").symlink_to(real)
    add_entries(tmp_path, [entry("low", "l.sft")], TODAY)
    assert (tmp_path / "loras.json").is_symlink()
    assert len(json.loads(real.read_text())["loras"]) == 2
    assert real.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path / "dotfiles") == ["loras.json"]


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": {1, 2}}])
def test_what_cannot_be_written_leaves_no_trace(tmp_path: Path, data: Mapping[str, Any]) -> None:
    path = put(tmp_path, "old")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, data)
    assert (os.listdir(tmp_path), path.read_text()) == (["loras.json"], "old")


def test_what_the_system_refuses_is_told_without_the_place(tmp_path: Path) -> None:
    (tmp_path / "loras.json").mkdir()
    with pytest.raises(UserError, match=r"^loras\.json cannot be written \(Is a directory\)\. See"):
        write_json(tmp_path / "loras.json", {})
    assert os.listdir(tmp_path) == ["loras.json"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^Your folder cannot be written"):
        add_entries(tmp_path / "file", [entry("both", "b.sft")], TODAY)


def test_another_writer_is_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_module, "_patience", 0.1)
    with locked(tmp_path), pytest.raises(UserError, match="Try again"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    left, fresh = tmp_path / ".loras.json.0a.tmp", tmp_path / ".loras.json.0b.tmp"
    for path in (left, fresh):
        path.touch()
    os.utime(left, (0, 0))
    with locked(tmp_path):
        assert (left.exists(), fresh.exists()) == (False, True)


ADDER = f"""
import sys, pathlib
sys.path.insert(0, {str(ROOT)!r})
from catalog.entries import Entry
from catalog.user import add_entries, write_json
"""
ADD = (
    ADDER
    + """
for at in range(8):
    pair = f"{sys.argv[2]}-{at}"
    entry = Entry(file=f"{pair}.sft", base_model="wan", pair_id=pair, pair_role="both")
    add_entries(pathlib.Path(sys.argv[1]), [entry], "2026-11-21")
"""
)
REWRITE = (
    ADDER
    + """
path = pathlib.Path(sys.argv[1]) / "loras.json"
at = 0
while True:
    at += 1
    write_json(path, {"version": str(at), "loras": [{"notes": "x" * 40}] * 400})
    if at == 1:
        print("ready", flush=True)
"""
)


def test_processes_and_threads_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ADD, str(tmp_path)]
    processes = [subprocess.Popen([*command, f"process{at}"]) for at in range(2)]

    def add(name: str) -> None:
        for at in range(8):
            add_entries(tmp_path, [entry("both", f"{name}-{at}.sft", f"{name}-{at}")], TODAY)

    threads = [threading.Thread(target=add, args=(f"thread{at}",)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [process.wait(60) for process in processes] == [0, 0]
    now = document(tmp_path)
    assert len({each["pair_id"] for each in now["loras"]}) == len(now["loras"]) == 32
    assert now["version"] == "32"


@pytest.mark.skipif(os.name == "nt", reason="needs kill -9")
def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", REWRITE, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout and process.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert len(document(tmp_path)["loras"]) == 400
    add_entries(tmp_path, [entry("both", "b.sft")], TODAY)
    assert len(document(tmp_path)["loras"]) == 401


def lora(path: Path, content: bytes = b"\x08\0\0\0\0\0\0\0{}      ") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


SOUND = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def test_an_entry_is_measured_by_its_file(tmp_path: Path) -> None:
    lora(tmp_path / "wan" / "x.sft", len(SOUND).to_bytes(8, "little") + SOUND + b"\0" * 4)
    listing = LoraFolders.of(tmp_path).listing()
    told = measured(entry("high", "x.sft", kind="style"), listing, "wan-t2v-14b")
    assert (told.base_model, told.size, told.kind) == ("wan-t2v-14b", 66, "style")
    assert told.sha256 == hashlib.sha256((tmp_path / "wan" / "x.sft").read_bytes()).hexdigest()
    assert told.size_gb is None  # which cannot say so few bytes


def test_a_file_that_is_missing_ambiguous_or_broken_is_not_measured(tmp_path: Path) -> None:
    lora(tmp_path / "a" / "twice.sft")
    lora(tmp_path / "b" / "twice.sft")
    lora(tmp_path / "broken.sft")
    listing = LoraFolders.of(tmp_path).listing()
    for file, error, reason in (
        ("gone.sft", MeasureError, "is in none of"),
        ("twice.sft", MeasureError, "is there 2 times"),
        ("broken.sft", HeaderError, "holds 0 tensors"),
    ):
        with pytest.raises(error, match=reason):
            measured(entry("high", file), listing, BASE)

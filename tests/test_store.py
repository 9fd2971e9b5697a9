"""The catalog on disk: merged, kept, read again on change, and never lost to a broken file."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import pack.catalog.store as store_module
from pack.catalog.store import Store, UnknownPairError

BASE = "wan-i2v-14b"


class Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def raw(pair_id: str, role: str, file: str, base_model: str = BASE) -> dict[str, Any]:
    return {"file": f"{file}.sft", "base_model": base_model, "pair_id": pair_id, "pair_role": role}


def put(folder: Path, *entries: dict[str, Any], name: str = "models.json") -> None:
    (folder / name).write_text(json.dumps({"loras": entries}))


def files(store: Store, base_model: str = BASE) -> list[tuple[str | None, ...]]:
    pairs = store.catalog().find_pairs(base_model)
    return [tuple(pair.as_json().values())[2:] for pair in pairs]


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "catalog"
    folder.mkdir()
    put(folder, raw("a", "high", "ah"), raw("a", "low", "al"), raw("b", "both", "b"))
    put(folder, raw("c", "low", "c", "wan-t2v-14b"), name="loras.json")
    return folder


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(shipped: Path, user: Path, clock: Clock) -> Store:
    return Store(shipped, user, clock)


def test_both_files_are_read(store: Store) -> None:
    assert store.catalog().base_models == ("wan-i2v-14b", "wan-t2v-14b")
    assert files(store) == [("ah.sft", "al.sft", None), (None, None, "b.sft")]
    assert store.catalog().problems == ()


def test_a_store_needs_no_user_folder(shipped: Path, user: Path) -> None:
    for folder in (None, user / "absent"):
        assert len(Store(shipped, folder).catalog().entries) == 4


def test_the_users_pair_stands_whole_in_the_shipped_ones_place(store: Store, user: Path) -> None:
    """Never one file of each: half a pair of the user's own stays half."""
    put(user, raw("mine", "both", "m"), raw("a", "low", "own"), name="loras.json")
    assert files(store) == [
        (None, "own.sft", None),
        (None, None, "b.sft"),
        (None, None, "m.sft"),
    ]


def test_an_entry_in_both_files_counts_once(store: Store, user: Path) -> None:
    for name in ("models.json", "loras.json"):
        put(user, raw("mine", "both", "m"), name=name)
    assert store.catalog().get_pair(BASE, "mine").problem == ""


def test_two_files_of_the_user_for_one_role_must_not_run(store: Store, user: Path) -> None:
    put(user, raw("b", "both", "x"), raw("b", "both", "y"))
    assert "x.sft for both and also y.sft for both" in store.catalog().get_pair(BASE, "b").problem


def test_a_snapshot_never_changes(store: Store) -> None:
    catalog = store.catalog()
    with pytest.raises(FrozenInstanceError):
        catalog.revision = ""  # type: ignore[misc]
    with pytest.raises(TypeError):
        catalog.pairs["x"] = ()  # type: ignore[index]


def test_unknown_pairs_are_refused_with_those_that_are_known(store: Store) -> None:
    with pytest.raises(UnknownPairError) as caught:
        store.catalog().get_pair(BASE, "c")
    assert str(caught.value) == (
        "Pair 'c' is not in your catalog (known for wan-i2v-14b: a, b). It belongs to wan-t2v-14b."
    )
    with pytest.raises(UnknownPairError, match=r"\(known for sdxl: none\)\. Untick it, or add it"):
        store.catalog().get_pair("sdxl", "zzz")
    assert store.catalog().get_pair("wan-t2v-14b", "c").pair_id == "c"


def test_a_change_is_seen_after_a_second_and_not_before(
    store: Store, user: Path, clock: Clock
) -> None:
    before = store.catalog()
    put(user, raw("mine", "both", "m"))
    clock.now += 0.9
    assert store.catalog() is before
    clock.now += 0.1
    after = store.catalog()
    assert [pair.pair_id for pair in after.find_pairs(BASE)] == ["a", "b", "mine"]
    assert after.revision != before.revision
    assert [pair.pair_id for pair in before.find_pairs(BASE)] == ["a", "b"]


def test_without_a_change_the_snapshot_stays_the_same_object(store: Store, clock: Clock) -> None:
    before = store.catalog()
    clock.now += 60
    assert store.catalog() is before


def test_the_revision_tells_contents_apart(shipped: Path, user: Path) -> None:
    first = Store(shipped, None).catalog().revision
    assert Store(shipped, None).catalog().revision == first
    put(user, raw("mine", "both", "m") | {"notes": "new"})
    assert Store(shipped, user).catalog().revision != first


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "dualpass"):
        yield caplog


@pytest.mark.parametrize("broken", ["shipped", "user"])
def test_a_broken_file_keeps_what_it_last_said(
    request: pytest.FixtureRequest,
    store: Store,
    user: Path,
    clock: Clock,
    warnings: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    put(user, raw("mine", "both", "m"))
    before = files(store)
    path: Path = request.getfixturevalue(broken) / "models.json"
    good = path.read_text()
    path.write_text(good[:-3])
    for _ in range(3):
        clock.now += 1
        assert files(store) == before
    (problem,) = store.catalog().problems
    assert problem.source.endswith("/models.json")
    assert len(warnings.records) == 1
    path.write_text(good + "\n")
    clock.now += 1
    assert (files(store), store.catalog().problems) == (before, ())


def test_one_broken_file_does_not_keep_the_others_back(
    store: Store, user: Path, clock: Clock
) -> None:
    store.catalog()
    (user / "models.json").write_text("{")
    put(user, raw("mine", "both", "m"), name="loras.json")
    clock.now += 1
    assert files(store)[-1] == (None, None, "m.sft")
    assert len(store.catalog().problems) == 1


def test_a_file_of_the_user_that_is_removed_says_no_more(
    store: Store, user: Path, clock: Clock
) -> None:
    put(user, raw("mine", "both", "m"))
    assert len(files(store)) == 3
    (user / "models.json").unlink()
    clock.now += 1
    assert len(files(store)) == 2
    assert store.catalog().problems == ()


def test_a_shipped_file_that_is_gone_is_a_problem(shipped: Path, user: Path) -> None:
    (shipped / "loras.json").unlink()
    catalog = Store(shipped, user).catalog()
    assert catalog.base_models == (BASE,)
    assert [problem.source for problem in catalog.problems] == ["catalog/loras.json"]


def test_a_dropped_entry_is_a_problem_and_is_logged_once(
    store: Store, user: Path, clock: Clock, warnings: pytest.LogCaptureFixture
) -> None:
    put(user, raw("mine", "hi", "m"), raw("other", "both", "o"))
    for _ in range(3):
        assert files(store)[-1] == (None, None, "o.sft")
        clock.now += 1
    assert [problem.field for problem in store.catalog().problems] == ["pair_role"]
    assert len(warnings.records) == 1


def test_threads_only_ever_see_whole_snapshots(shipped: Path, user: Path) -> None:
    ticks = iter(range(1_000_000))
    store = Store(shipped, user, lambda: float(next(ticks)))
    seen: list[tuple[str, ...]] = []

    def look() -> None:
        for _ in range(200):
            seen.append(tuple(pair.pair_id for pair in store.catalog().find_pairs(BASE)))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        put(user, *[raw("mine", "both", "m")] * (number % 2))
    for thread in threads:
        thread.join()
    assert set(seen) <= {("a", "b"), ("a", "b", "mine")}
    assert len(seen) == 800


@contextmanager
def holding_reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No catalog file is read to its end before the block does."""
    let_go, read_entries = threading.Event(), store_module.read_entries

    def held(path: Path) -> Any:
        assert let_go.wait(120)
        return read_entries(path)

    monkeypatch.setattr(store_module, "read_entries", held)
    yield
    let_go.set()


def test_an_event_loop_does_not_wait_for_a_long_read(
    shipped: Path, user: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes longer than the caller waits; what it found counts when it is done."""
    store = Store(shipped, user, clock, wait=0)
    first = store.read()
    put(user, *[raw(f"p{number}", "high", "h") | {"steps": 0} for number in range(4999)])
    clock.now += 1
    with holding_reads(monkeypatch):
        assert store.catalog() is first
    deadline = time.monotonic() + 120
    while store.catalog() is first and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(store.catalog().problems) == 4999


def test_a_short_read_counts_at_once_even_on_an_event_loop(
    shipped: Path, user: Path, clock: Clock
) -> None:
    store = Store(shipped, user, clock, wait=30)
    store.read()
    put(user, raw("mine", "both", "m"))
    clock.now += 1
    assert files(store)[-1] == (None, None, "m.sft")


def test_read_looks_now_whatever_the_clock_says(store: Store, user: Path) -> None:
    store.catalog()
    put(user, raw("mine", "both", "m"))
    assert [pair.pair_id for pair in store.read().find_pairs(BASE)] == ["a", "b", "mine"]


def test_the_snapshot_knows_which_pairs_are_the_users(store: Store, user: Path) -> None:
    put(user, raw("mine", "both", "m"), raw("a", "low", "own"))
    assert store.catalog().own == {(BASE, "mine"), (BASE, "a")}


def test_a_refusal_names_some_of_many_pairs(store: Store, user: Path) -> None:
    put(user, *[raw(f"p{number}", "both", f"f{number}") for number in range(500)])
    with pytest.raises(UnknownPairError, match="p17 and 482 more"):
        store.catalog().get_pair(BASE, "zzz")


def test_a_look_that_takes_long_is_taken_once(
    shipped: Path, user: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(shipped, user, clock, wait=0)
    store.read()
    put(user, raw("mine", "both", "m"))
    clock.now += 1
    with holding_reads(monkeypatch):
        for _ in range(50):
            store.catalog()
        looks = [thread for thread in threading.enumerate() if thread.name == "dualpass-catalog"]
        assert len(looks) == 1
    looks[0].join(120)

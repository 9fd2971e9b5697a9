"""What holds of any catalog, however it was edited."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pack.catalog.entries import read_entries
from pack.catalog.pairs import display_name, find_pairs
from pack.catalog.paths import checked_file
from pack.catalog.store import Catalog, Store

ids = st.sampled_from(["a", "b", "c", "A", "__proto__", "x.y+z"])
bases = st.sampled_from(["wan-i2v-14b", "wan-t2v-14b"])
roles = st.sampled_from(["high", "low", "both", "HIGH ", "Low"])
files = st.sampled_from(["h.sft", "l.sft", "sub/h.sft", "H.sft", "b.safetensors"])
junk = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.text(max_size=8), st.just([]),
    st.just({"a": 1}),
    st.sampled_from(["../x.sft", "C:\\x.sft", "con.sft", "\ud800", "a\u202eb", "x" * 300]),
)  # fmt: skip
good = st.fixed_dictionaries(
    {"file": files, "base_model": bases, "pair_id": ids, "pair_role": roles},
    optional={"name": st.text(max_size=12), "size_gb": st.just(1.5), "strength": st.just([2, 1])},
)
fields = ["file", "base_model", "pair_id", "pair_role", "name", "dest", "sha256", "hf_repo", "odd"]
bad = st.builds(lambda entry, slip: entry | slip, good, st.dictionaries(
    st.sampled_from(fields), junk, min_size=1, max_size=3
))  # fmt: skip
some = st.lists(st.one_of(good, bad, junk), max_size=12)


def put(folder: Path, entries: list[Any], name: str = "models.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"loras": entries}))
    return folder / name


def catalog_of(shipped: list[Any], own: list[Any]) -> Catalog:
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder, "shipped"), shipped)
        put(Path(folder, "own"), own)
        (Path(folder, "shipped", "loras.json")).write_text("{}")
        return Store(Path(folder, "shipped"), Path(folder, "own")).catalog()


def shown(catalog: Catalog) -> dict[str, list[dict[str, str | None]]]:
    return {base: [pair.as_json() for pair in pairs] for base, pairs in catalog.pairs.items()}


@given(some, some)
def test_any_two_catalogs_merge_into_strict_json(shipped: list[Any], own: list[Any]) -> None:
    catalog = catalog_of(shipped, own)
    text = json.dumps(shown(catalog), allow_nan=False)
    assert json.loads(text.encode()) == shown(catalog)
    for base_model, pairs in catalog.pairs.items():
        pair_ids = [pair.pair_id for pair in pairs]
        assert len(pair_ids) == len(set(pair_ids))
        for pair in pairs:
            assert pair.entries and pair.base_model == base_model
            assert display_name(pair.name, pair.pair_id) == pair.name != ""
            for entry in pair.entries:
                assert checked_file(entry.file) == entry.file


@given(some)
def test_no_entry_vanishes_without_a_word(entries: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), entries)
        kept, problems = read_entries(path)
        assert read_entries(path) == (kept, problems)
    dropped = [problem for problem in problems if "is left out" in problem.text]
    places = {(problem.line, problem.column) for problem in dropped}
    assert len(kept) + len(dropped) >= len(entries) >= len(kept)
    assert (len(kept) < len(entries)) == bool(places)


@given(some)
def test_a_catalog_merged_with_itself_is_itself(entries: list[Any]) -> None:
    assert shown(catalog_of(entries, entries)) == shown(catalog_of(entries, []))


@given(st.lists(good, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_entries_matters_only_in_a_conflict(entries: list[Any], random: Any) -> None:
    shuffled = entries.copy()
    random.shuffle(shuffled)
    for base_model in ("wan-i2v-14b", "wan-t2v-14b"):
        first, second = (
            {pair.pair_id: pair for pair in catalog_of(order, []).find_pairs(base_model)}
            for order in (entries, shuffled)
        )
        assert first.keys() == second.keys()
        for pair_id, pair in first.items():
            assert bool(pair.problem) == bool(second[pair_id].problem)
            if not pair.problem:
                roles = [(e.pair_role, e.file) for e in pair.entries]
                assert roles == [(e.pair_role, e.file) for e in second[pair_id].entries]


@given(st.lists(good, max_size=8))
def test_finding_pairs_changes_nothing(entries: list[Any]) -> None:
    catalog = catalog_of(entries, [])
    before = catalog.entries
    assert find_pairs(before, "wan-i2v-14b") == catalog.find_pairs("wan-i2v-14b")
    assert catalog.entries == before


class Reload(RuleBasedStateMachine):
    """Good and broken writes of the user's file in any order leave a good catalog."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now = 0.0
        base = {"base_model": "wan-i2v-14b", "pair_role": "both"}
        put(Path(self.folder.name, "shipped"), [base | {"pair_id": "kept", "file": "k.sft"}])
        put(Path(self.folder.name, "shipped"), [], "loras.json")
        self.own = Path(self.folder.name, "own")
        self.own.mkdir()
        self.store = Store(self.own.with_name("shipped"), self.own, lambda: self.now)
        self.last_good: set[str] = set()
        self.is_good = True

    def wrote(self, text: str) -> None:
        (self.own / "models.json").write_text(text)
        self.now += 1
        self.store.catalog()

    @rule(pair_ids=st.sets(st.sampled_from(["a", "b", "c"])))
    def write_good(self, pair_ids: set[str]) -> None:
        base = {"base_model": "wan-i2v-14b", "pair_role": "both", "file": "x.sft"}
        text = json.dumps({"loras": [base | {"pair_id": pair_id} for pair_id in sorted(pair_ids)]})
        self.last_good, self.is_good = pair_ids, True
        self.wrote(text)

    @rule(text=st.sampled_from(["", "{", '{"loras": [', "[]", '{"a": [NaN]}', "\x00"]))
    def write_broken(self, text: str) -> None:
        self.is_good = False
        self.wrote(text)

    @rule()
    def remove(self) -> None:
        (self.own / "models.json").unlink(missing_ok=True)
        self.last_good, self.is_good = set(), True
        self.now += 1
        self.store.catalog()

    @rule()
    def touch(self) -> None:
        path = self.own / "models.json"
        if path.exists():
            path.write_bytes(path.read_bytes())
            self.now += 1
            self.store.catalog()

    @invariant()
    def the_last_good_one_counts(self) -> None:
        if hasattr(self, "store"):
            catalog = self.store.catalog()
            known = {pair.pair_id for pair in catalog.find_pairs("wan-i2v-14b")}
            assert known == self.last_good | {"kept"}
            assert bool(catalog.problems) == (not self.is_good)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


Reload.TestCase.settings = settings(max_examples=50, stateful_step_count=15, deadline=None)
test_reload = Reload.TestCase

"""Downloads from a hub on loopback that fails in every way: the right file, or all as it was."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("aiohttp")
if not hasattr(os, "fork"):
    pytest.skip("downloads run in forked processes", allow_module_level=True)

from pack.catalog.download import shortage
from pack.catalog.hub import TEXTS
from rig.fetch_once import Fetcher, Outcome
from rig.hub import COMMIT, Hub, Reply, Shelved, running

TOKEN = "hf_secret"
OLD = b"the old file"
GIB = 2**30
Raw = dict[str, Any]


def lora(count: int, seed: int = 0) -> bytes:
    """A sound file with one tensor of so many numbers."""
    info = {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}
    header = json.dumps({"a": info}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(4 * count)


DATA = lora(500_000)
OTHER = lora(500_000, seed=1)
HTML = b"<!DOCTYPE html><title>Log in</title>"
SIZE = len(DATA)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def raw(file: str = "a.safetensors", **more: Any) -> Raw:
    said = {"file": file, "base_model": "wan-i2v-14b", "source": "huggingface"}
    return said | {"hf_repo": "owner/repo", "hf_file": file, "pair_id": "p"} | more


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running() as hub:
        yield hub


@pytest.fixture(scope="module")
def fetcher(hub: Hub) -> Iterator[Fetcher]:
    fetcher = Fetcher(hub.url, HF_TOKEN=TOKEN)
    yield fetcher
    fetcher.close()


@pytest.fixture(autouse=True)
def shelf(hub: Hub) -> Iterator[dict[str, Shelved]]:
    """The files of the hub's one repository, which begins with a.safetensors."""
    hub.files.clear()
    hub.seen.clear()
    hub.tokens.clear()
    put(hub, Shelved(DATA))
    yield hub.files


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    return folder


def put(hub: Hub, file: Shelved, name: str = "a.safetensors") -> Shelved:
    hub.files[f"owner/repo/{name}"] = file
    return file


def asked(hub: Hub) -> list[str]:
    """The methods of the requests for files; the library asks for other things too."""
    return [method for method, path, _ in hub.seen if "/api/" not in path]


def left(loras: Path) -> dict[str, bytes]:
    """All files there are, in the loras folder and beside it."""
    top = loras.parent
    return {
        path.relative_to(top).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in top.rglob("*")
        if path != loras
    }


def assert_whole(outcome: Outcome, loras: Path, data: bytes = DATA) -> None:
    assert (outcome.code, outcome.message) == ("", "")
    assert left(loras) == {"loras/a.safetensors": data}


SOUND: dict[str, tuple[dict[str, Any], Raw]] = {
    "plain": ({}, {}),
    "at a commit": ({}, {"revision": "v1"}),
    "the catalog knows all": ({}, {"sha256": sha256(DATA), "size": SIZE}),
    "no ETag, the catalog has one": ({"etag": ""}, {"sha256": sha256(DATA)}),
    "a git ETag, the catalog has a sha256": ({"etag": "a" * 40}, {"sha256": sha256(DATA)}),
    "no length in the record": ({"size": -1}, {"size": SIZE}),
    "no length in the answer": ({"chunked": True}, {}),
    "server error twice": ({"heads": [(500, {}), (503, {})]}, {}),
    "server error while sending": ({"gets": [(502, {})]}, {}),
    "too many requests, wait": ({"gets": [(429, {"Retry-After": "0"})]}, {}),
    "broken off": ({"cuts": [SIZE // 2]}, {}),
    "broken off, and no ranges": ({"cuts": [SIZE // 2], "ranges": False}, {}),
}


@pytest.mark.parametrize("how", SOUND)
def test_a_file_arrives(hub: Hub, fetcher: Fetcher, loras: Path, how: str) -> None:
    behaviour, entry = SOUND[how]
    put(hub, Shelved(DATA, **behaviour))
    outcome = fetcher.fetch([raw(**entry)], loras)
    assert_whole(outcome, loras)
    assert outcome.paths == [str(loras / "a.safetensors")]
    assert (loras / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_commit_of_the_record_is_the_one_that_is_fetched(
    hub: Hub, fetcher: Fetcher, loras: Path
) -> None:
    fetcher.fetch([raw(revision="v1")], loras)
    paths = [path for _, path, _ in hub.seen if "/api/" not in path]
    assert paths == [f"/owner/repo/resolve/{name}/a.safetensors" for name in ("v1", COMMIT)]


def test_a_file_that_breaks_off_again_and_again_arrives(
    hub: Hub, fetcher: Fetcher, tmp_path: Path
) -> None:
    """Cut at each sixteenth, each in a folder of its own and all at once."""
    waiting = {}
    for part in range(16):
        folder = tmp_path / str(part) / "loras"
        folder.mkdir(parents=True)
        name = f"{part}.safetensors"
        put(hub, Shelved(DATA, cuts=[SIZE * part // 16]), name)
        waiting[folder / name] = fetcher.start([raw(name)], folder)
    for path, pid in waiting.items():
        assert fetcher.wait(pid).paths == [str(path)]
        assert path.read_bytes() == DATA


def test_the_watch_is_told_of_each_step(fetcher: Fetcher, loras: Path) -> None:
    told = fetcher.fetch([raw()], loras).told
    assert told == sorted(told)
    assert {size for _, size in told[1:]} == {SIZE}
    assert (told[0], told[-1]) == ([0, 0], [SIZE, SIZE])
    assert len(told) > SIZE // 65_536


def test_all_is_on_the_disk_before_it_has_its_name(fetcher: Fetcher, loras: Path) -> None:
    """And then the name is, so that a power cut finds the old file or the new."""
    calls = fetcher.fetch([raw()], loras).calls
    assert calls == ["fsync", "replace", "fsync"]


def test_a_redirect_is_followed_without_the_token(hub: Hub, fetcher: Fetcher, loras: Path) -> None:
    """To another host and by plain http: what arrives counts only for its sha256."""
    there = hub.url.replace("127.0.0.1", "localhost") + "/cdn/owner/repo/a.safetensors"
    put(hub, Shelved(DATA, redirect=there))
    assert_whole(fetcher.fetch([raw()], loras), loras)
    calls = zip(hub.seen, hub.tokens, strict=True)
    tokens = [(path[:5], token) for (_, path, _), token in calls if "/api/" not in path]
    assert tokens == [("/owne", f"Bearer {TOKEN}")] * 2 + [("/cdn/", "")]


GATED: Reply = (403, {"X-Error-Code": "GatedRepo"})
NO_REVISION: Reply = (404, {"X-Error-Code": "RevisionNotFound"})
TO_ITSELF = "/owner/repo/resolve/main/a.safetensors"
NOWHERE = raw(hf_repo="owner/nowhere")
FAULTS: dict[str, tuple[str, dict[str, Any], Raw]] = {
    "damaged": ("HASH", {"etag": sha256(OTHER)}, raw()),
    "changed between two tries": ("HASH", {"later": OTHER, "cuts": [SIZE // 2]}, raw()),
    "a login page": ("SIZE", {"data": HTML, "size": SIZE, "etag": sha256(DATA)}, raw()),
    "short": ("SIZE", {"size": SIZE + 1}, raw()),
    "long": ("SIZE", {"size": SIZE - 1}, raw()),
    "long without a length": ("SIZE", {"size": SIZE - 1, "chunked": True}, raw()),
    "no LoRA": ("FILE", {"data": HTML}, raw()),
    "another file than the catalog's": ("HASH", {}, raw(sha256=sha256(OTHER))),
    "another size than the catalog's": ("HASH", {}, raw(size=SIZE + 1)),
    "no hash": ("NO_HASH", {"etag": ""}, raw()),
    "a git hash": ("NO_HASH", {"etag": "a" * 40}, raw()),
    "no size": ("NO_SIZE", {"size": -1, "chunked": True}, raw()),
    "huge": ("TOO_LARGE", {"size": 16 * GIB + 1}, raw()),
    "gated": ("GATED", {"heads": [GATED]}, raw()),
    "gated while sending": ("GATED", {"gets": [GATED]}, raw()),
    "wrong token": ("LOGIN", {"heads": [(401, {"X-Error-Message": "Invalid credentials"})]}, raw()),
    "forbidden": ("LOGIN", {"heads": [(403, {})]}, raw()),
    "no repository": ("NOT_FOUND", {}, NOWHERE),
    "no such file": ("NOT_FOUND", {}, raw(hf_file="b.safetensors")),
    "no such commit": ("NOT_FOUND", {"heads": [NO_REVISION]}, raw()),
    "not found, no reason": ("NOT_FOUND", {"heads": [(404, {})]}, raw()),
    "too many requests": ("RATE", {"heads": [(429, {"Retry-After": "3600"})]}, raw()),
    "server error thrice": ("SERVER", {"heads": [(500, {})] * 3}, raw()),
    "redirected for ever": ("NETWORK", {"redirect": TO_ITSELF}, raw()),
    "redirected to nonsense": ("NETWORK", {"gets": [(302, {"Location": "ftp://x/y"})]}, raw()),
    "answered with nonsense": ("NETWORK", {"heads": [(418, {})]}, raw()),
    "no source": ("NO_SOURCE", {}, raw(source="civitai")),
    "no repository named": ("NO_SOURCE", {}, raw(hf_repo="")),
}


@pytest.mark.parametrize("how", FAULTS)
def test_a_fault_has_its_sentence_and_leaves_all_as_it_was(
    hub: Hub, fetcher: Fetcher, loras: Path, how: str
) -> None:
    code, behaviour, entry = FAULTS[how]
    put(hub, Shelved(**({"data": DATA} | behaviour)))
    check_refused(hub, fetcher, loras, entry, code)


def test_a_transfer_that_stands_still_is_given_up(hub: Hub, loras: Path) -> None:
    put(hub, Shelved(DATA, stall=SIZE // 2))
    fetcher = Fetcher(hub.url, HF_HUB_DOWNLOAD_TIMEOUT="1")
    try:
        check_refused(hub, fetcher, loras, raw(), "NETWORK")
    finally:
        fetcher.close()


def check_refused(hub: Hub, fetcher: Fetcher, loras: Path, entry: Raw, code: str) -> None:
    (loras / "a.safetensors").write_bytes(OLD)
    outcome = fetcher.fetch([entry], loras, replace=True)
    assert (outcome.paths, outcome.code) == ([], code)
    assert left(loras) == {"loras/a.safetensors": OLD}
    assert outcome.message.count(". ") >= 1
    assert not [secret for secret in (str(loras), TOKEN, hub.url) if secret in outcome.message]


@pytest.mark.parametrize("entry", [raw(sha256=sha256(OTHER)), raw(size=SIZE - 1)], ids=str)
def test_a_file_that_the_catalog_does_not_mean_is_not_even_begun(
    hub: Hub, fetcher: Fetcher, loras: Path, entry: Raw
) -> None:
    assert fetcher.fetch([entry], loras).code == "HASH"
    assert asked(hub) == ["HEAD"]


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "OFFLINE"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "NETWORK"),
        ({"HF_ENDPOINT": "http://no-such-host.invalid"}, "NETWORK"),
    ],
)
def test_without_a_network_nothing_happens(
    hub: Hub, loras: Path, env: dict[str, str], code: str
) -> None:
    fetcher = Fetcher(hub.url, **env)
    try:
        outcome = fetcher.fetch([raw()], loras)
        (loras / "a.safetensors").write_bytes(DATA)
        present = fetcher.fetch([raw(sha256=sha256(DATA))], loras)
    finally:
        fetcher.close()
    assert (outcome.code, present.code, hub.seen) == (code, "", [])
    assert left(loras) == {"loras/a.safetensors": DATA}


def test_each_sentence_says_what_to_do() -> None:
    for cause, text in TEXTS.items():
        assert text.startswith("{why}") or text.count(". ") or cause == "NAME"
        assert text[-1] in ".}"
    assert len(set(TEXTS.values()) - {"{why}"}) == len(TEXTS) - 2


@pytest.mark.parametrize(
    ("free", "size", "lack"),
    [
        (GIB, GIB // 2, 0),
        (GIB, GIB // 2 + 1, 1),
        (0, 1, GIB // 2 + 1),
        (100 * GIB, 16 * GIB, 0),
        (40 * GIB, 40 * GIB, 40 * GIB // 50),
    ],
)
def test_a_disk_must_keep_some_room(free: int, size: int, lack: int) -> None:
    assert shortage(free, size) == lack


def test_a_disk_that_fills_up_ends_the_download(fetcher: Fetcher, loras: Path) -> None:
    (loras / "a.safetensors").write_bytes(OLD)
    outcome = fetcher.fetch([raw()], loras, replace=True, largest=SIZE // 2)
    assert (outcome.code, outcome.message.split(" (")[0]) == (
        "DISK_FULL",
        "The disk ran full while a.safetensors arrived",
    )
    assert left(loras) == {"loras/a.safetensors": OLD}


@pytest.fixture
def mortal(hub: Hub) -> Iterator[Fetcher]:
    """One for which permissions count, also where the tests run as root."""
    launcher = ["setpriv", "--bounding-set=-dac_override,-fowner"] if os.getuid() == 0 else []
    if launcher and not shutil.which(launcher[0]):
        pytest.skip("needs setpriv, or not to be root")
    fetcher = Fetcher(hub.url, *launcher)
    yield fetcher
    fetcher.close()


def test_a_folder_that_cannot_be_written_says_so(mortal: Fetcher, loras: Path) -> None:
    for folder in (loras, loras.parent):
        folder.chmod(0o555)
    outcome = mortal.fetch([raw()], loras)
    for folder in (loras.parent, loras):
        folder.chmod(0o755)
    assert (outcome.code, left(loras)) == ("FOLDER", {})
    assert "Permission denied" in outcome.message
    assert mortal.fetch([raw()], loras / "absent").code == "FOLDER"


def test_only_the_loras_folder_need_be_writable(mortal: Fetcher, loras: Path) -> None:
    """As with a folder of the host in a container whose own folders are root's."""
    loras.parent.chmod(0o555)
    outcome = mortal.fetch([raw()], loras)
    loras.parent.chmod(0o755)
    assert_whole(outcome, loras)


@pytest.mark.skipif(os.getuid() != 0, reason="gives a file to somebody else")
def test_a_file_that_may_not_be_replaced_stays(mortal: Fetcher, loras: Path) -> None:
    """Another user's in a folder for all; on Windows so is any file that a program has open."""
    path = loras / "a.safetensors"
    path.write_bytes(OLD)
    loras.chmod(0o1777)
    for place in (loras, path):
        os.chown(place, 65_534, 65_534)
    outcome = mortal.fetch([raw()], loras, replace=True)
    assert (outcome.code, left(loras)) == ("IN_USE", {"loras/a.safetensors": OLD})


@pytest.fixture(params=["tmpfs", "bind"])
def mounted(request: pytest.FixtureRequest, loras: Path) -> Iterator[Path]:
    """The loras folder as a volume of its own, or as another view of the volume it is on."""
    tmpfs = ["-t", "tmpfs", "-o", "size=600m", "tmpfs"]
    how = tmpfs if request.param == "tmpfs" else ["--bind", str(loras)]
    if subprocess.call(["mount", *how, str(loras)], stderr=subprocess.DEVNULL):
        pytest.skip("may not mount a volume")
    yield loras
    subprocess.check_call(["umount", str(loras)])


def test_a_loras_folder_on_a_mount_of_its_own_is_filled_and_left_clean(
    fetcher: Fetcher, mounted: Path
) -> None:
    assert_whole(fetcher.fetch([raw()], mounted), mounted)


@pytest.mark.parametrize("mounted", ["tmpfs"], indirect=True)
def test_a_small_disk_is_refused_before_the_first_byte(
    hub: Hub, fetcher: Fetcher, mounted: Path
) -> None:
    (mounted / "filler").write_bytes(bytes(150 * 2**20))
    outcome = fetcher.fetch([raw()], mounted)
    assert (outcome.code, asked(hub)) == ("DISK_FULL", ["HEAD"])
    assert outcome.message.count(" GB") == 2


def test_a_file_that_is_there_needs_no_network(hub: Hub, fetcher: Fetcher, loras: Path) -> None:
    (loras / "a.safetensors").write_bytes(DATA)
    assert_whole(fetcher.fetch([raw(sha256=sha256(DATA))], loras), loras)
    assert hub.seen == []
    assert_whole(fetcher.fetch([raw()], loras), loras)
    assert asked(hub) == ["HEAD"]


@pytest.mark.parametrize("present", [OLD, OTHER], ids=["other size", "same size"])
@pytest.mark.parametrize("entry", [raw(), raw(sha256=sha256(DATA))], ids=["hub", "catalog"])
def test_a_file_of_other_contents_gives_way_only_on_request(
    fetcher: Fetcher, loras: Path, present: bytes, entry: Raw
) -> None:
    (loras / "a.safetensors").write_bytes(present)
    told = fetcher.fetch([entry], loras)
    assert told.code == "EXISTS_DIFFERENT"
    command = "`python -m catalog fetch p --base-model wan-i2v-14b --replace`"
    assert f"in the folder of DualPass, run {command}." in told.message
    assert left(loras) == {"loras/a.safetensors": present}
    assert_whole(fetcher.fetch([entry], loras, replace=True), loras)


def test_a_file_that_comes_while_another_is_downloaded_stays(fetcher: Fetcher, loras: Path) -> None:
    path = loras / "a.safetensors"
    assert fetcher.fetch([raw()], loras, plant=str(path)).code == "EXISTS_DIFFERENT"
    assert left(loras) == {"loras/a.safetensors": b"planted"}


def test_a_link_in_the_place_of_the_file_is_replaced_and_never_written_through(
    fetcher: Fetcher, loras: Path, tmp_path: Path
) -> None:
    elsewhere, path = tmp_path / "elsewhere", loras / "a.safetensors"
    elsewhere.write_bytes(OLD)
    path.symlink_to(elsewhere)
    assert fetcher.fetch([raw()], loras).code == "EXISTS_DIFFERENT"
    assert path.is_symlink()
    assert_whole(fetcher.fetch([raw()], loras, replace=True), loras)
    assert not path.is_symlink()
    assert elsewhere.read_bytes() == OLD
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    assert_whole(fetcher.fetch([raw()], loras), loras)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_a_link_is_followed(fetcher: Fetcher, loras: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "wan").mkdir(parents=True)
    (loras / "wan").symlink_to(tmp_path / "far" / "wan")
    outcome = fetcher.fetch([raw("wan/new/a.safetensors", hf_file="a.safetensors")], loras)
    assert outcome.paths == [str(loras / "wan" / "new" / "a.safetensors")]
    assert (tmp_path / "far" / "wan" / "new" / "a.safetensors").read_bytes() == DATA


@pytest.mark.parametrize(
    "file",
    ["../a.safetensors", "/a.safetensors", "C:\\a.safetensors", "a.pt", "nul.sft", "a\0.sft", ""],
)
def test_unsafe_names_are_refused(hub: Hub, fetcher: Fetcher, loras: Path, file: str) -> None:
    outcome = fetcher.fetch([raw(file, hf_file="a.safetensors")], loras)
    assert (outcome.code, hub.seen, left(loras)) == ("NAME", [], {})


HIGH = raw("h.safetensors", pair_role="high")
LOW = raw("sub/l.safetensors", pair_role="low", hf_file="l.safetensors")


def test_a_pair_is_watched_as_one(hub: Hub, fetcher: Fetcher, loras: Path) -> None:
    put(hub, Shelved(DATA), "h.safetensors")
    put(hub, Shelved(OTHER), "l.safetensors")
    outcome = fetcher.fetch([HIGH, LOW], loras)
    assert outcome.begun == ["h.safetensors", "l.safetensors"]
    assert left(loras) == {
        "loras/h.safetensors": DATA,
        "loras/sub": b"",
        "loras/sub/l.safetensors": OTHER,
    }
    assert outcome.told == sorted(outcome.told)
    assert outcome.told[-1] == [2 * SIZE, 2 * SIZE]
    # What is there counts as done.
    (loras / "sub/l.safetensors").unlink()
    outcome = fetcher.fetch([HIGH | {"sha256": sha256(DATA)}, LOW], loras)
    assert [SIZE, 2 * SIZE] in outcome.told
    assert [65_536, 2 * SIZE] not in outcome.told


def test_nothing_begins_when_half_a_pair_cannot_be_had(
    hub: Hub, fetcher: Fetcher, loras: Path
) -> None:
    put(hub, Shelved(DATA), "h.safetensors")
    assert fetcher.fetch([HIGH, LOW], loras).code == "NOT_FOUND"
    assert ("GET" in asked(hub), left(loras)) == (False, {})


def test_what_arrived_before_the_other_half_failed_stays(
    hub: Hub, fetcher: Fetcher, loras: Path
) -> None:
    put(hub, Shelved(DATA), "h.safetensors")
    put(hub, Shelved(DATA, etag=sha256(OTHER)), "l.safetensors")
    assert fetcher.fetch([HIGH, LOW], loras).code == "HASH"
    assert left(loras) == {"loras/h.safetensors": DATA}


def test_a_pair_that_contradicts_itself_is_not_fetched(
    hub: Hub, fetcher: Fetcher, loras: Path
) -> None:
    outcome = fetcher.fetch([HIGH, LOW | {"pair_role": "high"}], loras)
    assert (outcome.code, hub.seen) == ("CONFLICT", [])
    assert "remove one of them" in outcome.message


def test_one_file_for_high_and_low_is_fetched_once(hub: Hub, fetcher: Fetcher, loras: Path) -> None:
    outcome = fetcher.fetch([raw(pair_role="high"), raw(pair_role="low")], loras)
    assert (outcome.paths, asked(hub)) == ([str(loras / "a.safetensors")], ["HEAD", "GET"])


def test_two_processes_do_not_fetch_one_file_twice(hub: Hub, fetcher: Fetcher, loras: Path) -> None:
    first = fetcher.start([raw()], loras, hold_at=SIZE // 2)
    wait_until(lambda: (loras.parent / ".dualpass").exists() and "GET" in asked(hub))
    assert fetcher.fetch([raw()], loras).code == "BUSY"
    assert asked(hub).count("GET") == 1
    os.kill(first, signal.SIGKILL)
    assert fetcher.wait(first).signal == signal.SIGKILL
    assert_whole(fetcher.fetch([raw()], loras), loras)


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_a_cancelled_download_leaves_nothing(fetcher: Fetcher, loras: Path, share: float) -> None:
    (loras / "a.safetensors").write_bytes(OLD)
    outcome = fetcher.fetch([raw()], loras, replace=True, cancel_at=int(SIZE * share))
    assert (outcome.code, left(loras)) == ("CANCELLED", {"loras/a.safetensors": OLD})


MOMENTS = random.Random(7)


@pytest.mark.parametrize("old", [None, OLD], ids=["new", "replaced"])
def test_a_download_killed_at_any_moment_loses_nothing(
    hub: Hub, fetcher: Fetcher, loras: Path, old: bytes | None
) -> None:
    """62 moments: calls to the system, bytes that arrived, and by the clock."""
    steps = fetcher.fetch([raw()], loras, replace=True).steps
    # All of the last, which hash, install and tidy.
    chosen = [*MOMENTS.sample(range(1, steps - 32), 13), *range(steps - 32, steps + 1)]
    before = [{"die_before": number} for number in chosen]
    # The last byte is told of again while the file is hashed.
    arrived = [{"die_at": n} for n in (*MOMENTS.sample(range(SIZE), 9), SIZE)]
    waits: list[float | None] = [MOMENTS.uniform(0, 0.3) for _ in range(6)]
    for death, wait in [*((each, None) for each in before + arrived), *(({}, w) for w in waits)]:
        assert (loras / "a.safetensors").exists()
        put_before(loras, old)
        put(hub, Shelved(DATA, pause=0.01 if wait else 0))
        pid = fetcher.start([raw()], loras, replace=True, **death)
        if wait:
            time.sleep(wait)
            with suppress(ProcessLookupError):  # it was quicker
                os.kill(pid, signal.SIGKILL)
        fetcher.wait(pid)
        hub.files["owner/repo/a.safetensors"].pause = 0
        there = {path.name: path.read_bytes() for path in loras.glob("*.safetensors")}
        assert there in ({} if old is None else {"a.safetensors": old}, {"a.safetensors": DATA})
        assert_whole(fetcher.fetch([raw()], loras, replace=True), loras)


def put_before(loras: Path, old: bytes | None) -> None:
    (loras / "a.safetensors").unlink()
    if old is not None:
        (loras / "a.safetensors").write_bytes(old)


def test_what_others_left_is_removed_after_a_day_and_only_what_is_ours(
    hub: Hub, fetcher: Fetcher, loras: Path
) -> None:
    shed = loras.parent / ".dualpass"
    for key, age in (("a" * 16, 90_000), ("b" * 16, 80_000), ("not-ours", 90_000)):
        part = shed / f"{key}.{'0' * 16}" / "part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"half")
        lock = shed / f"{key}.lock"
        lock.touch()
        os.utime(lock, (time.time() - age,) * 2)
    held = fetcher.start([raw("held.safetensors", hf_file="a.safetensors")], loras, hold_at=1)
    wait_until(lambda: "GET" in asked(hub))
    (lock,) = (each for each in shed.glob("*.lock") if each.stem not in ("b" * 16, "not-ours"))
    os.utime(lock, (time.time() - 90_000,) * 2)
    assert fetcher.fetch([raw()], loras).code == ""
    names = {path.name.partition(".")[0] for path in shed.iterdir()}
    assert names == {"b" * 16, "not-ours", lock.stem}
    assert len(list(shed.glob(f"{lock.stem}.*"))) == 2
    os.kill(held, signal.SIGKILL)
    fetcher.wait(held)

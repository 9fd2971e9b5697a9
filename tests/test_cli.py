"""The command line as it is typed: real processes, in folders of their own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pack.catalog.command.console import Progress

ROOT = Path(__file__).parents[1]
BASE = "wan-i2v-14b"
KEPT = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
Done = subprocess.CompletedProcess[str]


def run(*arguments: str, cwd: Path = ROOT, flags: tuple[str, ...] = (), **more: Any) -> Done:
    """`python -m catalog …`, ended within five minutes and without a traceback."""
    env = KEPT | {"PYTHONDONTWRITEBYTECODE": "1", "PWD": str(cwd)} | more.pop("env", {})
    command = [sys.executable, *flags, "-m", "catalog", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, **more
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def lora(path: Path, *, dtype: str = "F32", rank: int = 4) -> Path:
    """A small, sound LoRA for a part of a 14B model."""
    tensors, end = {}, 0
    for part, shape in (("down", [rank, 5120]), ("up", [5120, rank])):
        span = 4 * rank * 5120
        key = f"diffusion_model.blocks.0.self_attn.q.lora_{part}.weight"
        tensors[key] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + span]}
        end += span
    text = json.dumps(tensors).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * end)
    return path


class Home:
    """Somebody's loras folder and catalog."""

    def __init__(self, folder: Path) -> None:
        self.loras = folder / "loras"
        self.user = folder / "user"
        self.places = ("--loras", str(self.loras), "--user", str(self.user))
        self.loras.mkdir()
        self.user.mkdir()

    def run(self, command: str, *arguments: str, **more: Any) -> Done:
        return run(*command.split(), *arguments, *self.places, **more)

    def put(self, content: object, name: str = "loras.json") -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.user / name).write_text(text, encoding="utf-8")

    def entries(self) -> list[dict[str, Any]]:
        return json.loads((self.user / "loras.json").read_text(encoding="utf-8"))["loras"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def raw(role: str, file: str, pair_id: str = "mine", **more: Any) -> dict[str, Any]:
    return {"file": file, "base_model": BASE, "pair_id": pair_id, "pair_role": role} | more


# ---------------------------------------------------------------------------------------- check


def test_check_finds_no_error_in_the_shipped_catalog() -> None:
    done = run("check", flags=("-S",))  # without any package but Python's own
    assert done.returncode == 0
    summary = done.stdout.splitlines()[-1]
    assert "which files are there is not known" in summary
    assert "errors: 0" in summary
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        ('{"loras": [\n  {"file": "x.sft",}]}', "models.json", "user/models.json:2:"),
        ({"loras": [raw("hi", "x.sft")]}, "loras.json", "pair_role must be one of high, low, both"),
        ({"loras": [raw("high", "x.sft"), raw("high", "y.sft")]}, "loras.json", "also y.sft"),
        ({"loras": [raw("high", "twice.sft")]}, "loras.json", "twice.sft is there 2 times"),
        ("[]", "presets.json", "user/presets.json:1:1"),
    ],
)
def test_check_fails_on_what_cannot_run(home: Home, content: object, name: str, text: str) -> None:
    for folder in "ab":
        lora(home.loras / folder / "twice.sft")
    home.put(content, name)
    done = home.run("check")
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("error: "))
    assert text in line
    assert "errors: 1" in done.stdout.splitlines()[-1]


PRESET = {"name": "Mine", "base_model": BASE, "selection": "gone@1", "notes": ""}


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        ({"loras": [raw("high", "there.sft")]}, "loras.json", "has no file for the low pass"),
        ({"loras": [raw("both", "there.sft", size=5)]}, "loras.json", "and the catalog says 5."),
        (
            {"loras": [raw("high", "there.sft"), raw("low", "gone.sft")]},
            "loras.json",
            f"mine of {BASE} lacks gone.sft. Nobody says where it is.",
        ),
        (
            {"loras": [raw("both", "gone.sft", hf_repo="a/b", hf_file="c.sft")]},
            "loras.json",
            f"`python -m catalog fetch mine --base-model {BASE}` gets it.",
        ),
        ({"loras": [raw("both", "b.sft", same_as="nobody")]}, "loras.json", "no such pair"),
        ({"loras": [raw("both", "b.sft", trigger=5)]}, "loras.json", "The field is ignored."),
        ({"presets": [PRESET]}, "presets.json", "The preset Mine of wan-i2v-14b does not run"),
    ],
)
def test_check_warns_of_what_is_doubtful(home: Home, content: object, name: str, text: str) -> None:
    lora(home.loras / "there.sft")
    home.put(content, name)
    done = home.run("check")
    assert done.returncode == 0
    assert any(line.startswith("warning: ") and text in line for line in done.stdout.splitlines())


@pytest.mark.skipif(os.name == "nt", reason="needs links")
@pytest.mark.parametrize("name", ["models.json", "loras.json", "presets.json"])
def test_check_tells_of_a_file_of_yours_that_is_gone(home: Home, name: str) -> None:
    (home.user / name).symlink_to(home.user / "elsewhere.json")
    done = home.run("check")
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("error: "))
    assert f"user/{name}" in line


def test_check_speaks_json(home: Home) -> None:
    home.put("{")
    found = json.loads(home.run("check", "--json").stdout)
    assert found[0]["level"] == "error"
    assert "loras.json:1:" in found[0]["text"]


# ----------------------------------------------------------------------------------------- list


def test_list_tells_which_files_are_there(home: Home) -> None:
    home.put({"loras": [raw("both", "sub/b.sft", kind="style"), raw("high", "h.sft", "half")]})
    size = lora(home.loras / "sub" / "b.sft").stat().st_size
    rows = json.loads(home.run("list", "--json", "--base-model", BASE).stdout)
    mine = {row["pair_id"]: row for row in rows}["mine"]
    assert (mine["installed"], mine["size"], mine["kind"], mine["own"]) == (
        True,
        size,
        "style",
        True,
    )
    assert mine["both"]["file"] == "sub/b.sft"
    assert {row["base_model"] for row in rows} == {BASE}
    lines = home.run("list").stdout.splitlines()
    assert any(line.split()[:4] == ["mine", "style", "both", "there"] for line in lines)
    assert any(line.split()[:3] == ["half", "H", "missing"] for line in lines)


def test_list_does_not_pretend_to_know(home: Home) -> None:
    done = run("list", "--json")
    assert {row["installed"] for row in json.loads(done.stdout)} == {None}
    assert "not known" in run("list").stderr
    assert "no pairs; there are some for" in run("list", "--base-model", "sdxl").stdout
    assert run("list", "--base-model", "sdxl", "--json").stdout.strip() == "[]"


def test_list_shows_what_was_found_on_disk(home: Home) -> None:
    for role in ("high", "low"):
        lora(home.loras / f"wan2.2_i2v_glow_{role}_noise.safetensors")
    lines = home.run("list").stdout.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("found on disk"))
    assert "HL" in lines[at + 1]
    pair_id = lines[at + 1].split()[0]
    assert home.run("add", "--detected", pair_id, "--kind", "style").returncode == 0
    assert {entry["pair_id"] for entry in home.entries()} == {pair_id}
    assert {entry["kind"] for entry in home.entries()} == {"style"}
    assert "found on disk" not in home.run("list").stdout


# --------------------------------------------------------------------------------------- detect


def test_detect_tells_role_and_partner_in_the_order_given() -> None:
    files = ["x_low_noise.sft", "sub/unrelated.sft", "x_high_noise.sft"]
    done = run("detect", *files, flags=("-S",))
    assert json.loads(done.stdout) == [
        {"file": files[0], "role": "low", "partner": files[2]},
        {"file": files[1], "role": "unknown", "partner": None},
        {"file": files[2], "role": "high", "partner": files[0]},
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_detect_reads_names_from_the_standard_input() -> None:
    names = "\ufeffé_high.sft\r\n\n  \né_low.sft"
    done = run("detect", "-", input=names, encoding="utf-8", env={"PYTHONIOENCODING": "ascii"})
    assert [each["file"] for each in json.loads(done.stdout)] == ["é_high.sft", "é_low.sft"]


# ------------------------------------------------------------------------------------------ add


def test_add_takes_two_files_whose_names_say_their_roles(home: Home) -> None:
    high = lora(home.loras / "wan" / "glow_i2v_high_noise.safetensors")
    low = lora(home.loras / "wan" / "glow_i2v_low_noise.safetensors", rank=8)
    options = ("--strength", "1:0.8", "--trigger", "glow é", "--kind", "style", "--name", "Glow")
    done = home.run("add", str(low), str(high), "--base-model", BASE, "--id", "glow", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Glow (glow of {BASE}): high wan/glow_i2v_high_noise")
    for entry, path, role in zip(home.entries(), (high, low), ("high", "low"), strict=True):
        assert entry == raw(role, f"wan/{path.name}", "glow") | {
            **{"name": f"Glow {role.title()} Noise", "dest": "loras", "kind": "style"},
            **{"strength": [1, 0.8], "trigger": "glow é", "size": path.stat().st_size},
            **({"size_gb": entry["size_gb"]} if "size_gb" in entry else {}),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    before = time.strftime("%Y-%m-%d")
    home.run("add", "--both", str(lora(home.loras / "b.sft")), "--base-model", BASE)
    document = json.loads((home.user / "loras.json").read_text(encoding="utf-8"))
    assert (document["version"], len(document["loras"])) == ("2", 3)
    assert document["date"] in (before, time.strftime("%Y-%m-%d"))  # midnight may lie between


@pytest.mark.parametrize(
    ("arguments", "roles"),
    [
        (("a_high.sft", "a_low.sft"), ["high", "low"]),
        (("a_high.sft",), ["high"]),
        (("--high", "a_high.sft", "--low", "b_low.sft"), ["high", "low"]),
        (("--both", "plain.sft"), ["both"]),
        (("--low", "sub/plain2.sft"), ["low"]),
        (("--low", "plain2.sft"), ["low"]),
    ],
)
def test_add_finds_files_by_their_names_among_the_loras(
    home: Home, arguments: tuple[str, ...], roles: list[str]
) -> None:
    for file in ("a_high.sft", "a_low.sft", "b_low.sft", "plain.sft", "sub/plain2.sft"):
        lora(home.loras / file)
    done = home.run("add", *arguments, "--base-model", BASE)
    assert done.returncode == 0, done.stderr
    assert [entry["pair_role"] for entry in home.entries()] == roles
    assert home.run("check").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("plain.sft", "a_low.sft"), "The name of plain.sft does not say which pass it is for."),
        (("a_high.sft", "other_high.sft"), "a_high.sft is high, other_high.sft is high."),
        (("a_high.sft", "b_low.sft"), "write --high a_high.sft --low b_low.sft."),
        (("a_high.sft", "c d_low.sft"), "write --high a_high.sft --low 'c d_low.sft'."),
        (("gone_high.sft",), "There is no file gone_high.sft, here or in "),
        (("--both", "/etc/hostname"), "lies in none of the loras folders"),
        (
            ("--both", "LORAS/text.txt"),
            "cannot be in the catalog: its name must end in .safetensors",
        ),
        (("--both", "broken.sft"), "broken.sft is a web page"),
        (("--both", "twice.sft"), "twice.sft is there 2 times: x/twice.sft, y/twice.sft."),
        (("--detected", "nobody"), "No pair 'nobody' was found on disk; those found are: "),
        (("--both", "plain.sft", "--id", "taken"), "taken of wan-i2v-14b has t.sft for both"),
    ],
)
def test_add_refuses_what_it_would_have_to_guess(
    home: Home, arguments: tuple[str, ...], text: str
) -> None:
    names = ("a_high.sft", "a_low.sft", "b_low.sft", "c d_low.sft", "other_high.sft", "plain.sft")
    for file in (*names, "x/twice.sft", "y/twice.sft"):
        lora(home.loras / file)
    (home.loras / "text.txt").touch()
    (home.loras / "broken.sft").write_text("<html>")
    home.put({"loras": [raw("both", "t.sft", "taken")]})
    before = (home.user / "loras.json").read_bytes()
    given = (argument.replace("LORAS", str(home.loras)) for argument in arguments)
    done = home.run("add", "--base-model", BASE, *given)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert (home.user / "loras.json").read_bytes() == before


def test_add_says_what_follows_from_it(home: Home) -> None:
    for file in ("my_low.sft", "svi_high.sft", "seko_v1_high_noise.sft"):
        lora(home.loras / file)
    done = home.run("add", "--high", "my_low.sft", "--base-model", BASE, "--id", "svi-v2-pro")
    assert "The name of my_low.sft says low, and it is added for high" in done.stderr
    assert "has no file for the low pass" in done.stderr
    assert "in the place of the shipped pair svi-v2-pro" in done.stderr


def test_adding_again_says_what_became_of_it(home: Home) -> None:
    lora(home.loras / "glow_high.sft")
    again = ("glow_high.sft", "--base-model", BASE)
    home.run("add", *again, "--id", "shine", "--name", "Shine", "--trigger", "sun", "--steps", "4")
    (before,) = home.entries()
    done = home.run("add", *again)
    assert done.stdout.startswith(f"Shine (shine of {BASE}) is already there, unchanged: high glow")
    assert home.entries() == [before]
    lora(home.loras / "glow_high.sft", rank=8)
    done = home.run("add", *again, "--trigger", "moon")
    assert done.stdout.startswith(f"Shine (shine of {BASE}): high glow_high.sft")
    (after,) = home.entries()
    digest = hashlib.sha256((home.loras / "glow_high.sft").read_bytes()).hexdigest()
    sizes = {key: after[key] for key in ("size", "size_gb") if key in after}
    assert after == before | sizes | {"sha256": digest, "trigger": "moon"}
    assert (after["size"] > before["size"], after["steps"]) == (True, 4)


@pytest.mark.parametrize("first", ["high", "low"])
def test_halves_that_are_added_one_by_one_are_one_pair(home: Home, first: str) -> None:
    second = "low" if first == "high" else "high"
    for role in (first, second):
        lora(home.loras / f"my_glow_{role}_noise.safetensors")
        lora(home.loras / f"other_{role}_noise.safetensors")
    file = "my_glow_{}_noise.safetensors".format
    home.run("add", file(first), "--base-model", BASE, "--id", "glow", "--name", "Glow")
    home.run("add", f"other_{first}_noise.safetensors", "--base-model", BASE)
    # The model is known by now.
    assert home.run("add", file(second)).returncode == 0
    mine = [each for each in home.entries() if each["pair_id"] == "glow"]
    assert [(each["pair_role"], each["file"], each["name"]) for each in mine] == [
        (role, file(role), f"Glow {role.title()} Noise") for role in (first, second)
    ]
    done = home.run("add", f"--{second}", f"other_{second}_noise.safetensors", "--id", "apart",
                    "--base-model", BASE)  # fmt: skip
    assert done.returncode == 0
    assert len([each for each in home.entries() if each["pair_id"] == "apart"]) == 1


def test_the_command_of_a_stack_that_is_not_known_works_as_it_stands(home: Home) -> None:
    files = {role: f"my job/my_{role}_noise.safetensors" for role in ("high", "low")}
    for file in files.values():
        lora(home.loras / file)
    loras = [{"path": file, "transformer": role} for role, file in files.items()]
    stack = ("import", "-", "--base-model", BASE)
    done = home.run(*stack, input=json.dumps({"loras": loras}))
    selection, command = done.stdout, done.stderr.partition("python -m catalog ")[2]
    assert home.run(*shlex.split(command)).returncode == 0
    assert [entry["file"] for entry in home.entries()] == list(files.values())
    done = home.run(*stack, input=json.dumps({"loras": loras}))
    assert (done.stdout, done.stderr) == (selection, "")


def test_add_leaves_a_broken_catalog_alone(home: Home) -> None:
    lora(home.loras / "b.sft")
    home.put('{"loras": [\n // mine\n]}')
    done = home.run("add", "--both", "b.sft", "--base-model", BASE)
    assert done.returncode == 1
    assert "user/loras.json:2:2:" in done.stderr
    assert (home.user / "loras.json").read_text() == '{"loras": [\n // mine\n]}'


# --------------------------------------------------------------------------------------- doctor


def test_doctor_reports_and_its_status_tells_what_is_unusable(home: Home) -> None:
    good = lora(home.loras / "sub" / "my_high_noise.safetensors")
    done = home.run("doctor", "my_high_noise.safetensors")
    assert done.returncode == 0
    assert "made for  Wan 14B" in done.stdout
    bad = home.loras / "x.safetensors"
    bad.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    done = run("doctor", str(good), str(bad), "gone.sft", "--json", flags=("-S",))
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [each["usable"] for each in told] == [True, False, False]
    assert told[0]["ranks"] == {"4": 1}
    assert "git-lfs pointer" in told[1]["problems"][0]


# -------------------------------------------------------------------------- presets and stacks


def test_presets_go_round(home: Home, tmp_path: Path) -> None:
    presets = [PRESET, PRESET | {"name": "Zweite é", "selection": "svi-v2-pro@1:0.5"}]
    home.put({"presets": presets}, "presets.json")
    listed = home.run("presets list", env={"PYTHONIOENCODING": "utf-8"}, encoding="utf-8")
    assert f"{BASE:18} Zweite é (yours): svi-v2-pro@1:0.5" in listed.stdout.splitlines()
    shared = tmp_path / "shared.json"
    assert run("presets", "export", str(shared), "--user", str(home.user)).returncode == 0
    assert json.loads(shared.read_text(encoding="utf-8")) == {"presets": presets}
    other = str(tmp_path / "other")
    assert run("presets", "import", str(shared), "--user", other).returncode == 0
    done = run("presets", "export", "-", "--user", other, env={"PYTHONIOENCODING": "ascii"})
    assert json.loads(done.stdout) == {"presets": presets}
    changed = {"presets": [PRESET | {"selection": "other@1"}]}
    shared.write_text(json.dumps(changed))
    assert "Mine is there already" in run("presets", "import", str(shared), "--user", other).stderr
    run("presets", "import", str(shared), "--replace", "--user", other)
    assert (
        json.loads(Path(other, "presets.json").read_text())["presets"][0]["selection"] == "other@1"
    )


def test_presets_are_written_over_no_other_file(home: Home, tmp_path: Path) -> None:
    home.put({"presets": [PRESET]}, "presets.json")
    path = tmp_path / "my notes.txt"
    path.write_text("Years of work.")
    done = home.run("presets export", str(path))
    assert (done.returncode, path.read_text()) == (1, "Years of work.")
    assert "is no file of presets. Name another, or write over it with --replace." in done.stderr
    assert home.run("presets export", str(path), "--replace").returncode == 0
    assert home.run("presets export", str(path)).returncode == 0
    assert json.loads(path.read_text()) == {"presets": [PRESET]}


def test_broken_presets_are_told_once(home: Home) -> None:
    home.put('{"presets": [,]}', "presets.json")
    done = home.run("presets list")
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert done.stderr.startswith("warning: user/presets.json:1:14: ")
    assert "(yours)" not in done.stdout


@pytest.mark.parametrize("form", ["lightx2v", "ai-toolkit", "applies-to"])
def test_a_stack_goes_round(form: str) -> None:
    selection = "lightx2v-4step@0.5:1, svi-v2-pro@1"
    done = run("export", selection, "--base-model", BASE, "--form", form)
    assert done.returncode == 0, done.stderr
    back = run("import", "-", "--base-model", BASE, input=done.stdout)
    assert back.stdout.strip() == selection


def test_what_an_import_leaves_out_is_told_beside_the_result(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    stack = [{"path": "unheard_of.safetensors", "weight": 1, "applies_to": "high_noise"}]
    path.write_text(json.dumps(stack))
    done = run("import", str(path), "--base-model", BASE)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "unheard_of" in done.stderr


# ---------------------------------------------------------------------------------------- fetch


def test_fetch_says_what_is_missing_to_fetch(home: Home) -> None:
    places = ("svi-v2-pro", "--base-model", BASE)
    done = home.run("fetch", *places, flags=("-S",))
    assert done.returncode == 1
    assert "huggingface_hub is missing" in done.stderr
    assert "-m pip install huggingface_hub" in done.stderr
    assert "`python -m catalog list` shows all" in home.run("fetch", "nobody").stderr
    assert "say which with --base-model" in home.run("fetch", "fusionx").stderr
    assert (
        "There is no" in run("fetch", *places).stderr
        or "lies in no" in run("fetch", *places).stderr
    )


@pytest.fixture
def hub() -> Iterator[Any]:
    pytest.importorskip("huggingface_hub")
    from rig import hub

    with hub.running() as running:
        yield running


def offered(home: Home, hub: Any, file: str, role: str, **more: Any) -> dict[str, Any]:
    """An entry whose file the hub has."""
    from rig.hub import Shelved

    data = lora(home.loras.parent / "hub" / file).read_bytes()
    hub.files[f"owner/repo/{file}"] = Shelved(data, **more)
    return raw(role, file, source="huggingface", hf_repo="owner/repo", hf_file=file)


def env_of(home: Home, hub: Any) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(home.loras.parent / "hf")}


def test_fetch_downloads_both_halves_and_tells_how_far_it_is(home: Home, hub: Any) -> None:
    home.put({"loras": [offered(home, hub, f"a_{role}.sft", role) for role in ("high", "low")]})
    done = home.run("fetch", "mine", env=env_of(home, hub))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(home.loras / f"a_{role}.sft") for role in ("high", "low")]
    assert "kB of" in done.stderr
    assert "\r" not in done.stderr
    assert json.loads(home.run("list", "--json").stdout)[0]
    assert sorted(os.listdir(home.loras)) == ["a_high.sft", "a_low.sft"]


def test_fetch_replaces_another_file_only_when_told(home: Home, hub: Any) -> None:
    home.put({"loras": [offered(home, hub, "a.sft", "both")]})
    lora(home.loras / "a.sft", rank=2)
    before = (home.loras / "a.sft").read_bytes()
    done = home.run("fetch", "mine", env=env_of(home, hub))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: a.sft is there already")
    assert (home.loras / "a.sft").read_bytes() == before
    assert home.run("fetch", "mine", "--replace", env=env_of(home, hub)).returncode == 0
    assert (home.loras / "a.sft").read_bytes() != before


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_ctrl_c_ends_a_download_cleanly(home: Home, hub: Any) -> None:
    home.put({"loras": [offered(home, hub, "a.sft", "both", stall=65_536)]})
    command = [sys.executable, "-m", "catalog", "fetch", "mine", *home.places]
    process = subprocess.Popen(
        command, cwd=ROOT, env=KEPT | env_of(home, hub), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    due = time.monotonic() + 300
    while "GET" not in hub.methods and time.monotonic() < due:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "Cancelled."
    assert "Traceback" not in err
    assert os.listdir(home.loras) == []


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_with_speed_and_time_left() -> None:
    times = iter([0.0, 0.0, 0.1, 10.0, 90.0])
    terminal = Terminal()
    progress = Progress(terminal, lambda: next(times))
    for done in (0, 1_000_000, 20_000_000, 1_230_000_000):
        progress(done, 1_230_000_000)
    progress.close()
    assert [line.rstrip() for line in terminal.getvalue().strip().split("\r")] == [
        "0 kB of 1.23 GB",
        "20.0 MB of 1.23 GB, 1.9 MB/s, 10:30 left",
        "1.23 GB of 1.23 GB, 15.1 MB/s",
    ]
    assert terminal.getvalue().endswith("\n")


# --------------------------------------------------------------------- where things are, streams


@pytest.mark.parametrize("how", ["copy", "link"])
def test_the_comfyui_around_the_pack_is_found(tmp_path: Path, how: str) -> None:
    """Also where custom_nodes lies in a --base-directory: it looks the same."""
    pack = tmp_path / "custom_nodes" / "dualpass"
    pack.parent.mkdir()
    if how == "link":
        pack.symlink_to(ROOT)
    else:
        shutil.copytree(ROOT / "catalog", pack / "catalog")
    done = run("add", "--both", "b.sft", "--base-model", BASE, cwd=pack)
    assert done.returncode == 1
    assert f"There is no models folder in {tmp_path}" in done.stderr
    lora(tmp_path / "models" / "loras" / "b.sft")
    done = run("add", "--both", "b.sft", "--base-model", BASE, cwd=pack)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "user" / "__dualpass" / "loras.json").is_file()
    assert "1 with all files there" in run("check", cwd=pack).stdout


def test_without_a_comfyui_the_options_are_named() -> None:
    done = run("add", "--both", "b.sft", "--base-model", BASE)
    assert done.returncode == 1
    assert "lies in no custom_nodes folder of a ComfyUI. Say where" in done.stderr
    assert "extra_model_paths.yaml is not read" in " ".join(run("--help").stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        *[(), ("nonsense",), ("detect",), ("doctor",), ("fetch",), ("presets",), ("add",)],
        *[("list", "--base-model", "../x"), ("export", "x", "--base-model", BASE)],
        *[("export", "x", "--base-model", BASE, "--form", "xml"), ("import", "x")],
        *[("add", "a.sft", "--both", "b.sft"), ("add", "--both", "b", "--high", "a")],
        *[("add", "a.sft", "--strength", "x"), ("add", "a.sft", "--kind", "speed")],
        *[("add", "a.sft", "--strength", "1:2:3"), ("add", "a.sft", "--id", "a b")],
        ("list", "--bas", BASE),
    ],
)
def test_a_command_that_is_not_understood_is_status_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        *[("steps", bad, "must be a whole number from 1 to 1000") for bad in ("x", "4.5", "1" * 9)],
        *[("cfg", bad, "must be a number above 0 and below 100") for bad in ("x", "nan", "0")],
        *[("strength", bad, "must be a number from -10 to 10") for bad in ("x", "1:", "inf")],
        ("id", "a b", "must be 1 to 128 letters, digits"),
    ],
)
def test_a_value_that_will_not_do_is_told_plainly(option: str, value: str, text: str) -> None:
    done = run("add", "a.sft", f"--{option}", value)
    assert done.returncode == 2
    assert f"error: argument --{option}: {text}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("import", "gone.json", "--base-model", BASE), "gone.json: No such file"),
        (("import", "/", "--base-model", BASE), "Is a directory"),
        (("import", "catalog/models.json", "--base-model", BASE), "Item 1"),
        (("export", "a b", "--base-model", BASE, "--form", "lightx2v"), "'a b'"),
        (("export", "gone", "--base-model", BASE, "--form", "lightx2v"), "not in your catalog"),
        (("list", "--loras", "gone"), "--loras gone is no folder"),
        (("presets", "import", "catalog/models.json", "--user", "/tmp"), "models.json:1:1: "),
        (("list", "--user", "gone"), "--user gone is no folder"),
        (("presets", "export", "-", "--user", "gone"), "--user gone is no folder"),
    ],
)
def test_a_failure_is_one_plain_sentence(arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert text in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_encoding_of_a_console_will_do(home: Home, encoding: str) -> None:
    home.put({"loras": [raw("both", "ü/ライト.sft", name="ライト é 😀", trigger="光")]})
    home.put({"presets": [PRESET | {"name": "光"}]}, "presets.json")
    for command in ("list", "list --json", "check", "presets list", "doctor ü/ライト.sft"):
        done = home.run(command, env={"PYTHONIOENCODING": encoding}, encoding=encoding)
        assert done.returncode == int(command.startswith("doctor")), done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a pipe that can be closed")
@pytest.mark.parametrize("command", ["list", "detect", "check"])
def test_a_reader_that_goes_away_is_no_error(command: str) -> None:
    more = [f"{at}_high.sft" for at in range(5000)] if command == "detect" else []
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "catalog", command, *more],
            cwd=ROOT, env=KEPT, stdout=out, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert process.communicate(timeout=300)[1] in ("", UNKNOWN)
    assert process.returncode == 141


UNKNOWN = "Which files are there is not known. Say where your LoRAs lie with --loras DIR.\n"


def test_dev_py_hands_its_arguments_on(tmp_path: Path) -> None:
    lora(tmp_path / "my_high_noise.sft")
    command = [sys.executable, str(ROOT / "dev.py"), "catalog", "doctor", "my_high_noise.sft"]
    done = subprocess.run(
        command, cwd=tmp_path, env=KEPT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("my_high_noise.sft")

"""A catalog file that is no strict JSON: where it is refused, and what the refusal shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pack.catalog.entries import CatalogError, read_entries


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "models.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


SLIPS = "The usual slips are a comma before a closing bracket, a // comment and single quotes."


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ("", (1, 1), "The file is empty."),
        (" \n ", (1, 1), "The file is empty."),
        ('{"a": [\n1,\n]}', (None, None), SLIPS),  # Python 3.13 points at the comma
        ("\ufeff\ufeff{}", (1, 1), SLIPS),
        ('{"loras": [] // mine\n}', (1, 14), SLIPS),
        ("{'loras': []}", (1, 2), SLIPS),
        ('{"loras": [\n  {"file": "x.sft"', (2, 19), SLIPS),
        ("[]", (1, 1), "curly brackets"),
        ("null", (1, 1), "curly brackets"),
        ('"x"', (1, 1), "curly brackets"),
        ('{"loras": [],\n "loras": []}', (2, 2), "'loras' stands twice"),
        ('{"a": [{"x": 1}, {"x": 1,\n  "x": 2}]}', (2, 3), "'x' stands twice"),
        ('{"a": [{"cfg": NaN}]}', (1, 16), "not finite"),
        ('{"a": [{"cfg":\n -Infinity}]}', (2, 2), "not finite"),
        ('{"a": [{"cfg": 1e999}]}', (1, 16), "not finite"),
        ('{"a": [{"size": ' + "1" * 5000 + "}]}", (1, 17), "19 digits"),
        ('{"a": ' + "[" * 100_000, (1, 1), "too deep"),
        ('{"a": ' + "[" * 20 + "]" * 20 + "}", (1, 14), "too deep"),
        ("{}".encode("utf-16"), (1, 1), "UTF-8"),
        ('{\n"a": "é"}'.encode("latin-1"), (2, 7), "UTF-8"),
        ('{"a": [' + ", ".join(["1"] * 5001) + "]}", (1, 7), "More than 5000"),
    ],
)
def test_a_broken_file_is_refused_at_its_place(
    tmp_path: Path, text: str | bytes, place: tuple[int | None, int | None], remedy: str
) -> None:
    with pytest.raises(CatalogError) as caught:
        read_entries(write(tmp_path, text))
    problem = caught.value.problem
    assert place in ((problem.line, problem.column), (None, None))
    assert remedy in problem.text
    assert str(caught.value) == str(problem)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ('{"loras": [\n  {"file": "x.sft",, }\n]}', ' It reads: {"file": "x.sft",, }'),
        ('{"loras": [],\n\t"loras": []}', ' It reads: "loras": []}'),
        ('{"é\u202e": nil}', ' It reads: {"é\\u202e": nil}'),
        ('{"a": [' + "1, " * 60 + "x, " + "2, " * 60, " It reads: " + "1, " * 13 + "x, 2, "),
        ('{"a":\n', ""),
    ],
)
def test_a_broken_line_is_shown(tmp_path: Path, text: str, reads: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read_entries(write(tmp_path, text))
    message = str(caught.value)
    assert reads in message
    assert ("It reads" in message) == bool(reads)
    assert len(message.partition("It reads: ")[2]) <= 85

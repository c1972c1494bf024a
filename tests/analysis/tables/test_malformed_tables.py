"""Any bytes at all, given as a table, end as a law or as a refusal: never as an exception."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analysis.fit_scaling import main

ANY_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
NAMES = ("loss", "params", "tokens", "flops", "core_hours", "epochs", "peak_lr", "group", "seed", "batch_images",
         "selection_loss", "unique_tokens", "error", "loss_sd", "isoflop", "val_loss", "N", "", "  ", "a=b", "größe",
         "<script>", "x (M)", "loss (2)")  # fmt: skip
AWKWARD = ("", " ", "nan", "inf", "-inf", "1e999", "-1", "0", "1e-320", "1e308", "70M", "1,5", "1_0", "True", "None",
           "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "$\\frac{a$", "$x_1$", "[red]x[/blue]", "\x1b[31mred",
           "a\nb", '"', "'", "é" * 300, "２", "٣", "1e", "--", "#REF!")  # fmt: skip


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Returns the exit code of the command and the one JSON object that it printed, both checked."""
    code = main([*arguments, "--json", "--bootstrap", "0"])
    printed: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=_refuse_constant)
    assert code in (0, 2)
    refused = printed["refused"]
    assert (code == 2) == (refused is not None)
    if refused is not None:
        assert refused["reason"] and refused["code"]
        assert refused["reason"].isprintable()
    return code, printed


def _refuse_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def check(path: Path, content: bytes, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Reads a file with these bytes, by its names alone and with the words."""
    path.write_bytes(content)
    run(["--data", str(path), "--quick"], capsys)
    run(["--data", str(path), "--columns", "loss=loss", *words, "--quick"], capsys)


def _table(draw: st.DrawFn, cells: st.SearchStrategy[str]) -> list[list[str]]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6))
    rows = draw(st.lists(st.lists(cells, min_size=1, max_size=len(names) + 1), max_size=20))
    return [names, *rows]


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Tables of awkward cells, in some delimiter and encoding, quoted or not."""
    cells = st.one_of(st.sampled_from(AWKWARD), st.floats().map(repr), st.text(max_size=20))
    lines = _table(draw, cells)
    if draw(st.booleans()):
        lines = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in lines]
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(delimiter.join(line) for line in lines)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-7"])), "replace")


DAMAGES: dict[str, Callable[[list[float], float], list[Any]]] = {
    "equal": lambda column, _: [column[0]] * len(column),
    "negative": lambda column, _: [-value for value in column],
    "one negative": lambda column, at: _with(column, at, -1.0),
    "one zero": lambda column, at: _with(column, at, 0),
    "one huge": lambda column, at: _with(column, at, 1e308),
    "one tiny": lambda column, at: _with(column, at, 1e-308),
    "all huge": lambda column, at: [value * 10.0 ** (100 + 150 * at) for value in column],
    "all tiny": lambda column, at: [value * 10.0 ** (-100 - 200 * at) for value in column],
    "reversed": lambda column, _: column[::-1],
    "reciprocal": lambda column, _: [1 / value if value else 0.0 for value in column],
    "shuffled": lambda column, at: sorted(column, key=lambda value: math.sin(1e3 * at + value)),
    "text": lambda column, at: _with(column, at, AWKWARD[int(at * (len(AWKWARD) - 1))]),
    "all text": lambda column, at: [AWKWARD[int(at * (len(AWKWARD) - 1))]] * len(column),
    "half empty": lambda column, _: [value if i % 2 else "" for i, value in enumerate(column)],
    "two values": lambda column, _: [column[i % 2] for i in range(len(column))],
    "nearly equal": lambda column, _: [column[0] * (1 + 1e-15 * i) for i in range(len(column))],
}
"""What can be wrong with a column of good numbers, at a place between 0 and 1."""


def _with(column: list[float], at: float, cell: object) -> list[Any]:
    place = int(at * (len(column) - 1))
    return [*column[:place], cell, *column[place + 1 :]]


@st.composite
def spoilt_studies(draw: st.DrawFn) -> bytes:
    """Tables that a law made, with any number of columns spoilt and any left out."""
    sizes, data = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    floor, slope = draw(st.sampled_from([0.0, 1.0, 1.7])), draw(st.sampled_from([0.3, 0.05, 1.0]))
    n = [10.0 ** (6 + i / 2) for i in range(sizes) for _ in range(data)]
    d = [10.0 ** (8 + j / 2) for _ in range(sizes) for j in range(data)]
    columns: dict[str, list[Any]] = {
        "loss": [floor + (1e6 / x) ** slope + (1e8 / y) ** slope for x, y in zip(n, d, strict=True)],
        "params": n,
        "tokens": d,
        "flops": [6 * x * y for x, y in zip(n, d, strict=True)],
        "core_hours": [6e-15 * x * y for x, y in zip(n, d, strict=True)],
        "epochs": [y / 1e8 for y in d],
        "peak_lr": [0.1 * (1 + i % 3) for i in range(len(n))],
        "group": [f"size {x:.2g}" for x in n],
        "seed": [i % 2 for i in range(len(n))],
        "unique_tokens": [min(y, 1e9) for y in d],
        "loss_sd": [0.01] * len(n),
        "isoflop": [10.0 ** (15 + i % 3) for i in range(len(n))],
    }
    for name in draw(st.sets(st.sampled_from(sorted(columns)), max_size=9)) - {"loss"}:
        del columns[name]
    for name in draw(st.lists(st.sampled_from(sorted(columns)), max_size=3)):
        numbers = [value if isinstance(value, float) else float(i + 1) for i, value in enumerate(columns[name])]
        columns[name] = DAMAGES[draw(st.sampled_from(sorted(DAMAGES)))](numbers, draw(st.floats(0, 1)))
    rows = [
        ['"{}"'.format(str(cell).replace('"', '""')) for cell in row] for row in zip(*columns.values(), strict=True)
    ]
    return "\n".join(",".join(row) for row in [list(columns), *rows]).encode()


@given(content=texts())
@settings(max_examples=120, suppress_health_check=ANY_FOLDER)
def test_awkward_text(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cells of the wrong kind, ragged lines, strange names, every delimiter and encoding."""
    check(tmp_path / "a.csv", content, capsys, "group=group")


WORDS = (
    [], ["--law", "power"], ["--law", "power_floor", "--floor", "0.9"], ["--law", "surface", "--targets", "1.5,0.1"],
    ["--budgets-flops", "1e12,1e300"], ["--budgets", "400,110k"], ["--huber", "1e-3"], ["--law", "repeated"],
    ["--law", "over_training"], ["--law", "saturating"], ["--law", "broken"],
)  # fmt: skip


@given(content=spoilt_studies(), words=st.sampled_from(WORDS), draws_trust=st.sampled_from([True, False, False, False]))
@settings(max_examples=120, suppress_health_check=ANY_FOLDER)
def test_spoilt_studies(
    content: bytes, words: list[str], draws_trust: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers that are equal, negative, huge, tiny or in the wrong order, and columns that are missing."""
    (tmp_path / "a.csv").write_bytes(content)
    quick = [] if draws_trust else ["--quick"]
    run(["--data", str(tmp_path / "a.csv"), *words, *quick], capsys)


@given(
    content=st.binary(max_size=300), ending=st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet", ".csv.gz"])
)
@settings(max_examples=80, suppress_health_check=ANY_FOLDER)
def test_any_bytes(content: bytes, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Noise under every ending."""
    check(tmp_path / f"a{ending}", content, capsys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)


@given(rows=st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5), max_size=8), torn=st.integers(0, 30))
@settings(max_examples=60, suppress_health_check=ANY_FOLDER)
@example(rows=[{"loss": 2.0, "group": "\ud800"}], torn=0)
def test_any_json(rows: list[dict[str, Any]], torn: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nested, of mixed kinds, and torn off."""
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    check(tmp_path / "a.jsonl", lines[: len(lines) - torn] if torn < 10 else lines, capsys)
    check(tmp_path / "a.json", json.dumps(rows).encode(), capsys)


@given(content=st.binary(min_size=1, max_size=40), place=st.floats(0, 1))
@settings(max_examples=40, suppress_health_check=ANY_FOLDER)
def test_damaged_parquet(
    content: bytes, place: float, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A good file overwritten somewhere, as a failing disk leaves it."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    good = tmp_path / "good.parquet"
    if not good.exists():
        losses = [2.0 + 1.0 / i for i in range(1, 9)]
        parquet.write_table(arrow.table({"loss": losses, "flops": [10.0**i for i in range(8)]}), good)
    whole = bytearray(good.read_bytes())
    at = int(place * (len(whole) - 1))
    whole[at : at + len(content)] = content
    check(tmp_path / "a.parquet", bytes(whole), capsys)


@pytest.mark.parametrize("words", [["--columns", "loss"], ["--filter", "x"], ["--filter", "loss>a"]])
def test_words_that_are_none(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that is not understood is a refusal too."""
    (tmp_path / "a.csv").write_text("loss,flops\n2,1e18\n")
    code, printed = run(["--data", str(tmp_path / "a.csv"), *words], capsys)
    assert code == 2
    assert "not understood" in printed["refused"]["reason"] or "no number" in printed["refused"]["reason"]

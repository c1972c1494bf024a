import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.tables.filters import parse_filters
from analysis.tables.points import PointSet
from analysis.tables.table_file import points_from_table
from sweeps.errors import StudyError
from tests.analysis.synthetic import write_csv

ROWS: list[dict[str, object]] = [
    {"name": "a", "hours": 10, "final": 2.0, "note": "x"},
    {"name": "a", "hours": 20, "final": 1.8, "note": "y"},
    {"name": "b", "hours": 30, "final": 1.7, "note": "x"},
]
COLUMNS = {"loss": "final", "core_hours": "hours", "group": "name"}


def _jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def _parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(rows).to_parquet(path)
    return path


WRITERS: dict[str, Callable[[Path, list[dict[str, object]]], Path]] = {
    "csv": write_csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_table_gives_the_same_points(kind: str, tmp_path: Path) -> None:
    """A table is read alike from CSV, JSON lines and Parquet."""
    points = points_from_table(WRITERS[kind](tmp_path / f"runs.{kind}", ROWS), columns=COLUMNS)
    assert [(p.model, p.core_hours, p.loss) for p in points.points] == [
        ("a", 10.0, 2.0),
        ("a", 20.0, 1.8),
        ("b", 30.0, 1.7),
    ]
    assert points.set_aside == ()


def _read(tmp_path: Path, *more: dict[str, object]) -> PointSet:
    return points_from_table(write_csv(tmp_path / "runs.csv", [*ROWS, *more]), columns=COLUMNS)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"name": "b", "hours": 40, "final": "nan"}, "loss is not finite"),
        ({"name": "b", "hours": 40, "final": ""}, "loss missing"),
        ({"name": "b", "hours": 40, "final": "oops"}, "loss not a number"),
        ({"name": "b", "hours": 40, "final": "2M"}, "loss not a number"),
        ({"name": "b", "hours": 40, "final": "True"}, "loss not a number"),
        ({"name": "b", "hours": 40, "final": 0}, "loss not above zero"),
        ({"name": "b", "hours": 40, "final": "-inf"}, "loss is not finite"),
        ({"name": "b", "hours": -1, "final": 1.5}, "compute not above zero"),
        ({"name": "b", "hours": "inf", "final": 1.5}, "compute not above zero"),
        ({"name": "b", "hours": "oops", "final": 1.5}, "compute not a number"),
        ({"name": "a", "hours": 10, "final": 2.0, "note": "x"}, "exact duplicate row"),
    ],
)
def test_a_row_that_cannot_be_used_is_set_aside(row: dict[str, object], reason: str, tmp_path: Path) -> None:
    """It is counted under its reason; the other rows stay."""
    points = _read(tmp_path, {"note": "z", **row})
    assert [(item.reason, item.count, item.rows) for item in points.set_aside] == [(reason, 1, (4,))]
    assert len(points.points) == 3


def test_a_number_that_no_law_must_have_may_be_missing(tmp_path: Path) -> None:
    """A row with a loss stays, with None for what it has not; the fit that needs it sets it aside."""
    path = write_csv(
        tmp_path / "runs.csv",
        [
            {"loss": 2, "params": "", "tokens": "oops", "lr": 0, "seed": "a", "epochs": "inf", "core_hours": ""},
            {"loss": 2, "params": -1, "tokens": "nan", "lr": True, "seed": 1.5, "epochs": 0, "core_hours": "1e9999x"},
            {"loss": 2, "params": "1_000", "tokens": "1.4T", "lr": " .1", "seed": -3, "epochs": 1, "core_hours": "2k"},
        ],
    )
    points = points_from_table(path)
    first, last = points.points
    assert (first.params, first.tokens, first.peak_lr, first.seed, first.epochs, first.core_hours) == (None,) * 6
    assert (last.params, last.tokens, last.peak_lr, last.seed) == (1000.0, 1.4e12, 0.1, -3)
    assert last.core_hours == 2000
    assert [item.reason for item in points.set_aside] == ["compute not a number"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("70M", 7e7), ("1.4T", 1.4e12), (" 3 B ", 3e9), ("2G", 2e9), ("5k", 5e3), ("5K", 5e3), ("1e21", 1e21),
     ("1_000_000", 1e6), ("70m", 7e7), ("1,000", 1000.0), ("1,00", None), ("0x10", None), ("M", None),
     ("7MM", None), ("yes", None)],
)  # fmt: skip
def test_counts_may_have_the_suffixes_that_people_write(text: str, value: float | None, tmp_path: Path) -> None:
    """Of params, tokens, FLOPs ...; what is no number is None."""
    (point,) = points_from_table(write_csv(tmp_path / "a.csv", [{"loss": 2, "params": text}])).points
    assert point.params == value


def test_the_unit_in_a_name_is_the_unit_of_its_numbers(tmp_path: Path) -> None:
    """`params (M)` counts millions; a cell with a suffix of its own says so itself."""
    rows: list[dict[str, object]] = [
        {"Loss": 2, "Params (M)": 70, "tokens_b": "1.5", "compute [PF-days]": 1},
        {"Loss": 3, "Params (M)": "70M", "tokens_b": 2, "compute [PF-days]": ""},
    ]
    points = points_from_table(write_csv(tmp_path / "runs.csv", rows))
    assert [p.params for p in points.points] == [7e7, 7e7]
    assert [p.tokens for p in points.points] == [1.5e9, 2e9]
    assert points.points[0].flops == 8.64e19


def test_what_is_missing_of_compute_size_and_data_follows_from_the_others(tmp_path: Path) -> None:
    """C = 6 N D row by row, where exactly one of the three is empty; beyond 1e100 nothing was measured."""
    rows: list[dict[str, object]] = [
        {"loss": 2, "params": 10, "tokens": 100, "flops": ""},
        {"loss": 3, "params": "", "tokens": 100, "flops": 600},
        {"loss": 4, "params": 10, "tokens": "", "flops": 600},
        {"loss": 5, "params": 10, "tokens": "", "flops": ""},
        {"loss": 6, "params": 10, "tokens": "oops", "flops": 600},
        {"loss": 7, "params": 10, "tokens": 100, "flops": 5000},
        {"loss": 8, "params": 1e300, "tokens": 1e300, "flops": ""},
    ]
    points = points_from_table(write_csv(tmp_path / "runs.csv", rows))
    made = [(p.params, p.tokens, p.flops) for p in points.points]
    assert made[:4] == [(10, 100, 6000), (1, 100, 600), (10, 10, 600), (10, None, None)]
    assert made[4:] == [(10, None, 600), (10, 100, 5000), (None, None, None)]
    assert points.derived == ("params", "tokens", "flops")


def test_neither_epochs_nor_images_give_tokens_or_flops(tmp_path: Path) -> None:
    """Data counted in epochs is not turned into tokens, and the rule says nothing of images."""
    epochs = points_from_table(write_csv(tmp_path / "e.csv", [{"loss": 2, "params": 9, "flops": 99, "epochs": 3}]))
    assert (epochs.points[0].tokens, epochs.derived, epochs.data_unit) == (None, (), "epochs")
    images = points_from_table(write_csv(tmp_path / "i.csv", [{"loss": 2, "params": 9, "images": 99}]))
    assert (images.points[0].flops, images.derived, images.data_unit) == (None, (), "images")
    both = points_from_table(write_csv(tmp_path / "b.csv", [{"loss": 2, "params": 9, "flops": 540}]))
    assert (both.points[0].tokens, both.derived, both.data_unit) == (10, ("tokens",), "tokens")


def test_rows_set_aside_can_be_found(tmp_path: Path) -> None:
    """The first twenty rows of each reason are named, counted from the first below the header."""
    rows: list[dict[str, object]] = [{"loss": 1 + i if i % 2 else "", "flops": 10 + i} for i in range(60)]
    (aside,) = points_from_table(write_csv(tmp_path / "runs.csv", rows)).set_aside
    assert (aside.count, aside.rows) == (30, tuple(range(1, 40, 2)))


def test_new_kinds_reach_the_points(tmp_path: Path) -> None:
    """Repeated data, downstream error, known noise and the nominal budget."""
    row: dict[str, object] = {"loss": 2, "unique_tokens": "1B", "error": 0, "loss_sd": 0.01, "isoflop": "6e18"}
    points = points_from_table(write_csv(tmp_path / "runs.csv", [row]))
    (point,) = points.points
    assert (point.unique_tokens, point.error, point.loss_sd, point.isoflop) == (1e9, 0, 0.01, 6e18)
    assert ("isoflop", "isoflop") in points.columns


def test_a_million_rows_are_no_loop(tmp_path: Path) -> None:
    """Fifty thousand rows of text, a few of them odd, take about a second."""
    rows: list[dict[str, object]] = [
        {"loss": 1 + i / 1e6, "params": "70M" if i % 1000 == 0 else 1e6 + i, "tokens": 10 + i, "group": f"m{i % 7}"}
        for i in range(50_000)
    ]
    path = write_csv(tmp_path / "runs.csv", rows)
    began = time.perf_counter()
    assert len(points_from_table(path).points) == 50_000
    # Ten times what it takes: another job on the machine is no reason to fail.
    assert time.perf_counter() - began < 10


def test_filters_keep_rows_by_text_and_by_number(tmp_path: Path) -> None:
    """A filter compares as text, or as numbers where both are."""
    path = write_csv(tmp_path / "runs.csv", ROWS)
    by_text = points_from_table(path, columns=COLUMNS, filters=parse_filters(["note=x"]))
    assert [p.core_hours for p in by_text.points] == [10.0, 30.0]
    assert by_text.set_aside[0].reason == "left out by --filter"
    by_number = points_from_table(path, columns=COLUMNS, filters=parse_filters(["hours=2e1"]))
    assert [p.core_hours for p in by_number.points] == [20.0]


def test_names_of_kinds_need_no_map(tmp_path: Path) -> None:
    """A table whose columns bear the names of the kinds is understood as it is."""
    path = write_csv(tmp_path / "runs.csv", [{"model": "a", "core_hours": 1, "loss": 2}])
    points = points_from_table(path)
    assert points.columns == (("loss", "loss"), ("core_hours", "core_hours"), ("group", "model"))


def test_a_table_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    """Missing file, missing column, foreign ending, no rows, bytes that are no text."""
    with pytest.raises(StudyError, match="no table at"):
        points_from_table(tmp_path / "none.csv", columns=COLUMNS)
    path = write_csv(tmp_path / "runs.csv", ROWS)
    with pytest.raises(StudyError, match="no column 'loss'; it has name, hours, final, note"):
        points_from_table(path, columns={"loss": "loss"})
    (tmp_path / "runs.xls").write_text("x")
    with pytest.raises(StudyError, match=r"\.csv, \.tsv, \.jsonl or \.parquet"):
        points_from_table(tmp_path / "runs.xls", columns=COLUMNS)
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(StudyError, match="no rows"):
        points_from_table(tmp_path / "empty.csv", columns=COLUMNS)
    (tmp_path / "torn.jsonl").write_text('{"loss": 1\n')
    with pytest.raises(StudyError, match=r"cannot be read as \.jsonl"):
        points_from_table(tmp_path / "torn.jsonl", columns=COLUMNS)
    (tmp_path / "bytes.csv").write_bytes(b"a,b\n\0\xfe,1\n")
    with pytest.raises(StudyError, match=r"cannot be read as \.csv"):
        points_from_table(tmp_path / "bytes.csv", columns=COLUMNS)
    (tmp_path / "bytes.parquet").write_bytes(b"no parquet")
    with pytest.raises(StudyError, match=r"cannot be read as \.parquet"):
        points_from_table(tmp_path / "bytes.parquet", columns=COLUMNS)

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.points import PointSet
from analysis.table_file import guess_columns, parse_columns, parse_filters, points_from_table
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
        ({"name": "b", "hours": 40, "final": "oops"}, "loss is not finite"),
        ({"name": "b", "hours": 40, "final": 0}, "loss not above zero"),
        ({"name": "b", "hours": "", "final": 1.5}, "core_hours missing"),
        ({"name": "b", "hours": -1, "final": 1.5}, "compute not above zero"),
        ({"name": "a", "hours": 10, "final": 2.0, "note": "x"}, "exact duplicate row"),
    ],
)
def test_a_row_that_cannot_be_used_is_set_aside(row: dict[str, object], reason: str, tmp_path: Path) -> None:
    """It is counted under its reason; the other rows stay."""
    points = _read(tmp_path, {"note": "z", **row})
    assert [(item.reason, item.count) for item in points.set_aside] == [(reason, 1)]
    assert len(points.points) == 3


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
    assert guess_columns(path) == {"loss": "loss", "core_hours": "core_hours", "group": "model"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss"], "KIND=COLUMN"),
        (["colour=red", "loss=final"], "loss, params, tokens"),
        (["core_hours=hours"], "names no loss"),
    ],
)
def test_a_map_that_is_not_understood_says_what_is(words: list[str], message: str) -> None:
    """An unknown kind lists the known ones; a map without a loss says so."""
    with pytest.raises(StudyError, match=message):
        parse_columns(words)


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
    (tmp_path / "bytes.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(StudyError, match=r"cannot be read as \.csv"):
        points_from_table(tmp_path / "bytes.csv", columns=COLUMNS)
    (tmp_path / "bytes.parquet").write_bytes(b"no parquet")
    with pytest.raises(StudyError, match=r"cannot be read as \.parquet"):
        points_from_table(tmp_path / "bytes.parquet", columns=COLUMNS)

"""Points from a table that somebody else made: CSV, JSON lines or Parquet, with a map of its columns."""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.points import Point, PointSet, count_reasons, why_unusable
from sweeps.errors import StudyError

KINDS = (
    "loss",
    "params",
    "tokens",
    "flops",
    "core_hours",
    "epochs",
    "peak_lr",
    "group",
    "selection_loss",
    "batch_images",
    "seed",
)
"""What a column can mean."""
_NUMBERS = tuple(kind for kind in KINDS if kind != "group")


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Returns {kind: column} from words such as `loss=val_loss`; raises StudyError for an unknown kind."""
    columns: dict[str, str] = {}
    for word in words:
        kind, found, column = word.partition("=")
        if not found or kind not in KINDS or not column:
            raise StudyError(
                f"--columns word {word!r} not understood; write KIND=COLUMN with KIND one of {', '.join(KINDS)} "
                "(try: --columns loss=loss core_hours=core_hours group=model)"
            )
        columns[kind] = column
    if "loss" not in columns:
        raise StudyError("--columns names no loss; add loss=COLUMN (and core_hours=COLUMN or flops=COLUMN)")
    return columns


def guess_columns(path: Path) -> dict[str, str]:
    """Returns the columns of a table that bear the name of a kind; `model` is the group where there is no `group`."""
    rows = read_table(path)
    present = {key for row in rows for key in row if key}
    columns = {kind: kind for kind in KINDS if kind in present}
    if "group" not in columns and "model" in present:
        columns["group"] = "model"
    if "loss" not in columns:
        raise StudyError(
            f"{path.name} has no column called loss; it has {', '.join(sorted(present)) or 'none'} "
            "(try: --columns loss=COLUMN core_hours=COLUMN group=COLUMN)"
        )
    return columns


def parse_filters(words: Sequence[str]) -> dict[str, str]:
    """Returns {column: value} from words such as `config=tuned`."""
    filters: dict[str, str] = {}
    for word in words:
        column, found, value = word.partition("=")
        if not found or not column:
            raise StudyError(f"--filter word {word!r} not understood; write COLUMN=VALUE (try: --filter config=tuned)")
        filters[column] = value
    return filters


def read_table(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a .csv, .tsv, .jsonl or .parquet file, in order.

    Raises:
        StudyError: no such file, another kind of file, or a file that cannot be read as what it is called.
    """
    if not path.is_file():
        raise StudyError(f"no table at {path}; --data takes a .csv, .tsv, .jsonl or .parquet file")
    kind = path.suffix.lower()
    if kind not in _READERS:
        raise StudyError(f"a table that ends in {path.suffix!r}; --data takes .csv, .tsv, .jsonl or .parquet")
    try:
        return _READERS[kind](path)
    # Undecodable text, torn JSON and what Arrow raises are all ValueErrors.
    except (ValueError, csv.Error, OSError) as error:
        raise StudyError(f"{path.name} cannot be read as {kind}: {error}; convert it to .csv") from error


def _read_separated(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet  # pyright: ignore[reportMissingTypeStubs]

    reader: Any = parquet
    return reader.read_table(path).to_pylist()


_READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}


def points_from_table(path: Path, *, columns: Mapping[str, str], filters: Mapping[str, str] | None = None) -> PointSet:
    """Returns the points of a table; rows without a usable loss or compute, and exact duplicates, are set aside."""
    rows = read_table(path)
    _check_columns(path, rows, columns=columns, filters=filters or {})
    _check_filters(path, rows, filters or {})
    aside: Counter[str] = Counter()
    points: list[Point] = []
    seen: set[str] = set()
    for row in rows:
        if any(not _is_same(row[column], value) for column, value in (filters or {}).items()):
            aside["left out by --filter"] += 1
            continue
        # A row that a short line left incomplete has None under its missing columns.
        text = json.dumps([str(row.get(column)) for column in sorted(k for k in row if k)])
        if text in seen:
            aside["exact duplicate row"] += 1
            continue
        seen.add(text)
        numbers = {kind: _number(row[columns[kind]]) for kind in _NUMBERS if kind in columns}
        reason = why_unusable(loss=numbers["loss"], compute=(numbers.get("core_hours"), numbers.get("flops")))
        reason = reason or _missing_number(numbers)
        if reason:
            aside[reason] += 1
            continue
        points.append(_point(numbers, group=row[columns["group"]] if "group" in columns else None))
    return PointSet(
        points=tuple(points),
        set_aside=count_reasons(aside),
        source=path.name,
        has_models="group" in columns or "params" in columns,
        data_unit="tokens" if "tokens" in columns or "params" in columns else "epochs",
    )


def _check_columns(
    path: Path, rows: list[dict[str, Any]], *, columns: Mapping[str, str], filters: Mapping[str, str]
) -> None:
    if not rows:
        raise StudyError(f"{path.name} holds no rows; give a table with a header line and one row for each run")
    present = list(dict.fromkeys(key for row in rows for key in row if key))
    for column in (*columns.values(), *filters):
        if column not in present:
            raise StudyError(f"{path.name} has no column {column!r}; it has {', '.join(present)}")


def _check_filters(path: Path, rows: list[dict[str, Any]], filters: Mapping[str, str]) -> None:
    for column, value in filters.items():
        if not any(_is_same(row[column], value) for row in rows):
            there = list(dict.fromkeys(str(row[column]) for row in rows))
            more = f" and {len(there) - 8} more" if len(there) > 8 else ""
            raise StudyError(f"no row of {path.name} has {column}={value}; there are {', '.join(there[:8])}{more}")


def _number(cell: Any) -> float | None:
    """Returns the number in a cell; None for an empty one, NaN for one that is no number."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def _missing_number(numbers: Mapping[str, float | None]) -> str | None:
    """Returns why a row cannot be placed: an axis that other rows have is missing or no positive number here."""
    for kind in ("core_hours", "flops", "params", "tokens", "epochs", "peak_lr"):
        if kind in numbers:
            value = numbers[kind]
            if value is None:
                return f"{kind} missing"
            if not (math.isfinite(value) and value > 0):
                return f"{kind} not above zero"
    return None


def _point(numbers: Mapping[str, float | None], *, group: Any) -> Point:
    loss = numbers["loss"]
    assert loss is not None, "rows without a loss were set aside"
    params, selection = numbers.get("params"), numbers.get("selection_loss")
    batch, seed = numbers.get("batch_images"), numbers.get("seed")
    if group is None:
        group = f"{params:.3g}" if params is not None else "all rows"
    return Point(
        model=str(group),
        loss=loss,
        selection_loss=selection if selection is not None and math.isfinite(selection) else None,
        core_hours=numbers.get("core_hours"),
        flops=numbers.get("flops"),
        params=params,
        tokens=numbers.get("tokens"),
        epochs=numbers.get("epochs"),
        batch_images=None if batch is None or not math.isfinite(batch) else int(batch),
        peak_lr=numbers.get("peak_lr"),
        seed=None if seed is None or not math.isfinite(seed) else int(seed),
    )


def _is_same(cell: Any, wanted: str) -> bool:
    """Returns whether a cell holds the wanted value, as text or as a number."""
    if str(cell) == wanted:
        return True
    try:
        return float(cell) == float(wanted)
    except (TypeError, ValueError):
        return False

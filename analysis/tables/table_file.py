"""Points from a table that somebody else made, a file or the runs of an MLflow store: one row, one point."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.tables.cells import Numbers, names_in, numbers_in
from analysis.tables.columns import COUNTS, KINDS, check_columns, columns_named, magnitude
from analysis.tables.filters import Filter, rows_kept
from analysis.tables.formats import Table, check_not_repeated, read_table
from analysis.tables.points import Point, PointSet, SetAside
from sweeps.errors import StudyError

ROWS_SHOWN = 20
"""How many of the rows set aside for a reason are named."""
_NUMBERS = tuple(kind for kind in KINDS if kind != "group")
_ANY_FINITE = ("selection_loss", "error", "seed")
"""What may be zero or less."""
_LARGEST = 1e100


def points_from_table(
    path: Path, *, columns: Mapping[str, str] | None = None, filters: Sequence[Filter] = ()
) -> PointSet:
    """Returns the points of a table.

    Rows without a usable loss, with a compute that is none, and exact duplicates are set aside. Any other number that
    is missing or unusable is None in its point.

    Args:
        path: of a file that `read_table` reads.
        columns: {kind: column}; by default told from the columns' names.
        filters: that rows must pass.

    Raises:
        StudyError: the table cannot be read, or has not the columns that are wanted.
    """
    return points_from_rows(read_table(path), columns=columns, filters=filters)


def points_from_rows(
    table: Table,
    *,
    columns: Mapping[str, str] | None = None,
    filters: Sequence[Filter] = (),
    known_bad: np.ndarray | None = None,
) -> PointSet:
    """Returns the points of rows that were read already, as `points_from_table`.

    Args:
        table: the rows.
        columns: {kind: column}; by default told from the columns' names.
        filters: that rows must pass.
        known_bad: for each row, why it is set aside whatever it holds; an empty text where it is not.
    """
    frame = table.frame
    names = [str(name) for name in frame.columns]
    if not len(frame):
        raise StudyError(f"{table.source} holds no rows; give a table with a header line and one row for each run")
    found = dict(columns) if columns is not None else columns_named(names, source=table.source)
    filtered = [one.column for one in filters]
    check_not_repeated(table, [*found.values(), *filtered])
    check_columns(names, [*found.values(), *filtered], source=table.source)
    numbers = {kind: _numbers(table, kind, found[kind]) for kind in _NUMBERS if kind in found}
    reasons = np.full(len(frame), "", dtype=object)
    kept = rows_kept(frame, filters, source=table.source, has_decimal_commas=table.has_decimal_commas)
    _give(reasons, ~kept, "left out by --filter")
    if known_bad is not None:
        reasons = np.where(reasons == "", known_bad, reasons)
    _give(reasons, _duplicates(frame, reasons == ""), "exact duplicate row")
    _set_unusable_aside(reasons, numbers)
    values, derived = _derive(numbers, found)
    group = names_in(frame[found["group"]]) if "group" in found else None
    return PointSet(
        points=_points(values, np.flatnonzero(reasons == ""), group, named_by_params="params" in found),
        set_aside=_set_aside(reasons),
        source=table.source,
        has_models="group" in found or "params" in found,
        derived=derived,
        columns=tuple((kind, found[kind]) for kind in KINDS if kind in found),
        data_unit=_data_unit(found, derived),
    )


def _numbers(table: Table, kind: str, column: str) -> Numbers:
    return numbers_in(
        table.frame[column],
        scale=magnitude(kind, column),
        has_suffixes=kind in COUNTS,
        has_decimal_commas=table.has_decimal_commas,
    )


def _give(reasons: np.ndarray, where: np.ndarray, reason: str) -> None:
    """Writes the reason for the rows that have none yet."""
    reasons[where & (reasons == "")] = reason


def _duplicates(frame: Any, among: np.ndarray) -> np.ndarray:
    """Returns which rows are equal, in every column of the file, to an earlier one of those that are looked at."""
    rows = frame[among]
    try:
        repeated = rows.duplicated().to_numpy()
    except TypeError:
        # Lists and objects cannot be compared; as texts they can.
        repeated = rows.map(repr).duplicated().to_numpy()
    duplicates = np.zeros(len(frame), dtype=bool)
    duplicates[np.flatnonzero(among)[repeated]] = True
    return duplicates


def _set_unusable_aside(reasons: np.ndarray, numbers: Mapping[str, Numbers]) -> None:
    loss = numbers["loss"]
    _give(reasons, loss.is_empty, "loss missing")
    _give(reasons, loss.is_no_number, "loss not a number")
    _give(reasons, ~np.isfinite(loss.values), "loss is not finite")
    _give(reasons, loss.values <= 0, "loss not above zero")
    _give(reasons, ~_is_measurable(loss.values), "loss beyond 1e-100 to 1e100")
    for kind in ("core_hours", "flops"):
        if kind in numbers:
            compute = numbers[kind]
            _give(reasons, compute.is_no_number, "compute not a number")
            _give(reasons, ~compute.is_empty & ~compute.usable(above=0.0), "compute not above zero")
            _give(reasons, ~compute.is_empty & ~_is_measurable(compute.values), "compute beyond 1e-100 to 1e100")


def _is_measurable(values: np.ndarray, kind: str = "loss") -> np.ndarray:
    """Returns which values somebody can have measured: beyond 1e100 even sums of squares have no floating point."""
    with np.errstate(invalid="ignore"):
        size = np.abs(values)
        return (size <= _LARGEST) & ((size >= 1 / _LARGEST) | (kind in _ANY_FINITE))


def _set_aside(reasons: np.ndarray) -> tuple[SetAside, ...]:
    """Returns the reasons, most frequent first, with the first of their rows."""
    aside: list[SetAside] = []
    for reason in dict.fromkeys(reasons[reasons != ""].tolist()):
        rows = np.flatnonzero(reasons == reason) + 1
        aside.append(SetAside(reason=reason, count=len(rows), rows=tuple(rows[:ROWS_SHOWN].tolist())))
    return tuple(sorted(aside, key=lambda item: -item.count))


def _derive(numbers: Mapping[str, Numbers], found: Mapping[str, str]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns the usable numbers of each kind, NaN elsewhere, and what of them C = 6 N D gave.

    The rule is of transformers that read tokens (arXiv:2001.08361 sec. 2.1): 2 FLOPs forward and 4 backward for each
    parameter and token. It says nothing of images, for whose networks a parameter works at many places, nor of rows
    that count their data in epochs.
    """
    values = {
        kind: np.where(
            given.usable(above=-np.inf if kind in _ANY_FINITE else 0.0) & _is_measurable(given.values, kind),
            given.values,
            np.nan,
        )
        for kind, given in numbers.items()
    }
    if _is_of_images(found):
        return values, ()
    rows = len(numbers["loss"].values)
    nothing = Numbers(values=np.full(rows, np.nan), is_empty=np.ones(rows, bool), is_no_number=np.zeros(rows, bool))
    given = {kind: numbers.get(kind, nothing) for kind in ("params", "tokens", "flops")}
    n, d, c = (values.get(kind, nothing.values).copy() for kind in given)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rules = {"params": c / (6 * d), "tokens": c / (6 * n), "flops": 6 * n * d}
    derived: list[str] = []
    for kind, by_rule in rules.items():
        is_due = given[kind].is_empty & np.isfinite(by_rule) & (by_rule > 0)
        if kind == "tokens" and "epochs" in numbers:
            is_due &= numbers["epochs"].is_empty
        if is_due.any():
            values[kind] = np.where(is_due, by_rule, values.get(kind, nothing.values))
            derived.append(kind)
    return values, tuple(derived)


def _is_of_images(found: Mapping[str, str]) -> bool:
    return "image" in found.get("tokens", "").lower()


def _data_unit(found: Mapping[str, str], derived: Sequence[str]) -> str:
    if "tokens" in found:
        return "images" if _is_of_images(found) else "tokens"
    has_tokens = "tokens" in derived or ("params" in found and "epochs" not in found)
    return "tokens" if has_tokens else "epochs"


def _points(
    values: Mapping[str, np.ndarray], rows: np.ndarray, group: list[str | None] | None, *, named_by_params: bool
) -> tuple[Point, ...]:
    """Returns a point for each of the rows."""
    columns = {kind: _or_none(values[kind][rows]) if kind in values else [None] * len(rows) for kind in _NUMBERS}
    groups: list[str | None] = [group[row] if group is not None else None for row in rows.tolist()]
    names = _names(groups, columns["params"] if named_by_params else [None] * len(rows))
    whole = (_whole(columns["batch_images"], least=1), _whole(columns["seed"], least=None))
    kinds = [kind for kind in _NUMBERS if kind not in ("batch_images", "seed")]
    return tuple(
        Point(model=name, batch_images=batch, seed=seed, **dict(zip(kinds, numbers, strict=True)))
        for name, batch, seed, *numbers in zip(names, *whole, *(columns[kind] for kind in kinds), strict=True)
    )


def _names(groups: Sequence[str | None], params: Sequence[Any]) -> list[str]:
    """Returns the curve of each row: its group, or its size where it has none."""
    by_size = {size: "all rows" if size is None else f"{size:.3g}" for size in set(params)}
    return [by_size[size] if group is None else group for group, size in zip(groups, params, strict=True)]


def _or_none(values: np.ndarray) -> list[Any]:
    numbers = values.astype(object)
    numbers[np.isnan(values)] = None
    return numbers.tolist()


def _whole(values: Sequence[Any], *, least: int | None) -> list[int | None]:
    """Returns the whole numbers, at least so large; what is none is missing."""
    return [
        int(value) if value is not None and value == int(value) and (least is None or value >= least) else None
        for value in values
    ]

"""From the cells of a table to numbers and names, a column at a time."""

import math
import numbers
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from analysis.tables.points import clean_name

EMPTY = frozenset(("", "na", "n/a", "#n/a", "<na>", "null", "none", "-"))
"""What stands, in lower case, where there is nothing."""
SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_WITH_SUFFIX = re.compile(r"(.*[\d.])\s*([kKmMbBgGtT])")
_THOUSANDS = re.compile(r"([+-]?\d{1,3})((?:,\d{3})+)((?:\.\d*)?(?:[eE][+-]?\d+)?)")
_NotThere = Literal["empty", "no number"]
_DECIMAL_COMMA = re.compile(r"([+-]?)(\d+|\d{1,3}(?:\.\d{3})+),(\d+)(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """The numbers of a column."""

    values: np.ndarray
    """As floats; NaN where there is none, and where `nan` is written."""
    is_empty: np.ndarray
    """Where the cell holds nothing."""
    is_no_number: np.ndarray
    """Where it holds something else than a number."""

    def usable(self, *, above: float = -math.inf) -> np.ndarray:
        """Returns where there is a finite number above a bound."""
        return np.isfinite(self.values) & (self.values > above)


def numbers_in(
    cells: Any, *, scale: float = 1.0, has_suffixes: bool = False, has_decimal_commas: bool = False
) -> Numbers:
    """Returns the numbers of a column of a table.

    Args:
        cells: a pandas Series.
        scale: what one of its numbers stands for, as `table_columns.magnitude`.
        has_suffixes: whether 70M is 7e7; `scale` is then not applied to such cells.
        has_decimal_commas: whether 1,5 is 1.5.
    """
    plain = _all_plain(cells)
    if plain is not None:
        nowhere = np.zeros(len(plain), dtype=bool)
        with np.errstate(over="ignore", invalid="ignore"):
            return Numbers(values=plain * scale, is_empty=nowhere, is_no_number=nowhere)
    distinct, codes = _distinct(cells)
    read = [_number(cell, scale, has_suffixes=has_suffixes, has_decimal_commas=has_decimal_commas) for cell in distinct]
    values = np.array([math.nan if isinstance(number, str) else number for number in read], dtype=float)
    is_empty = np.array([number == "empty" for number in read], dtype=bool)
    is_no_number = np.array([number == "no number" for number in read], dtype=bool)
    return Numbers(values=values[codes], is_empty=is_empty[codes], is_no_number=is_no_number[codes])


def names_in(cells: Any) -> list[str | None]:
    """Returns the clean name in each cell of a pandas Series; None where it is empty."""
    distinct, codes = _distinct(cells)
    names = [clean_name(text_of(cell)) or None for cell in distinct]
    return [names[code] for code in codes.tolist()]


def texts_in(cells: Any) -> np.ndarray:
    """Returns what a person reads in each cell of a pandas Series, without the spaces around it."""
    distinct, codes = _distinct(cells)
    return np.array([text_of(cell).strip() for cell in distinct], dtype=object)[codes]


def text_of(cell: Any) -> str:
    """Returns what a person reads in a cell; nothing where it is empty."""
    if isinstance(cell, str):
        return cell
    return "" if _is_nothing(cell) or (isinstance(cell, float) and math.isnan(cell)) else str(cell)


def number_of(text: str) -> float | None:
    """Returns the number that a person typed, with a suffix if need be; None where it is none."""
    number = _number(text, 1.0, has_suffixes=True, has_decimal_commas=False)
    return None if isinstance(number, str) else number


def _all_plain(cells: Any) -> np.ndarray | None:
    """Returns the numbers of a column in which nothing is empty, has a suffix or is no number: most have none such."""
    kind: Any = cells.dtype
    if isinstance(kind, np.dtype):
        return cells.to_numpy(dtype=float) if kind.kind in "iuf" else None
    try:
        return np.asarray(cells, dtype=object).astype(float)
    except ValueError:
        return None


def _distinct(cells: Any) -> tuple[list[Any], np.ndarray]:
    """Returns cells to read, and which of them stands in each row: of texts, each distinct one is read once."""
    import pandas  # pyright: ignore[reportMissingTypeStubs]

    library: Any = pandas
    if cells.dtype == object:
        # Not of other things: 1 equals True, and a list cannot be compared.
        return cells.tolist(), np.arange(len(cells))
    codes, distinct = library.factorize(cells, use_na_sentinel=False)
    return distinct.tolist(), codes


def _number(cell: Any, scale: float, *, has_suffixes: bool, has_decimal_commas: bool) -> float | _NotThere:
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in EMPTY:
            return "empty"
        number = _plain(text, has_decimal_commas=has_decimal_commas)
        if number is not None:
            return number * scale
        with_suffix = _WITH_SUFFIX.fullmatch(text) if has_suffixes else None
        number = _plain(with_suffix.group(1), has_decimal_commas=has_decimal_commas) if with_suffix else None
        return "no number" if with_suffix is None or number is None else number * SUFFIXES[with_suffix.group(2).lower()]
    if _is_nothing(cell):
        return "empty"
    if isinstance(cell, bool) or not isinstance(cell, numbers.Real | Decimal):
        return "no number"
    try:
        return float(cell) * scale
    except OverflowError:
        return math.inf
    except ValueError:
        return "no number"


def _plain(text: str, *, has_decimal_commas: bool) -> float | None:
    comma = _DECIMAL_COMMA.fullmatch(text) if has_decimal_commas else None
    if comma:
        text = f"{comma.group(1)}{comma.group(2).replace('.', '')}.{comma.group(3)}{comma.group(4)}"
    elif not has_decimal_commas and (thousands := _THOUSANDS.fullmatch(text)):
        text = f"{thousands.group(1)}{thousands.group(2).replace(',', '')}{thousands.group(3)}"
    try:
        return float(text)
    except ValueError:
        return None


def _is_nothing(cell: Any) -> bool:
    # NA, NaT and None; NaN is a number that is none, and says so.
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")

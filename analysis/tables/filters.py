"""Which rows of a table are meant: --filter COLUMN=VALUE and its like."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.tables.cells import number_of, numbers_in, texts_in
from analysis.tables.columns import listed, shown
from sweeps.errors import StudyError

_ORDERS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORD = re.compile(r"(.+?)\s*(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Keeps the rows whose cell in a column compares so with a value."""

    column: str
    relation: str
    """= | != | < | <= | > | >=."""
    value: str

    def __str__(self) -> str:
        return f"{self.column}{self.relation}{self.value}"

    def keeps(self, cells: Any, *, has_decimal_commas: bool = False) -> np.ndarray:
        """Returns which cells of a pandas Series pass: compared as numbers where both are, otherwise as text."""
        read = numbers_in(cells, has_suffixes=True, has_decimal_commas=has_decimal_commas)
        wanted = number_of(self.value)
        if self.relation in _ORDERS:
            assert wanted is not None, "parse_filters refuses it"
            return _ORDERS[self.relation](read.values, wanted)
        is_same = texts_in(cells) == self.value.strip()
        if wanted is not None:
            is_same = is_same | (read.values == wanted)
        return np.asarray(is_same if self.relation == "=" else ~is_same, dtype=bool)


def parse_filters(words: Sequence[str]) -> tuple[Filter, ...]:
    """Returns the filters from words such as `config=tuned` or `params>=1e8`; all of them must pass.

    Raises:
        StudyError: a word without a column or a relation, or an order with something that is no number.
    """
    filters: list[Filter] = []
    for word in words:
        found = _WORD.fullmatch(word.strip())
        if found is None:
            raise StudyError(
                f"--filter word {shown(word)} not understood; write COLUMN=VALUE, or != < <= > >= for the sign "
                "(try: --filter config=tuned)"
            )
        column, relation, value = found.groups()
        if relation in _ORDERS and number_of(value) is None:
            raise StudyError(
                f"--filter word {shown(word)} compares with {shown(value)}, which is no number; after {relation} "
                f"stands a number (try: --filter {shown(f'{column}{relation}1e9')})"
            )
        filters.append(Filter(column=column, relation="=" if relation == "==" else relation, value=value))
    return tuple(filters)


def rows_kept(frame: Any, filters: Sequence[Filter], *, source: str, has_decimal_commas: bool = False) -> np.ndarray:
    """Returns which rows of a pandas DataFrame pass every filter.

    Raises:
        StudyError: a filter that no row passes.
    """
    kept = np.ones(len(frame), dtype=bool)
    for one in filters:
        passes = one.keeps(frame[one.column], has_decimal_commas=has_decimal_commas)
        if not passes.any():
            there = listed(list(dict.fromkeys(texts_in(frame[one.column]))), most=8)
            raise StudyError(
                f"no row of {source} has {shown(str(one))[1:-1]}; there are {there} (try: --filter with one of them)"
            )
        kept &= passes
    return kept

"""Tables that fit the window: where it is narrow the least wanted columns are left out, and a line says which."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDEST = 100
"""Columns of a table where nothing tells how wide the window is, and at most."""
_GAP = 2
_LEAST_NOTE = 16
"""Letters of a line that a column of words is wrapped at, at least; narrower, it is left out."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: numbers to the right, words to the left."""

    header: str
    is_words: bool = False
    wanted: int = 0
    """0: never left out; of the others the lowest goes first."""
    wraps: bool = False
    """Whether long cells run over several lines; numbers never do."""


def printing_console() -> Console:
    """Returns a console on stdout, at most WIDEST wide; in a pipe just so wide, without colour codes."""
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST) if console.is_terminal else WIDEST
    return console


def print_line(console: Console, line: str | Text, *, style: str = "") -> None:
    """Prints a sentence, wrapped between words in a window and whole in a pipe."""
    text = Text(line) if isinstance(line, str) else line
    console.print(text, style=style, soft_wrap=not console.is_terminal, markup=False)


def fitted_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    title: str | None = None,
    dim_from: int | None = None,
) -> tuple[Table, tuple[str, ...]]:
    """Returns a table no wider than `width`, and the headers of the columns that it has no room for.

    Args:
        columns: from left to right.
        rows: a cell for each column.
        width: of the window [letters].
        title: above it.
        dim_from: the first row of a second part, which is less to the point.
    """
    shown = list(range(len(columns)))
    while _least_width(columns, rows, shown) > width and (spare := [n for n in shown if columns[n].wanted]):
        shown.remove(min(spare, key=lambda n: (columns[n].wanted, -n)))
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
    )
    for number in shown:
        column = columns[number]
        table.add_column(
            column.header,
            justify="left" if column.is_words else "right",
            no_wrap=not column.wraps,
            overflow="fold" if column.wraps else "ellipsis",
        )
    for place, row in enumerate(rows):
        is_dim = dim_from is not None and place >= dim_from
        if place == dim_from and place:
            table.add_section()
        table.add_row(*(Text(row[number]) for number in shown), style="dim" if is_dim else None)
    return table, tuple(columns[n].header for n in range(len(columns)) if n not in shown and columns[n].header)


def print_fitted(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    dim_from: int | None = None,
) -> None:
    """Prints a table that fits the console, and what was left out of it."""
    table, missing = fitted_table(columns, rows, console.width, title=title, dim_from=dim_from)
    console.print(table)
    if missing:
        print_line(console, f"not shown in a narrow window: {', '.join(missing)}", style="dim")


class Sheet:
    """A table that is filled column by column and row by row, and printed as the window has room for it."""

    def __init__(self, title: str | None = None) -> None:
        self._title = title
        self._columns: list[Column] = []
        self._rows: list[tuple[str, ...]] = []

    @property
    def is_empty(self) -> bool:
        """Whether it has no columns yet."""
        return not self._columns

    def add_column(self, header: str, *, is_words: bool = False, wanted: int = 0, wraps: bool = False) -> None:
        """Adds a column; see Column."""
        self._columns.append(Column(header=header, is_words=is_words, wanted=wanted, wraps=wraps))

    def add_row(self, *cells: str) -> None:
        """Adds a row; raises ValueError where it has not a cell for each column."""
        if len(cells) != len(self._columns):
            raise ValueError(f"{len(cells)} cells for {len(self._columns)} columns")
        self._rows.append(cells)

    def print_on(self, console: Console) -> None:
        """Prints the table, and what was left out of it."""
        print_fitted(console, self._columns, self._rows, title=self._title)


def _least_width(columns: Sequence[Column], rows: Sequence[Sequence[str]], shown: Sequence[int]) -> int:
    """Returns how wide the table has to be for every number to be whole."""

    def least(number: int) -> int:
        column = columns[number]
        longest = max((len(row[number]) for row in rows), default=0)
        if column.wraps:
            return max(len(column.header), min(longest, _LEAST_NOTE))
        return max(len(column.header), longest)

    return sum(least(number) for number in shown) + _GAP * max(0, len(shown) - 1)

"""Reads a file that somebody else made into rows and named columns, every cell as it stands there."""

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from analysis.tables.columns import listed
from analysis.tables.points import clean_name
from sweeps.errors import StudyError

MOST_COLUMNS = 10_000
_DELIMITERS = "\t,;|"
"""The likelier one first, where a header has as many of two."""
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""How a file begins that says how it is written; UTF-32 before UTF-16, whose mark is the beginning of the other's."""
_TOO_LONG = re.compile(r"Expected \d+ fields in line (\d+), saw (\d+)")


class _NotReadable(ValueError):
    """The bytes are not what the file is called."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows with named columns."""

    frame: Any
    """A pandas DataFrame: texts from text files, and what the file holds from the others."""
    source: str
    """Where it was read, for people."""
    repeated: frozenset[str] = frozenset()
    """Names that several columns bore; the later ones got a number behind it."""
    has_decimal_commas: bool = False


def read_table(path: Path) -> Table:
    """Returns the rows of a .csv, .tsv, .jsonl, .json or .parquet file, in order; text files may be gzipped.

    Raises:
        StudyError: no such file, another kind of file, or a file that cannot be read as what it is called.
    """
    source = clean_name(path.name) or "the table"
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise StudyError(f"{source} cannot be a table: {error.strerror}; give the path of one (--data FILE)") from error
    if is_folder:
        raise StudyError(f"{source} is a folder; --data takes one .csv, .tsv, .jsonl or .parquet file in it")
    if not is_file:
        raise StudyError(f"no table at {clean_name(str(path))}; --data takes a .csv, .tsv, .jsonl or .parquet file")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    is_zipped = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[-2:-1] if is_zipped else suffixes[-1:])
    if kind not in _READERS:
        ending = clean_name(path.suffix) or "no ending"
        raise StudyError(f"a table that ends in {ending!r}; --data takes .csv, .tsv, .jsonl or .parquet")
    try:
        content = gzip.decompress(path.read_bytes()) if is_zipped else path.read_bytes()
        return _READERS[kind](content, source)
    # What text, JSON, gzip and Arrow raise about bytes that are something else: ValueError covers most of it.
    except (ValueError, TypeError, KeyError, NotImplementedError, ArithmeticError, RecursionError) as error:
        raise _unreadable(source, kind, error) from error
    except (OSError, EOFError, MemoryError, zlib.error, csv.Error) as error:
        raise _unreadable(source, kind, error) from error


def _unreadable(source: str, kind: str, error: Exception) -> StudyError:
    said = clean_name(str(error)) or type(error).__name__
    return StudyError(f"{source} cannot be read as {kind}: {said}; convert it to .csv, in UTF-8 (--data FILE.csv)")


def _text(content: bytes) -> str:
    """Returns the text of a file in UTF-8, in UTF-16 or -32 with its mark, or in the code page of older programs."""
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    try:
        text = content.decode(marked or "utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    if "\0" in text:
        raise _NotReadable("it holds NUL bytes, so it is no text")
    return text


def _read_separated(content: bytes, source: str) -> Table:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    text = _text(content)
    if not text.strip():
        return Table(frame=pd.DataFrame(), source=source)
    # Excel writes `sep=;` above the header for itself.
    said = re.match(r'"?sep=(.)"?\r?\n', text)
    text = text[said.end() :] if said else text
    delimiter = said.group(1) if said else _delimiter(text)
    cells = _split(text, delimiter)
    names, repeated = _distinct_names([str(name) for name in cells.iloc[0]])
    frame = cells.iloc[1:].reset_index(drop=True)
    # A delimiter at the end of each line makes a column of nothing.
    is_unnamed = [not str(name).strip() for name in cells.iloc[0]]
    is_kept = [not unnamed or bool((frame[i] != "").any()) for i, unnamed in enumerate(is_unnamed)]
    frame.columns = names
    return Table(frame=frame.loc[:, is_kept], source=source, repeated=repeated, has_decimal_commas=delimiter == ";")


def _split(text: str, delimiter: str) -> Any:
    """Returns the cells as texts in a pandas DataFrame, the header as its first row, short lines filled up.

    Raises:
        _NotReadable: a line has cells, and not empty ones, for which the header has no name.
    """
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    names = None
    for _ in range(20):
        try:
            cells: Any = pd.read_csv(
                io.StringIO(text), sep=delimiter, header=None, names=names, dtype=str, na_filter=False,
                skipinitialspace=True,
            )  # fmt: skip
            break
        except pd.errors.ParserError as error:
            # The parser takes the first line's cells for the number of columns. It is told of longer lines one by one.
            longer = _TOO_LONG.search(str(error))
            if longer is None or int(longer.group(2)) > MOST_COLUMNS:
                raise
            names = range(int(longer.group(2)))
    else:
        raise _NotReadable("its lines have more and more cells")
    if cells.shape[1] > MOST_COLUMNS:
        raise _NotReadable(f"it has {cells.shape[1]} columns, more than {MOST_COLUMNS}")
    if names is not None:
        headed = _cells_in_header(text, delimiter)
        spilled = (cells.iloc[1:, headed:] != "").any(axis=1).to_numpy()
        if spilled.any():
            row = int(spilled.argmax()) + 1
            raise _NotReadable(f"row {row} below the header has more cells than the header, which has {headed}")
        cells = cells.iloc[:, :headed]
    return cells


def _cells_in_header(text: str, delimiter: str) -> int:
    lines = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    return next((len(line) for line in lines if len(line) > 1 or (line and line[0].strip())), 1)


def _delimiter(text: str) -> str:
    """Returns the sign that stands between the names of the header, most often where there are several."""
    inside, counts = False, Counter[str]()
    for character in text.lstrip("\r\n")[:1_000_000]:
        if character == '"':
            inside = not inside
        elif character in "\r\n" and not inside:
            break
        elif character in _DELIMITERS and not inside:
            counts[character] += 1
    return max(_DELIMITERS, key=lambda sign: counts[sign])


def _read_json_lines(content: bytes, source: str) -> Table:
    rows: list[Any] = []
    for number, line in enumerate(_text(content).split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise _NotReadable(f"line {number} is no JSON ({error})") from error
            if not isinstance(rows[-1], dict):
                raise _NotReadable(f"line {number} is no JSON object, as {{...}}")
    return _from_objects(rows, source)


def _read_json(content: bytes, source: str) -> Table:
    whole: Any = json.loads(_text(content))
    if isinstance(whole, list):
        rows = cast("list[Any]", whole)
        if all(isinstance(row, dict) for row in rows):
            return _from_objects(rows, source)
    if isinstance(whole, dict):
        columns = cast("dict[str, Any]", whole)
        if all(isinstance(cells, list) for cells in columns.values()):
            if len({len(cells) for cells in columns.values()}) > 1:
                raise _NotReadable("its lists are not of one length")
            return _from_columns(list(columns), list(columns.values()), source)
    raise _NotReadable("it is neither a list of objects nor an object of lists, one for each column")


def _from_objects(rows: Sequence[dict[str, Any]], source: str) -> Table:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
        if len(names) > MOST_COLUMNS:
            raise _NotReadable(f"its objects have more than {MOST_COLUMNS} names")
    return _from_columns(list(names), [[row.get(name) for row in rows] for name in names], source)


def _read_parquet(content: bytes, source: str) -> Table:
    import pyarrow  # pyright: ignore[reportMissingTypeStubs]
    from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

    arrow, reader = cast("tuple[Any, Any]", (pyarrow, parquet))
    try:
        table = reader.ParquetFile(arrow.BufferReader(content)).read()
    except arrow.ArrowException as error:
        raise _NotReadable(str(error)) from error
    # The index of a pandas DataFrame is no column of the study: with it no two rows would ever be equal.
    kept = [i for i, name in enumerate(table.column_names) if not re.fullmatch(r"__index_level_\d+__", name)]
    columns = [_arrow_cells(table.column(i)) for i in kept]
    return _from_columns([table.column_names[i] for i in kept], columns, source)


def _arrow_cells(column: Any) -> Any:
    """Returns a column as numbers where that loses nothing: in a NumPy array a null would be a NaN."""
    kind = str(column.type)
    if column.null_count == 0 and re.fullmatch(r"u?int\d+|float|double|halffloat", kind):
        return column.to_numpy()
    return column.to_pylist()


def _from_columns(names: Sequence[str], columns: Sequence[Any], source: str) -> Table:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    distinct, repeated = _distinct_names(names)
    series = [pd.Series(cells, dtype=object if isinstance(cells, list) else None) for cells in columns]
    frame = pd.DataFrame(dict(zip(distinct, series, strict=True)))
    return Table(frame=frame, source=source, repeated=repeated)


def _distinct_names(names: Sequence[str]) -> tuple[list[str], frozenset[str]]:
    """Returns a name for every column, in one line and without spaces around it, and those that several bore."""
    clean = ["".join(c if c.isprintable() else " " for c in name).strip() for name in names]
    clean = [name or f"column {place}" for place, name in enumerate(clean, start=1)]
    repeated = frozenset(name for name, count in Counter(clean).items() if count > 1)
    taken: set[str] = set()
    for place, name in enumerate(clean):
        number = 1
        while clean[place] in taken:
            number += 1
            clean[place] = f"{name} ({number})"
        taken.add(clean[place])
    return clean, repeated


def check_not_repeated(table: Table, wanted: Sequence[str]) -> None:
    """Raises StudyError for a wanted name that several columns bear: nobody knows which is meant."""
    for name in wanted:
        if name in table.repeated:
            raise StudyError(
                f"{table.source} has several columns called {name!r} ({listed(sorted(table.repeated))} more than "
                f"once); give each column a name of its own, or name a later one as {f'{name} (2)'!r} in --columns"
            )


_READERS: dict[str, Callable[[bytes, str], Table]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".txt": _read_separated,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}

import gzip
import json
from pathlib import Path

import pytest

from analysis.tables.formats import read_table
from analysis.tables.table_file import points_from_table
from sweeps.errors import StudyError

PLAIN = "model,loss,flops\nä,2.5,1e18\nb,2.25,2e18\n"
POINTS = [("ä", 2.5, 1e18), ("b", 2.25, 2e18)]


def _points(path: Path) -> list[tuple[str, float, float | None]]:
    return [(p.model, p.loss, p.flops) for p in points_from_table(path).points]


FORMS: dict[str, bytes] = {
    "utf-8": PLAIN.encode(),
    "utf-8 with mark": PLAIN.encode("utf-8-sig"),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16 big": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "utf-32": PLAIN.encode("utf-32"),
    "cp1252": PLAIN.encode("cp1252"),
    "windows lines": PLAIN.replace("\n", "\r\n").encode(),
    "old mac lines": PLAIN.replace("\n", "\r").encode(),
    "no last newline": PLAIN.strip().encode(),
    "blank lines": PLAIN.replace("\n", "\n\n  \n").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "bars": PLAIN.replace(",", " | ").encode(),
    "semicolons": PLAIN.replace(",", ";").replace(".", ",").encode(),
    "semicolons and points": PLAIN.replace(",", ";").encode(),
    "excel": ("sep=;\n" + PLAIN.replace(",", ";")).encode(),
    "spaces": PLAIN.replace(",", " , ").encode(),
    "quotes": '"model", "loss" ,"flops"\n"ä","2.5","1e18"\n"b", "2.25" ,2e18\n'.encode(),
    "comma in a quoted name": '"model","loss","flops","a;b;c;d;e"\nä,2.5,1e18,\nb,2.25,2e18,\n'.encode(),
    "delimiter at the end": PLAIN.replace("\n", ",\n").encode(),
    "delimiters below the header": "model,loss,flops\nä,2.5,1e18,,\nb,2.25,2e18\n".encode(),
    "short line": "model,loss,flops,note\nä,2.5,1e18\nb,2.25,2e18,x\n".encode(),
    "other columns twice": "model,loss,flops,note,note\nä,2.5,1e18,x,y\nb,2.25,2e18,x,y\n".encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_text_is_read_however_it_was_written(form: str, tmp_path: Path) -> None:
    """Encodings, line ends, delimiters, decimal commas, ragged lines: the same points."""
    path = tmp_path / "a.csv"
    path.write_bytes(FORMS[form])
    assert _points(path) == POINTS
    zipped = tmp_path / "a.csv.gz"
    zipped.write_bytes(gzip.compress(FORMS[form], mtime=0))
    assert _points(zipped) == POINTS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", PLAIN.replace(",", "\t")),
        ("a.TXT", PLAIN),
        ("a.jsonl", '{"model":"ä","loss":2.5,"flops":1e18}\n\n{"model":"b","flops":"2e18","loss":2.25}\r\n'),
        ("a.json", json.dumps([{"model": m, "loss": loss, "flops": c} for m, loss, c in POINTS])),
        ("a.json", json.dumps({"model": ["ä", "b"], "loss": [2.5, 2.25], "flops": [1e18, 2e18]})),
    ],
)
def test_other_endings(name: str, text: str, tmp_path: Path) -> None:
    """Tabs, JSON lines, and JSON by rows and by columns."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert _points(tmp_path / name) == POINTS


def test_parquet_keeps_nothing_apart_from_not_a_number(tmp_path: Path) -> None:
    """A null is missing and a NaN is no finite number; the index that pandas adds makes no two equal rows differ."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "loss": [2.0, None, float("nan"), 2.0, 3.0],
        "params": [10**9, 10**9, 10**9, 10**9, None],
        "is_done": [True] * 5,
        "tags": [["a"]] * 5,
        "__index_level_0__": [0, 1, 2, 3, 4],
    }
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    points = points_from_table(tmp_path / "a.parquet")
    assert [p.params for p in points.points] == [1e9, None]
    assert [(item.reason, item.rows) for item in points.set_aside] == [
        ("loss missing", (2,)),
        ("loss is not finite", (3,)),
        ("exact duplicate row", (4,)),
    ]


def test_cells_of_json_are_taken_for_what_they_are(tmp_path: Path) -> None:
    """True is no number, a huge integer is none that is finite, and a missing name is a missing cell."""
    lines = ['{"loss": true}', '{"loss": 1%s}' % ("0" * 400), '{"n": 5}', '{"loss": [2]}', '{"loss": NaN}',
             '{"loss": "2"}', '{"loss": 1, "n": {"a": 1}}']  # fmt: skip
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    points = points_from_table(tmp_path / "a.jsonl")
    assert [p.loss for p in points.points] == [2.0, 1.0]
    assert {item.reason: item.rows for item in points.set_aside} == {
        "loss not a number": (1, 4),
        "loss is not finite": (2, 5),
        "loss missing": (3,),
    }


def test_columns_without_a_name_and_with_the_same_one_can_be_told_apart(tmp_path: Path) -> None:
    """A blank name is the column's place; a name borne twice is refused where it is wanted."""
    (tmp_path / "a.csv").write_text(",loss, loss \n7,1,2\n")
    table = read_table(tmp_path / "a.csv")
    assert list(table.frame.columns) == ["column 1", "loss", "loss (2)"]
    with pytest.raises(StudyError, match="several columns called 'loss'"):
        points_from_table(tmp_path / "a.csv")
    named = points_from_table(tmp_path / "a.csv", columns={"loss": "loss (2)", "params": "column 1"})
    assert [(p.loss, p.params) for p in named.points] == [(2.0, 7.0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"\n \n", "holds no rows"),
        ("a.csv", b"loss,flops\n", "holds no rows"),
        ("a.csv", b"loss,flops\n1,2\n3,4,5\n", "row 2 below the header has more cells than the header, which has 2"),
        ("a.csv", b'loss,flops\n"1,2\n', "cannot be read as .csv: .*EOF inside string"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "NUL bytes, so it is no text"),
        ("a.csv", b"a\x81b\n", "cannot be read as .csv"),
        ("a.csv.gz", b"loss\n1\n", "cannot be read as .csv: .*gzip"),
        ("a.csv.gz", gzip.compress(b"loss\n1\n" * 99, mtime=0)[:-20], "cannot be read as .csv"),
        ("a.jsonl", b'{"loss": 1}\n{"loss": ', "line 2 is no JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is no JSON object"),
        ("a.json", b'{"loss": [1, 2], "n": [1]}', "not of one length"),
        ("a.json", b'{"loss": {"0": 1}}', "neither a list of objects"),
        ("a.json", b"[1]", "neither a list of objects"),
        ("a.json", b"[]", "holds no rows"),
        ("a.json", b"[" * 100_000, "cannot be read as .json"),
        ("a.parquet", b"PAR1 nothing PAR1", "cannot be read as .parquet"),
        ("a.xlsx", b"PK", r"ends in '.xlsx'; --data takes .csv, .tsv, .jsonl or .parquet"),
        ("a", b"loss\n1\n", "ends in 'no ending'"),
    ],
)
def test_what_is_no_table_is_one_clear_error(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    """Empty, torn, binary and foreign files."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=message):
        points_from_table(tmp_path / name)


def test_a_path_that_is_no_file_is_one_clear_error(tmp_path: Path) -> None:
    """A folder, a name too long, nothing."""
    for path, message in ((tmp_path, "is a folder"), (tmp_path / ("x" * 999), "cannot be a table|no table at")):
        with pytest.raises(StudyError, match=message):
            read_table(path)
    with pytest.raises(StudyError, match="no table at"):
        read_table(tmp_path / "none.csv")

from pathlib import Path

import pytest

from analysis.tables.filters import Filter, parse_filters
from analysis.tables.table_file import points_from_table
from sweeps.errors import StudyError

TABLE = "loss;size;note;mixed\n2,5;70M;x;1\n2,4;1B; y ;a\n2,3;;;2.0\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three rows with decimal commas, a suffix and gaps."""
    (tmp_path / "a.csv").write_text(TABLE)
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("words", "losses"),
    [
        (["note=x"], [2.5]),
        (["note==y"], [2.4]),
        (["note!=x"], [2.4, 2.3]),
        (["note="], [2.3]),
        (["size>1e8"], [2.4]),
        (["size<=70M"], [2.5]),
        (["size=7e7"], [2.5]),
        (["loss<2.45"], [2.4, 2.3]),
        (["loss>=2.4", "note!=x"], [2.4]),
        (["mixed=2"], [2.3]),
        (["mixed!=1.0"], [2.4, 2.3]),
    ],
)
def test_filters_compare_as_text_and_as_numbers(words: list[str], losses: list[float], table: Path) -> None:
    """All of them must pass; a cell without a number passes no order."""
    points = points_from_table(table, columns={"loss": "loss"}, filters=parse_filters(words))
    assert [p.loss for p in points.points] == losses
    assert [(item.reason, item.count) for item in points.set_aside] == [("left out by --filter", 3 - len(losses))]


def test_words_become_nouns() -> None:
    """The first sign parts column and value."""
    assert parse_filters(["a b=c=d", "n >= 1e8"]) == (
        Filter(column="a b", relation="=", value="c=d"),
        Filter(column="n", relation=">=", value=" 1e8"),
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [(["note"], "COLUMN=VALUE"), (["=x"], "COLUMN=VALUE"), ([""], "COLUMN=VALUE"), (["n>big"], "'big', which is no")],
)
def test_a_word_that_is_no_filter_says_what_is(words: list[str], message: str) -> None:
    """Without a column or a sign, or with an order that has no number."""
    with pytest.raises(StudyError, match=message):
        parse_filters(words)


@pytest.mark.parametrize(
    ("word", "message"),
    [("note=z", "no row of a.csv has note=z; there are x, y, "), ("size>1T", "has size>1T; there are 70M, 1B"),
     ("notes=x", "no column 'notes'.*did you mean 'note'")],
)  # fmt: skip
def test_a_filter_that_nothing_passes_says_what_there_is(word: str, message: str, table: Path) -> None:
    """A misspelt value or column leaves no empty fit behind."""
    with pytest.raises(StudyError, match=message):
        points_from_table(table, columns={"loss": "loss"}, filters=parse_filters([word]))

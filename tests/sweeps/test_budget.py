"""Budgets as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.budget import Budget, format_core_hours, parse_core_hours
from sweeps.errors import StudyError


@pytest.mark.parametrize(
    ("text", "core_hours"),
    [
        ("400", 400),
        ("0.4k", 400),
        (".4k", 400),
        ("10k", 1e4),
        ("12.5k", 12500),
        ("110K", 1.1e5),
        ("1.1M", 1.1e6),
        (" 3k ", 3000),
        (400, 400),
        (12.5, 12.5),
    ],
)
def test_budgets_are_read(text: str | float, core_hours: float) -> None:
    """Plain numbers and the suffixes k and M are understood, numbers too."""
    assert Budget.parse(text, hardware="tpu_v4").core_hours == pytest.approx(core_hours)


@pytest.mark.parametrize("text", ["10kk", "-1", "0", "0k", "ten", "1e4", "10 k", "k", "nan", "inf", "1,000", "10k h"])
def test_other_words_are_refused(text: str) -> None:
    """Anything else is named, with what is allowed and what to type."""
    with pytest.raises(StudyError, match=rf"budget '{text}' not understood; .*12\.5k or 110k .*BUDGET=10k"):
        Budget.parse(text, hardware="tpu_v4")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_budget_is_refused(text: str) -> None:
    """Nothing is not zero: the message says that it is empty."""
    with pytest.raises(StudyError, match="the budget is empty"):
        Budget.parse(text, hardware="tpu_v4")


def test_the_message_names_what_was_asked_for() -> None:
    """A spend cap that cannot be read is called a spend cap."""
    with pytest.raises(StudyError, match="spend cap 'x' not understood"):
        parse_core_hours("x", what="spend cap")


@given(st.floats(0.01, 9e8))
def test_written_and_read_again(core_hours: float) -> None:
    """What is printed reads as the same number to three digits."""
    assert parse_core_hours(format_core_hours(core_hours)) == pytest.approx(core_hours, rel=0.006)


@pytest.mark.parametrize(
    ("core_hours", "text"),
    [(400, "400"), (999.9, "1k"), (1610, "1.61k"), (12500, "12.5k"), (106700, "107k"), (1.1e6, "1.1M")],
)
def test_core_hours_as_people_write_them(core_hours: float, text: str) -> None:
    """Three digits and a suffix."""
    assert format_core_hours(core_hours) == text

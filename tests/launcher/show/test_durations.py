"""Times as people say them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.show.durations import about, format_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, words: str) -> None:
    """To the second where they are over."""
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "about 1 s"),
        (12.4, "about 12 s"),
        (58.0, "about 1 min"),
        (73.0, "about 1 min 10 s"),
        (200, "about 3 min 30 s"),
        (1000, "about 17 min"),
        (3590, "about 1 h"),
        (7550, "about 2 h 05 min"),
        (100_000, "about 28 h"),
        (1e6, "about 12 days"),
    ],
)
def test_times_ahead(seconds: float, words: str) -> None:
    """As roughly as they are known."""
    assert about(seconds) == words


@given(st.floats(0.0, 1e8))
def test_times_ahead_are_short(seconds: float) -> None:
    """They fit into any line."""
    assert len(about(seconds)) <= 18

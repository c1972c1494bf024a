import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.solver.quantiles import LEVEL, interval, t_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 7, 10, 31, 40, 100, 199, 200, 201, 1000, 20_000])
@pytest.mark.parametrize("probability", [0.55, 0.75, 0.9, 0.95, 0.975, 0.99])
def test_the_t_quantile_is_students(freedom: int, probability: float) -> None:
    """The finite sum and the series agree with SciPy to 1e-6."""
    assert t_quantile(probability, freedom) == pytest.approx(float(stats.t.ppf(probability, freedom)), abs=1e-6)


@given(st.integers(1, 500), st.floats(0.51, 0.98))
def test_the_t_quantile_falls_with_freedom_and_rises_with_probability(freedom: int, probability: float) -> None:
    """More rows narrow an interval, a higher level widens it."""
    here = t_quantile(probability, freedom)
    assert t_quantile(probability, freedom + 1) < here
    assert t_quantile(probability + 0.01, freedom) > here > 0


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_an_interval_holds_its_level_of_the_draws(level: float) -> None:
    """The central quantiles of the finite draws."""
    draws = np.random.default_rng(0).normal(size=2000)
    low, high = interval(draws, level=level) or (0.0, 0.0)
    assert np.mean((draws > low) & (draws < high)) == pytest.approx(level, abs=1e-3)
    assert np.mean(draws < low) == pytest.approx((1 - level) / 2, abs=1e-3)
    assert interval(np.concatenate([draws, [np.nan, np.inf]]), level=level) == (low, high)


def test_intervals_need_draws() -> None:
    """Fewer than twenty draws, or only failed ones, give no interval; the level is nine in ten by default."""
    assert interval(np.arange(19.0)) is None
    assert interval(np.full(100, np.nan)) is None
    assert interval(np.linspace(0.0, 1.0, 1001)) == pytest.approx(((1 - LEVEL) / 2, (1 + LEVEL) / 2))

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.estimators.line import line_through
from tests.analysis.synthetic import PORIAN_OPTIMA, PORIAN_PUBLISHED, read_csv

CONFIGS = [("summary_df", str(i)) for i in range(5)] + [("summary_df_kaplan_tuned_hparams", "0")]
X = np.linspace(30.0, 42.0, 9)


@given(st.floats(-2.0, 2.0), st.floats(-5.0, 5.0), st.floats(0.001, 1.0))
def test_points_on_a_line_give_that_line(slope: float, intercept: float, sd: float) -> None:
    """Slope and heights are exact, whatever the errors claimed."""
    line = line_through(X, intercept + slope * X, np.full(9, sd))
    assert line.slope == pytest.approx(slope, abs=1e-9)
    assert line.at(50.0) == pytest.approx(intercept + slope * 50.0, abs=1e-8)
    assert line.residual_sd == pytest.approx(0.0, abs=1e-8)


def test_stated_errors_weigh_the_points() -> None:
    """Where the points scatter no more than stated the line is numpy's, weighted by 1 / sd."""
    rng = np.random.default_rng(0)
    sd = rng.uniform(0.05, 0.5, 9)
    y = 0.5 * X + 0.3 * sd * rng.normal(size=9)
    line = line_through(X, y, sd)
    slope, intercept = np.polyfit(X, y, 1, w=1 / sd)
    assert line.slope == pytest.approx(slope)
    assert line.at(0.0) == pytest.approx(intercept)
    # Stated errors, known to 40 degrees of freedom, at this line's own Student t.
    scale = stats.t.ppf(0.95, 40) / stats.t.ppf(0.95, 7)
    covariance = np.polyfit(X, y, 1, w=1 / sd, cov="unscaled")[1]
    assert math.sqrt(line.covariance[1, 1]) == pytest.approx(scale * math.sqrt(covariance[0, 0]), rel=1e-6)
    assert line.slope_half_width(0.9) == pytest.approx(stats.t.ppf(0.95, 40) * math.sqrt(covariance[0, 0]), rel=1e-5)


def test_understated_errors_do_not_rule_the_line() -> None:
    """With errors a thousandth of the scatter the added variance weighs the points alike: ordinary least squares."""
    rng = np.random.default_rng(1)
    y = 0.5 * X + 0.2 * rng.normal(size=9)
    line = line_through(X, y, np.where(np.arange(9) == 4, 1e-6, 1e-4))
    known = stats.linregress(X, y)
    assert line.slope == pytest.approx(known.slope, rel=1e-4)
    assert line.residual_sd == pytest.approx(
        math.sqrt(((y - known.intercept - known.slope * X) ** 2).sum() / 7), rel=1e-4
    )
    assert line.slope_half_width(0.9) == pytest.approx(stats.t.ppf(0.95, 7) * known.stderr, rel=1e-2)


def test_the_added_variance_explains_the_scatter() -> None:
    """With it the weighted residuals have the variance that is left over as degrees of freedom (Paule & Mandel)."""
    rng = np.random.default_rng(2)
    sd = rng.uniform(0.05, 0.2, 9)
    y = 0.5 * X + rng.normal(0.0, 0.4, 9)
    line = line_through(X, y, sd)
    residual = y - np.array([line.at(x) for x in X])

    def left(variance: float) -> float:
        weights = 1 / np.sqrt(sd**2 + variance)
        slope, intercept = np.polyfit(X, y, 1, w=weights)
        return float((((y - intercept - slope * X) * weights) ** 2).sum())

    low, high = 0.0, 10.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) > 7 else (low, middle)
    slope, intercept = np.polyfit(X, y, 1, w=1 / np.sqrt(sd**2 + low))
    assert residual == pytest.approx(y - intercept - slope * X, abs=1e-6)


def test_intervals_are_narrowest_at_the_centre() -> None:
    """There the height is known best; away from it the slope's own error adds."""
    line = line_through(X, 0.5 * X, np.full(9, 0.1))
    widths = [line.half_width(line.centre + away, 0.9) for away in (-10.0, 0.0, 10.0)]
    assert line.centre == pytest.approx(X.mean())
    assert widths[0] == pytest.approx(widths[2]) and widths[1] < widths[0]
    assert widths[2] ** 2 == pytest.approx(widths[1] ** 2 + (10 * line.slope_half_width(0.9)) ** 2)
    assert line.half_width(40.0, 0.99) > line.half_width(40.0, 0.9)


@pytest.mark.parametrize("sd", [0.05, 1.0])
def test_slope_intervals_cover(sd: float) -> None:
    """Over 400 samples, with errors stated rightly and of very different sizes, nine in ten hold the slope."""
    rng = np.random.default_rng(3)
    errors = sd * np.geomspace(0.2, 2.0, 9)
    held = []
    for _ in range(400):
        line = line_through(X, 0.5 * X + errors * rng.normal(size=9), errors)
        held.append(abs(line.slope - 0.5) <= line.slope_half_width(0.9))
    assert 0.86 <= np.mean(held) <= 0.97


@pytest.mark.parametrize("x", [[1.0, 2.0], [1.0, 1.0, 1.0], []])
def test_too_few_points_are_refused(x: list[float]) -> None:
    """Two points, or many at one place, have no line with an interval."""
    with pytest.raises(ValueError, match="three points at different x"):
        line_through(np.array(x), np.array(x), np.ones(len(x)))


@pytest.mark.skipif(
    not PORIAN_OPTIMA.is_file(), reason="the optima of arXiv:2406.19146 are not shipped with the project"
)
@pytest.mark.parametrize(("file", "config"), CONFIGS)
def test_published_slopes_are_reproduced(file: str, config: str) -> None:
    """The published optima give the published exponents, ordinary and weighted by 1 / std, to four decimals.

    With errors stated ten times too large the points scatter less than they say, and nothing is added to their weights.
    """
    rows = [r for r in read_csv(PORIAN_OPTIMA) if (r["file"], r["config"]) == (file, config) and r["n_star"]]
    (published,) = [r for r in read_csv(PORIAN_PUBLISHED) if (r["file"], r["config"]) == (file, config)]
    x, y = (np.log([float(row[name]) for row in rows]) for name in ("flops", "n_star"))
    sd = np.array([float(row["n_star_logstd"] or "nan") for row in rows])
    known = np.isfinite(sd)
    assert line_through(x, y, np.ones(len(x))).slope == pytest.approx(float(published["a_basic"]), abs=5e-5)
    weighted = line_through(x[known], y[known], 10 * sd[known])
    assert weighted.slope == pytest.approx(float(published["a_weighted_published"]), abs=5e-5)

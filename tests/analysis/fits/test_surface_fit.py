import math

import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.estimators.rows import surface_rows
from analysis.fits.surface_fit import estimate, fit_surface, sampled_range
from analysis.fitting import Prior
from analysis.laws import LAWS, SURFACE
from analysis.options import FitOptions
from analysis.result import Fit
from analysis.study_fit import fit_study
from analysis.tables.points import Point
from tests.analysis.synthetic import CHINCHILLA, TRUTHS, read_csv, runs_at, runs_of_surface, table

SIZES, DATA = np.geomspace(1e6, 1e9, 7), np.geomspace(1e7, 1e10, 7)


def fit(points: list[Point], **asked: object) -> Fit:
    """The surface through points."""
    cells = cells_of(table(points))
    options = FitOptions(**({"resamples": 200} | asked))  # type: ignore[arg-type]
    return fit_surface(SURFACE, surface_rows(cells, "flops", SURFACE), cells, "flops", options)


@pytest.mark.parametrize("resample", [None, "residuals"])
def test_the_truth_lies_in_the_intervals(resample: str | None) -> None:
    """Both ways of resampling noisy runs hold what made them, with a standard error of its size."""
    found = fit(runs_of_surface(SIZES, DATA, noise=0.01, random_seed=1), resample=resample, level=0.95)
    assert found.interval_method == ("residuals" if resample else "cells")
    assert found.stderr_method == "cells"
    for name, value in TRUTHS["surface"].items():
        known = found.parameters[name]
        assert known.low is not None and known.high is not None and known.stderr is not None
        assert known.low < value < known.high, name
        assert known.stderr == pytest.approx((known.high - known.low) / 3.9, rel=1.5), name


def test_noise_is_found_and_the_objective_is_that_of_the_residuals() -> None:
    """The scatter of log loss is what was put in; the sum of Huber is taken over every run."""
    found = fit(runs_of_surface(SIZES, DATA, noise=0.01), resamples=0)
    assert found.residual_sd == pytest.approx(0.01, rel=0.25)
    size = np.abs(found.residuals)
    assert found.objective == pytest.approx(np.where(size <= 1e-3, size**2 / 2, 1e-3 * (size - 5e-4)).sum())
    assert found.n_points == 49
    assert found.sampled == (pytest.approx(6e13), pytest.approx(6e19))


def test_without_resamples_there_are_no_intervals() -> None:
    """Only the values are there, and the methods say none."""
    found = fit(runs_of_surface(SIZES, DATA, noise=0.01), resamples=0)
    assert found.draws == {} and found.interval_method == found.stderr_method == "none"
    assert all(known.low is known.high is known.stderr is None for known in found.parameters.values())


def test_many_rows_have_linearised_errors() -> None:
    """Beyond five thousand rows the covariance says what resamples would: near the scatter that the design implies."""
    rng = np.random.default_rng(0)
    where = zip(np.exp(rng.uniform(14, 21, 5200)), np.exp(rng.uniform(16, 23, 5200)), strict=True)
    points = runs_at(where, noise=0.01)
    found = fit(points)
    assert found.interval_method == "linearised"
    for name in ("alpha", "beta", "E"):
        known = found.parameters[name]
        assert known.low is not None and known.high is not None and known.stderr is not None
        assert abs(known.value - TRUTHS["surface"][name]) < 4 * known.stderr
        assert known.high - known.low == pytest.approx(2 * 1.645 * known.stderr, rel=0.2)
    some = fit(points[:2600])
    # Half the rows, resampled: errors larger by the root of two.
    ratio = (some.parameters["alpha"].stderr or math.nan) / (found.parameters["alpha"].stderr or math.nan)
    assert ratio == pytest.approx(math.sqrt(2), rel=0.2)


def test_a_pinned_floor_is_pinned_in_every_resample() -> None:
    """What is known beforehand has no error of its own, and makes the others smaller."""
    points = runs_of_surface(SIZES, DATA, noise=0.01, random_seed=2)
    free, pinned = fit(points), fit(points, priors=(Prior(parameter="E", value=1.5),))
    assert pinned.draws["E"] == pytest.approx(np.full(len(pinned.draws["E"]), 1.5))
    assert (pinned.parameters["beta"].stderr or 1) < (free.parameters["beta"].stderr or 0)


@pytest.mark.parametrize("law", ["surface", "over_training", "repeated"])
def test_every_law_of_size_and_data_is_fitted_from_points(law: str) -> None:
    """The whole way from points gives the parameters behind an even surface, by whichever of the laws."""
    even = TRUTHS["surface"] | {"alpha": 0.3, "beta": 0.3}
    points = runs_of_surface(SIZES, DATA, truth=even)
    result = fit_study(table(points), FitOptions(law=law, resamples=0, has_trust=False))
    assert result.fit.law == LAWS[law]
    predicted = law_loss(result.fit, 3e10, 5e11)
    assert predicted == pytest.approx(even["E"] + even["A"] * 3e10**-0.3 + even["B"] * 5e11**-0.3, rel=1e-4)


def law_loss(fit: Fit, n: float, d: float) -> float:
    """The loss a fit predicts of a size and fresh data."""
    values = {"params": n, "useful_params": n, "data": d, "unique_data": d}
    values |= {"six_params_squared": 6 * n**2, "six_data_squared": 6 * d**2}
    return math.exp(fit.law.log_loss(fit.values, {name: math.log(value) for name, value in values.items()}))


def test_an_estimate_without_enough_draws_has_no_interval() -> None:
    """Few draws give a value alone; failed ones do not count."""
    assert estimate(1.0, None, None, 0.9).low is None
    few = estimate(1.0, np.arange(5.0), np.arange(5.0), 0.9)
    assert few.low is None and few.stderr == pytest.approx(np.std(np.arange(5.0), ddof=1))
    with_failed = estimate(1.0, np.arange(100.0), np.array([1.0, np.nan, 3.0]), 0.8)
    assert (with_failed.low, with_failed.high) == pytest.approx((9.9, 89.1))
    assert with_failed.stderr == pytest.approx(math.sqrt(2))


def test_the_sampled_range_has_ten_digits() -> None:
    """Round numbers stay round after a logarithm."""
    assert sampled_range(np.exp(np.log(np.array([300.0, 7.0, 20.0])))) == (7.0, 300.0)


@pytest.mark.skipif(not CHINCHILLA.is_file(), reason="the digitised Chinchilla points are not shipped with the project")
def test_the_chinchilla_points_give_the_published_parameters_and_errors() -> None:
    """arXiv:2404.10102: 240 rows give its objective, parameters to 1e-4, errors of 4000 resamples to 5 %."""
    rows = read_csv(CHINCHILLA)
    highest = sorted(float(row["loss"]) for row in rows)[-5]
    points = [
        Point(model="", loss=float(row["loss"]), flops=flops, params=size, tokens=flops / 6 / size)
        for row in rows
        if float(row["loss"]) < highest
        for flops, size in [(float(row["Training FLOP"]), float(row["Model Size"]))]
    ]
    assert len(points) == 240
    found = fit_study(table(points), FitOptions(resamples=4000, has_trust=False)).fit
    assert found.objective <= 1.0182740180e-3
    assert found.resamples == 4000
    published = {
        "E": (1.81721810, 0.02566),
        "A": (477.82587, 124.52),
        "B": (2143.4173, 1293.28),
        "alpha": (0.34731050, 0.01540),
        "beta": (0.36717243, 0.02060),
    }
    for name, (value, stderr) in published.items():
        assert found.parameters[name].value == pytest.approx(value, rel=1e-4), name
        assert found.parameters[name].stderr == pytest.approx(stderr, rel=0.05), name

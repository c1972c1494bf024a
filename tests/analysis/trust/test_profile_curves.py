import math

import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.estimators.rows import Rows, compute_rows, surface_rows
from analysis.fitting import Prior, huber
from analysis.laws import POWER, SURFACE
from analysis.solver.quantiles import t_quantile
from analysis.trust.profile_curves import Profile, profiles
from tests.analysis.synthetic import TRUTHS, runs_of_surface, sample, table

SIZES, DATA = np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6)


def line_rows() -> Rows:
    """Noisy rows of a power law."""
    rows = sample("power", noise=0.01, random_seed=1)
    return compute_rows(rows.log_values["compute"], rows.log_loss)


def surface_of(noise: float = 0.004) -> Rows:
    """Noisy rows of a surface."""
    return surface_rows(cells_of(table(runs_of_surface(SIZES, DATA, noise=noise, random_seed=2))), "flops", SURFACE)


def of_line(level: float = 0.9) -> dict[str, Profile]:
    """The profiles of a power law by least squares."""
    rows = line_rows()
    found = profiles(POWER, rows, rows.fit(POWER, delta=None), delta=None, priors=(), level=level)
    return {profile.parameter: profile for profile in found}


def of_surface(delta: float | None, priors: tuple[Prior, ...] = ()) -> dict[str, Profile]:
    """The profiles of a surface."""
    rows = surface_of()
    best = rows.fit(SURFACE, delta=delta, priors=priors)
    return {p.parameter: p for p in profiles(SURFACE, rows, best, delta=delta, priors=priors, level=0.9)}


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_the_interval_of_a_line_is_the_textbooks(level: float) -> None:
    """For a straight line in log-log the profile of the slope ends where Student's t does."""
    from scipy import stats

    rows = line_rows()
    line = stats.linregress(rows.log_values["compute"], rows.log_loss)
    half = float(stats.t.ppf((1 + level) / 2, rows.count - 2)) * line.stderr
    b = of_line(level)["b"]
    assert b.low is not None and b.high is not None
    assert (b.low, b.high) == pytest.approx((-line.slope - half, -line.slope + half), rel=1e-4)
    assert b.critical == pytest.approx(stats.t.ppf((1 + level) / 2, rows.count - 2) ** 2, rel=1e-6)


def test_the_interval_of_a_lines_coefficient_is_the_textbooks() -> None:
    """So it is for the intercept, whose exponential the coefficient is."""
    from scipy import stats

    rows = line_rows()
    line = stats.linregress(rows.log_values["compute"], rows.log_loss)
    half = float(stats.t.ppf(0.95, rows.count - 2)) * line.intercept_stderr
    a = of_line()["a"]
    assert a.low is not None and a.high is not None
    assert (a.low, a.high) == pytest.approx(
        (math.exp(line.intercept - half), math.exp(line.intercept + half)), rel=1e-4
    )


def test_the_rise_of_a_line_is_a_parabola() -> None:
    """The squared number of standard errors, at every value tried."""
    b = of_line()["b"]
    middle = b.values[len(b.values) // 2]
    shape = b.rise / np.maximum((b.values - middle) ** 2, 1e-30)
    away = b.values != middle
    assert shape[away] == pytest.approx(np.full(away.sum(), np.median(shape[away])), rel=1e-4)


@pytest.mark.parametrize("delta", [None, 1e-3])
@pytest.mark.parametrize("name", SURFACE.parameters)
def test_a_profile_is_least_at_the_estimate_and_rises_from_it(name: str, delta: float | None) -> None:
    """It is zero there, on both sides it never falls, and the interval holds the estimate and the truth is near."""
    profile = of_surface(delta)[name]
    rows = surface_of()
    best = float(rows.fit(SURFACE, delta=delta).parameters[name][0])
    at = int(np.argmin(np.abs(profile.values - best)))
    assert profile.values[at] == pytest.approx(best)
    assert profile.rise[at] == 0.0
    assert (np.diff(profile.values) > 0).all()
    assert (np.diff(profile.rise[at:]) >= -1e-6).all() and (np.diff(profile.rise[: at + 1]) <= 1e-6).all()
    assert profile.low is not None and profile.high is not None
    assert profile.low < best < profile.high
    # Three standard errors either way hold the truth of any ordinary sample.
    assert profile.values[0] < TRUTHS["surface"][name] < profile.values[-1]


@pytest.mark.parametrize("name", ["alpha", "beta", "E", "A"])
def test_the_rise_is_that_of_the_best_fit_with_the_value_held(name: str) -> None:
    """SciPy, free in the other parameters, finds the same objective at the ends of the profile."""
    from scipy.optimize import minimize

    rows = surface_of()
    best = rows.fit(SURFACE, delta=None)
    profile = of_surface(None)[name]
    unit = 2 * float(best.objective[0]) / (rows.count - 5)
    others = [other for other in SURFACE.parameters if other != name]
    start = np.log([float(best.parameters[other][0]) for other in others])
    for end in (0, -1):

        def objective(logs: np.ndarray, end: int = end) -> float:
            values = dict(zip(others, np.exp(logs), strict=True)) | {name: float(profile.values[end])}
            return 1e6 * float(huber(SURFACE.log_loss(values, rows.log_values) - rows.log_loss, None).sum())

        found = minimize(objective, start, method="BFGS", options={"gtol": 1e-6})
        found = minimize(objective, found.x, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9})
        rise = 2 * (found.fun / 1e6 - float(best.objective[0])) / unit
        assert profile.rise[end] == pytest.approx(rise, rel=0.01)


def test_where_the_rise_stays_low_the_interval_is_open() -> None:
    """A crossing that was not met within the values tried is missing, not a number."""
    rows = line_rows()
    best = rows.fit(POWER, delta=None)
    (b,) = (p for p in profiles(POWER, rows, best, delta=None, priors=(), level=0.9999) if p.parameter == "b")
    assert t_quantile(0.99995, rows.count - 2) > 3
    assert b.low is None and b.high is None


def test_pinned_parameters_have_no_profile_and_stay_pinned() -> None:
    """A known floor is not walked, and the others are narrower for it."""
    floor = float(surface_of().fit(SURFACE, delta=None).parameters["E"][0])
    free, pinned = of_surface(None), of_surface(None, (Prior(parameter="E", value=floor),))
    assert set(free) - set(pinned) == {"E"}
    assert np.ptp(pinned["beta"].values) < np.ptp(free["beta"].values)

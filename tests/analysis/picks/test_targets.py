import math

import numpy as np
import pytest

from analysis.estimators.allocation import Price
from analysis.options import FitOptions
from analysis.picks.targets import target
from analysis.result import Fit
from analysis.study_fit import fit_study
from analysis.tables.points import Point
from tests.analysis.synthetic import (
    FORMULAS,
    TRUTHS,
    best_size,
    budgets_of_surface,
    cells_on,
    table,
)

BUDGETS = np.geomspace(1e18, 1e21, 7)
SIX = Price(log_k=math.log(6), is_one=True)


def of_compute(law: str, *, noise: float = 0.0, resamples: int = 0) -> Fit:
    """A law of compute fitted to its own losses."""
    points = [Point(model="", loss=cell.loss, flops=cell.flops) for cell in cells_on(law, noise=noise)]
    return fit_study(table(points), FitOptions(law=law, resamples=resamples, has_trust=False)).fit


def of_surface(*, noise: float = 0.0, resamples: int = 0) -> Fit:
    """A surface fitted to isoFLOP runs of it."""
    options = FitOptions(law="surface", resamples=resamples, has_trust=False)
    return fit_study(table(budgets_of_surface(BUDGETS, noise=noise)), options).fit


@pytest.mark.parametrize("compute", [2e3, 1e5, 1e9])
@pytest.mark.parametrize("law", ["power", "power_floor", "saturating", "broken"])
def test_the_compute_of_a_loss_inverts_a_law_of_compute(law: str, compute: float) -> None:
    """What a compute reaches by the true law needs that compute, inside and beyond the runs."""
    loss = float(FORMULAS[law](TRUTHS[law], {"compute": compute}))
    found = target(of_compute(law), loss, None)
    assert found.refused is None
    assert found.compute == pytest.approx(compute, rel=1e-3)
    assert found.extrapolation_factor == pytest.approx(max(1.0, compute / 1e7), rel=1e-3)
    assert found.low is found.high is found.never is None


@pytest.mark.parametrize("budget", [3e18, 1e20, 1e23])
def test_the_compute_of_a_loss_inverts_a_surface(budget: float) -> None:
    """The best split of that budget has that loss."""
    truth = TRUTHS["surface"]
    n = best_size(truth, budget)
    loss = float(FORMULAS["surface"](truth, {"params": n, "data": budget / 6 / n}))
    found = target(of_surface(), loss, SIX)
    assert found.compute == pytest.approx(budget, rel=1e-3)
    assert found.extrapolation_factor == pytest.approx(max(1.0, budget / 1e21), rel=1e-3)


@pytest.mark.parametrize("loss", [1.2, 1.0, 0.5])
def test_a_loss_at_or_below_the_floor_is_never_reached(loss: float) -> None:
    """The floor is named, and no number is given."""
    found = target(of_compute("power_floor"), loss - 1e-6, None)
    assert found.compute is found.low is found.high is found.extrapolation_factor is None
    assert found.refused is not None and found.refused.code == "never_reached"
    assert "its floor is E = 1.2" in found.refused.reason


def test_a_surface_below_its_floor_is_never_reached() -> None:
    """So it is for size and data."""
    found = target(of_surface(), 1.4, SIX)
    assert found.refused is not None and found.refused.code == "never_reached"
    assert "its floor is E = 1.5" in found.refused.reason


def test_a_line_reaches_every_loss_within_a_trillion_times_the_runs() -> None:
    """Farther than that nothing is promised."""
    line = of_compute("power")
    a, b = TRUTHS["power"]["a"], TRUTHS["power"]["b"]
    near, far = (a * (1e7 * factor) ** -b for factor in (1e11, 1e13))
    assert target(line, near, None).compute == pytest.approx(1e18, rel=1e-3)
    assert target(line, far, None).refused is not None


@pytest.mark.parametrize("price", [None, Price(log_k=1.0, is_one=False)])
def test_without_a_common_price_a_surface_says_nothing_of_compute(price: Price | None) -> None:
    """There is no one budget to name."""
    assert target(of_surface(), 2.5, price).refused is not None


def test_the_interval_holds_the_truth() -> None:
    """From resamples: the true compute lies in it, and all of them reach a loss well above the floor."""
    compute = 1e6
    loss = float(FORMULAS["power_floor"](TRUTHS["power_floor"], {"compute": compute}))
    found = target(of_compute("power_floor", noise=0.005, resamples=400), loss, None)
    assert found.low is not None and found.high is not None and found.compute is not None
    assert found.low < compute < found.high
    assert found.low < found.compute < found.high
    assert found.never == 0.0


def test_resamples_that_never_reach_the_loss_leave_the_high_end_open() -> None:
    """Just above the floor some resamples have a higher one: their share is said, and there is no upper bound."""
    fit = of_compute("power_floor", noise=0.01, resamples=400)
    loss = fit.values["E"] + 0.002
    found = target(fit, loss, None)
    assert found.compute is not None and found.low is not None
    assert found.high is None
    assert found.never == pytest.approx(np.mean(fit.draws["E"] >= loss), abs=0.1)
    assert 0.1 < found.never < 0.9

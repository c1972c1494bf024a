import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.fits.allocations import allocations
from analysis.fits.frontier_fit import Frontier
from analysis.options import FitOptions
from analysis.result import AllocationEstimate, ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point
from tests.analysis.synthetic import TRUTHS, best_size, budgets_of_surface, runs_at, runs_of_surface, table

TRUTH = TRUTHS["surface"]
EXPONENT = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])
BUDGETS = np.geomspace(1e18, 1e21, 7)


def by_approach(result: ScalingFit) -> dict[str, AllocationEstimate]:
    """The approaches of a fit by name."""
    return {found.approach: found for found in result.allocations}


def fit(points: list[Point], **known: object) -> ScalingFit:
    """The surface through points."""
    return fit_study(table(points, **known), FitOptions(resamples=200, has_trust=False))


def test_three_approaches_agree_on_runs_of_one_surface() -> None:
    """Envelope, isoFLOP minima and surface give beta / (alpha + beta), the last two closely; they are not averaged."""
    points = runs_of_surface(np.geomspace(1e6, 1e10, 17), np.geomspace(1e7, 1e12, 24), noise=1e-3)
    found = by_approach(fit(points, has_models=True, columns=(("group", "model"),)))
    assert set(found) >= {"envelope", "isoflop", "surface"}
    assert found["surface"].exponent_params is not None and found["envelope"].exponent_params is not None
    assert found["surface"].exponent_params.value == pytest.approx(EXPONENT, abs=0.01)
    assert found["envelope"].exponent_params.value == pytest.approx(EXPONENT, abs=0.06)


def test_isoflop_minima_and_surface_agree() -> None:
    """Each interval holds the truth, data grow by what sizes do not, and the parabola is kept apart."""
    found = by_approach(fit(budgets_of_surface(BUDGETS, noise=0.003, random_seed=1)))
    assert list(found) == ["envelope", "isoflop", "isoflop_parabola", "surface"]
    for name in ("isoflop", "surface"):
        n, d = found[name].exponent_params, found[name].exponent_data
        assert n is not None and d is not None and n.low is not None and n.high is not None
        assert n.low < EXPONENT < n.high
        assert d.value == pytest.approx(1 - n.value)
        assert (d.low, d.high) == pytest.approx((1 - n.high, 1 - n.low))
        assert d.stderr == n.stderr
    assert found["isoflop"].points == 7 and found["surface"].points == 63


def test_what_an_approach_cannot_say_it_refuses() -> None:
    """Runs on a grid come in no budgets of four sizes; a table without models has no envelope of them."""
    grid = [(n, d) for n in np.geomspace(1e6, 1e9, 3) for d in np.geomspace(1.3e7, 1.7e10, 4)]
    found = by_approach(fit(runs_at(grid, noise=1e-3)))
    assert found["isoflop"].refused is not None and found["isoflop"].refused.code == "no_interior_minimum"
    assert "do not come in compute budgets" in found["isoflop"].refused.reason
    assert found["envelope"].refused is not None and found["envelope"].refused.code == "too_few_sizes"
    assert found["isoflop"].exponent_params is found["envelope"].exponent_params is None


def test_edges_are_counted_in_the_remark() -> None:
    """Budgets whose optimum was not seen are named; with too few left the approach is refused for that."""
    mixed = budgets_of_surface(BUDGETS[:4]) + budgets_of_surface(BUDGETS[4:], off_centre=0.01)
    isoflop = by_approach(fit(mixed))["isoflop"]
    assert isoflop.points == 4 and "3 refused (edge_minimum)" in isoflop.remark
    none = by_approach(fit(budgets_of_surface(BUDGETS, off_centre=0.01)))["isoflop"]
    assert none.refused is not None and none.refused.reason.startswith("7 compute budgets were run")


def test_without_sizes_there_is_nothing_to_allocate() -> None:
    """No approach is listed."""
    points = [Point(model="a", loss=2.0 - 0.1 * i, flops=10.0**i) for i in range(6)]
    frontier = Frontier.of(cells_of(table(points)), "flops", has_models=False)
    assert allocations(frontier, None, None, None, level=0.9) == ()


def test_the_envelope_steps_along_the_true_line() -> None:
    """Sizes that each hold the envelope where they are best give nearly the slope that built them.

    The smallest and the largest hold it beyond their turn, which flattens the slope a little.
    """
    sizes = np.geomspace(1e6, 1e9, 13)
    points: list[Point] = []
    for n in sizes:
        budget = next(c for c in np.geomspace(1e12, 1e24, 4000) if best_size(TRUTH, c) >= n)
        points += runs_at([(n, budget / 6 / n * f) for f in np.geomspace(0.25, 4.0, 9)])
    found = by_approach(fit(points, has_models=True, columns=(("group", "model"),)))["envelope"]
    assert found.refused is None and found.points >= 11
    assert found.exponent_params is not None
    assert found.exponent_params.value == pytest.approx(EXPONENT, abs=0.04)

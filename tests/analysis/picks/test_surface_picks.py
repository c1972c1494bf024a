import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from analysis.estimators.allocation import price_of
from analysis.estimators.best_rate import cells_of
from analysis.options import FitOptions
from analysis.picks.surface_picks import Market, surface_pick
from analysis.result import Pick, ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point
from tests.analysis.synthetic import (
    FORMULAS,
    TRUTHS,
    best_size,
    budgets_of_surface,
    runs_of_surface,
    study_points,
    study_records,
    table,
)

TRUTH = TRUTHS["surface"]
BUDGETS = np.geomspace(1e18, 1e21, 7)
TOP = 1e21


def fit(points: Iterable[Point], budgets: Iterable[float], resamples: int = 0, **known: object) -> ScalingFit:
    """The surface through points, with picks."""
    options = FitOptions(law="surface", budgets=tuple(budgets), resamples=resamples, has_trust=False)
    return fit_study(table(points, **known), options)


def pick(points: Iterable[Point], budget: float, resamples: int = 0) -> Pick:
    """The pick for one budget."""
    (found,) = fit(points, [budget], resamples).picks
    return found


def least_loss(budget: float) -> float:
    """The loss of the best split of a budget by the true surface."""
    n = best_size(TRUTH, budget)
    return float(FORMULAS["surface"](TRUTH, {"params": n, "data": budget / 6 / n}))


@pytest.mark.parametrize("budget", [2e18, 1e20, 1e21, 3e21, 9.9e21])
def test_a_budget_is_split_where_the_true_surface_has_its_least(budget: float) -> None:
    """Within the runs and up to ten times beyond them the pick is the optimum and is not refused."""
    found = pick(budgets_of_surface(BUDGETS), budget)
    assert found.refused is None
    assert found.params == pytest.approx(best_size(TRUTH, budget), rel=1e-4)
    assert found.tokens == pytest.approx(budget / 6 / best_size(TRUTH, budget), rel=1e-4)
    assert found.predicted_loss == pytest.approx(least_loss(budget), rel=1e-6)
    assert found.extrapolation_factor == pytest.approx(max(1.0, budget / TOP))
    assert found.continuous == (found.params, found.tokens)
    assert found.flops == budget and found.core_hours is None


def test_beyond_ten_times_the_pick_is_refused_and_the_numbers_stay() -> None:
    """Intervals were never checked so far out: the numbers are a guess, and what to run is said."""
    found = pick(budgets_of_surface(BUDGETS), 20 * TOP)
    assert found.refused is not None and found.refused.code == "outside_sampled_range"
    assert "20 x beyond the runs" in found.refused.reason and "as a guess" in found.refused.next
    assert found.params == pytest.approx(best_size(TRUTH, 20 * TOP), rel=1e-4)
    assert found.predicted_loss == pytest.approx(least_loss(20 * TOP), rel=1e-6)
    cheap = pick(budgets_of_surface(BUDGETS), 1e18 / 20)
    assert cheap.refused is not None and cheap.extrapolation_factor == pytest.approx(20.0)


@pytest.mark.parametrize("off_centre", [1 / 300, 300.0])
def test_an_optimum_outside_the_sizes_run_is_refused(off_centre: float) -> None:
    """A size smaller or larger than all that were run near the budget was not seen to be best."""
    found = pick(budgets_of_surface(BUDGETS, off_centre=off_centre), 1e20)
    assert found.refused is not None and found.refused.code == "outside_sampled_range"
    assert "outside the" in found.refused.reason and "parameters" in found.refused.reason
    assert "near that budget" in found.refused.reason
    assert found.params == pytest.approx(best_size(TRUTH, 1e20), rel=1e-2)


def test_beyond_the_runs_it_is_the_split_that_must_have_been_run() -> None:
    """Larger sizes than any are asked for there; D/N outside all runs is refused."""
    even = TRUTH | {"alpha": 0.5, "beta": 0.25}
    points = budgets_of_surface(BUDGETS, truth=even, off_centre=30.0, span=20.0)
    (found,) = fit(points, [5 * TOP]).picks
    assert found.refused is not None and found.refused.code == "outside_sampled_range"
    assert "examples a parameter" in found.refused.reason


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_without_an_optimum_there_is_no_pick(name: str) -> None:
    """A law whose loss rises with size or data has no best split: refused as that, without numbers."""
    cells = cells_of(table(budgets_of_surface(BUDGETS)))
    fitted = fit(budgets_of_surface(BUDGETS), [1e20]).fit
    parameters = fitted.parameters | {name: replace(fitted.parameters[name], value=-0.1)}
    market = Market(cells=cells, price=price_of(cells, "flops"), has_names=False, counts_epochs=False, rates=None)
    found = surface_pick(replace(fitted, parameters=parameters), market, 1e20)
    assert found.refused is not None and found.refused.code == "no_optimum"
    assert found.params is found.tokens is found.predicted_loss is None


def test_losses_that_rise_with_data_are_refused_on_the_whole_way() -> None:
    """From points whose losses grow with data no pick comes out as if it were one."""
    rising = TRUTH | {"B": 0.001, "beta": -0.3}
    result = fit(runs_of_surface(np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6), truth=rising), [1e17])
    assert result.fit.values["beta"] < 0
    assert result.picks[0].refused is not None and result.picks[0].refused.code == "no_optimum"


def test_intervals_hold_the_truth_and_runs_scatter_more_than_the_law() -> None:
    """The loss of one run lies wider than the mean; the best size and its data have intervals too."""
    found = pick(budgets_of_surface(BUDGETS, noise=0.01, random_seed=3), 3e20, resamples=400)
    assert found.low is not None and found.high is not None and found.law_low is not None and found.law_high is not None
    assert found.low < found.law_low < least_loss(3e20) < found.law_high < found.high
    assert math.log(found.high / found.low) == pytest.approx(2 * 1.645 * 0.01, rel=0.4)
    assert found.params_interval is not None and found.tokens_interval is not None
    assert found.params_interval[0] < best_size(TRUTH, 3e20) < found.params_interval[1]
    # What sizes gain data lose.
    for n, d in zip(found.params_interval, reversed(found.tokens_interval), strict=True):
        assert n * d == pytest.approx(3e20 / 6, rel=1e-6)


def test_sizes_as_good_as_the_best_are_those_within_a_runs_scatter() -> None:
    """At both ends the loss exceeds the least by one standard deviation."""
    result = fit(budgets_of_surface(BUDGETS, noise=0.01), [3e20])
    found = result.picks[0]
    assert found.params_as_good is not None
    values = result.fit.values
    for n in found.params_as_good:
        loss = float(FORMULAS["surface"](values, {"params": n, "data": 3e20 / 6 / n}))
        assert math.log(loss / (found.predicted_loss or 1)) == pytest.approx(result.fit.residual_sd, rel=0.05)
    assert found.params_as_good[0] < (found.params or 0) < found.params_as_good[1]


def test_neighbours_are_the_nearest_sizes_with_what_they_leave_on_the_table() -> None:
    """Best first, each trained for the whole budget, as the true surface has it."""
    ladder = np.geomspace(1e6, 1e10, 9)
    found = pick(runs_of_surface(ladder, np.geomspace(1e8, 1e11, 7)), 1e19)
    assert 1 <= len(found.neighbours) <= 6
    assert [x.excess for x in found.neighbours] == sorted(x.excess for x in found.neighbours)
    nearest = sorted(ladder, key=lambda n: abs(math.log(n / best_size(TRUTH, 1e19))))[: len(found.neighbours)]
    assert {x.model for x in found.neighbours} == {f"n{n:.3g}" for n in nearest}
    for neighbour in found.neighbours:
        n = float(neighbour.model[1:])
        n = min(ladder, key=lambda size: abs(math.log(size / n)))
        loss = float(FORMULAS["surface"](TRUTH, {"params": n, "data": 1e19 / 6 / n}))
        assert neighbour.predicted_loss == pytest.approx(loss, rel=1e-5)
        assert neighbour.excess == pytest.approx(loss / least_loss(1e19) - 1, abs=1e-6)


def test_named_models_are_named_and_others_are_not() -> None:
    """A table with a column of groups has models to train; without one only sizes are known."""
    points = budgets_of_surface(BUDGETS)
    assert fit(points, [1e20]).picks[0].model is None
    named = fit(points, [1e20], columns=(("group", "model"),), has_models=True).picks[0].model
    nearest = min(points, key=lambda p: abs(math.log((p.params or 1) / best_size(TRUTH, 1e20))))
    assert named == nearest.model


def test_a_study_gets_epochs_and_both_units() -> None:
    """Its images per epoch are known, and so is what a core-hour computes."""
    options = FitOptions(law="surface", budgets=(10_000.0,), resamples=0, has_trust=False)
    (found,) = fit_study(study_points(study_records(noise=0.002)), options).picks
    assert found.core_hours == 10_000.0 and found.flops == pytest.approx(10_000 * 3.6e6)
    assert found.epochs is not None and found.tokens is not None
    assert found.epochs == pytest.approx(found.tokens / 1024, rel=1e-3)


def test_without_a_common_price_the_best_real_model_is_taken() -> None:
    """Where small models pay more a parameter there is no closed form: each model is trained for the budget."""
    points = [
        replace(p, flops=(p.flops or 0) * (1 + 1e8 / (p.params or 1)))
        for p in runs_of_surface(np.geomspace(1e6, 1e10, 9), np.geomspace(1e8, 1e11, 7))
    ]
    budget = 1e19
    (found,) = fit(points, [budget]).picks
    losses = {
        n: float(FORMULAS["surface"](TRUTH, {"params": n, "data": budget / (6 * n * (1 + 1e8 / n))}))
        for n in {p.params or 0 for p in points}
    }
    assert found.params == pytest.approx(min(losses, key=lambda n: losses[n]), rel=1e-6)
    assert found.predicted_loss == pytest.approx(min(losses.values()), rel=1e-5)

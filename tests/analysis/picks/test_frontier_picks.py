import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.estimators.best_rate import Cell, cells_of
from analysis.estimators.frontier import Curves, curves_of
from analysis.options import FitOptions
from analysis.picks.frontier_picks import (
    best_choice,
    best_measured,
    budget_text,
    extrapolation_factor,
    finite_exp,
    law_interval,
)
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point
from tests.analysis.synthetic import (
    COEFFICIENT,
    MODELS,
    SLOPE,
    cells_on,
    study_points,
    study_records,
    table,
)

_ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(1.0, 1e6), st.floats(0.1, 10.0)),
    min_size=1,
    max_size=15,
    unique_by=lambda row: (row[0], round(math.log(row[1]), 3)),
)


def drawn(rows: list[tuple[str, float, float]]) -> tuple[tuple[Cell, ...], Curves]:
    """Cells and curves of (model, core-hours, loss)."""
    cells = cells_of(table(Point(model=model, core_hours=hours, loss=loss) for model, hours, loss in rows))
    return cells, curves_of(cells, "core_hours")


@pytest.fixture(scope="module")
def result() -> ScalingFit:
    """A noisy study with picks below, within, just beyond and far beyond its runs."""
    options = FitOptions(resamples=300, budgets=(100.0, 3000.0, 90_000.0, 1e6), has_trust=False)
    return fit_study(study_points(study_records(noise=0.01)), options)


@given(_ROWS, st.floats(0.5, 2e6))
def test_the_choice_is_within_the_budget_and_no_cell_within_it_is_better(
    rows: list[tuple[str, float, float]], budget: float
) -> None:
    """On the curves of the models, none where even the cheapest run is dearer."""
    cells, curves = drawn(rows)
    choice = best_choice(cells, curves, "core_hours", budget)
    affordable = [loss for _, hours, loss in rows if hours <= budget]
    if not affordable:
        # A budget is read to a per cent.
        assert choice is None or min(hours for _, hours, _ in rows) <= 1.011 * budget
        return
    assert choice is not None
    assert choice.compute <= 1.011 * budget
    assert choice.log_loss <= math.log(min(affordable)) + 1e-9


@given(_ROWS)
def test_more_budget_is_never_worse(rows: list[tuple[str, float, float]]) -> None:
    """A budget need not be spent."""
    cells, curves = drawn(rows)
    losses = [
        choice.log_loss
        for budget in np.geomspace(1.0, 2e6, 30)
        if (choice := best_choice(cells, curves, "core_hours", float(budget)))
    ]
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(losses))


def test_a_choice_between_two_cells_is_interpolated() -> None:
    """Straight in log-log: loss, epochs and compute; the rate is one that was tried."""
    points = [
        Point(model="a", core_hours=100.0, epochs=1.0, loss=4.0, peak_lr=0.4, batch_images=32),
        Point(model="a", core_hours=10_000.0, epochs=100.0, loss=1.0, peak_lr=0.1, batch_images=64),
    ]
    cells = cells_of(table(points))
    found = best_choice(cells, curves_of(cells, "core_hours"), "core_hours", 500.0)
    assert found is not None
    assert found.compute == pytest.approx(500.0)
    assert found.epochs == pytest.approx(5.0, rel=1e-3)
    share = math.log(5) / math.log(100)
    assert math.exp(found.log_loss) == pytest.approx(4.0 ** (1 - share))
    assert (found.peak_lr, found.batch_images) == (0.4, 32)
    assert not found.is_at_epoch_cap
    capped = best_choice(cells, curves_of(cells, "core_hours"), "core_hours", 20_000.0)
    assert capped is not None and capped.is_at_epoch_cap and capped.epochs == 100.0


def test_picks_within_the_runs_are_the_truth(result: ScalingFit) -> None:
    """The best size of the study, trained for the budget, at the loss of its law; a run scatters more than the law."""
    pick = result.picks[1]
    truth = COEFFICIENT * 3000**SLOPE
    assert pick.refused is None and pick.extrapolation_factor == 1.0
    assert pick.model in ("f0", "f1")
    assert pick.epochs == pytest.approx(3000 / MODELS[pick.model][1], rel=0.01)
    assert pick.low is not None and pick.high is not None and pick.law_low is not None and pick.law_high is not None
    assert pick.low <= pick.law_low < pick.law_high <= pick.high
    assert pick.low < truth < pick.high
    assert pick.support is not None and 0 < pick.support <= 1
    assert pick.flops == pytest.approx(3000 * 3.6e6)
    assert pick.best_measured is not None and (pick.best_measured.core_hours or 0) <= 3030
    assert [n.excess for n in pick.neighbours] == sorted(n.excess for n in pick.neighbours)
    assert pick.model not in {n.model for n in pick.neighbours}


def test_picks_outside_the_runs_are_refused_with_what_to_do(result: ScalingFit) -> None:
    """Below the cheapest cell and far above the dearest no configuration was measured; just above, one was."""
    below, _, near, far = result.picks
    assert below.refused is not None and below.refused.code == "below_sampled_range"
    assert near.refused is None and near.extrapolation_factor == pytest.approx(90_000 / 76_800)
    assert far.refused is not None and far.refused.code == "outside_sampled_range"
    assert far.refused.next == "make sweep BUDGET=1M STUDY=synthetic"
    for pick in (below, far):
        assert pick.model is pick.epochs is pick.peak_lr is pick.support is None and pick.neighbours == ()
        assert pick.predicted_loss == pytest.approx(COEFFICIENT * pick.budget**SLOPE, rel=0.05)


def test_beyond_the_runs_intervals_span_the_rival_forms(result: ScalingFit) -> None:
    """Where a line and a floor part the interval of the mean holds both; among the runs one run's scatter covers it."""
    fit = result.fit
    assert {rival.law.name for rival in fit.rivals} == {"power", "power_floor"}
    for at in (math.log(5000.0), math.log(1e8)):
        bounds = [
            np.quantile(np.exp(rival.law.log_loss(rival.draws, {"compute": at})), [0.05, 0.95]) for rival in fit.rivals
        ]
        wanted = (min(low for low, _ in bounds), max(high for _, high in bounds))
        assert law_interval(fit, at, with_scatter=False) == pytest.approx(wanted)
    one = law_interval(fit, math.log(5000.0), with_scatter=True)
    line = fit.law.log_loss(fit.values, {"compute": math.log(5000.0)})
    assert one[0] is not None and one[1] is not None
    assert one[0] < math.exp(line) < one[1]
    assert math.log(one[1] / one[0]) == pytest.approx(2 * 1.645 * fit.residual_sd, rel=0.2)


def test_the_best_measured_cell_is_within_the_budget() -> None:
    """The least loss among affordable cells; none below the cheapest."""
    cells = cells_on("power_floor")
    assert best_measured(cells, "flops", 900.0) is None
    found = best_measured(cells, "flops", 1e5)
    assert found is not None and found.flops == pytest.approx(1e5, rel=0.5) and (found.flops or 0) <= 1.01e5


@pytest.mark.parametrize(("budget", "factor"), [(1.0, 10.0), (10.0, 1.0), (50.0, 1.0), (100.0, 1.0), (300.0, 3.0)])
def test_the_extrapolation_factor_counts_on_both_sides(budget: float, factor: float) -> None:
    """One inside, a ratio outside."""
    assert extrapolation_factor(budget, (10.0, 100.0)) == pytest.approx(factor)


def test_numbers_that_are_none_are_none() -> None:
    """An overflow and a NaN are missing, everything else is its exponential."""
    assert finite_exp(1e4) is None and finite_exp(math.nan) is None
    assert finite_exp(np.array(2.0)) == pytest.approx(math.exp(2.0))
    assert budget_text(10_000.0, "core_hours") == "10k" and budget_text(1e21, "flops") == "1e+21 FLOPs"

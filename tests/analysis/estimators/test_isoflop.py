import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.estimators.best_rate import Cell, cells_of
from analysis.estimators.isoflop import IsoFlopFit, fit_isoflop, isoflop_groups
from analysis.tables.points import Point
from tests.analysis.synthetic import (
    PORIAN_POINTS,
    PORIAN_PUBLISHED,
    TRUTHS,
    best_size,
    budgets_of_surface,
    read_csv,
    table,
)

BUDGETS = np.geomspace(1e18, 1e21, 6)
EVEN = TRUTHS["surface"] | {"alpha": 0.34, "beta": 0.34}
CONFIGS = [("summary_df", str(i)) for i in range(5)] + [("summary_df_kaplan_tuned_hparams", "0")]


def fit(points: list[Point]) -> IsoFlopFit | None:
    """Approach 2 on points."""
    return fit_isoflop(cells_of(table(points)), rng=np.random.default_rng(0))


def parabolas(exponent: float, sizes: int = 9) -> list[Point]:
    """Runs whose log loss is a parabola in log size about 1e7 (C/1e18)^exponent, on one ladder of sizes for all."""
    found: list[Point] = []
    for budget in BUDGETS:
        best = 1e7 * (budget / 1e18) ** exponent
        for n in best * np.geomspace(0.11, 13.0, sizes):
            loss = 3.0 * (budget / 1e18) ** -0.05 * math.exp(0.02 * math.log(n / best) ** 2)
            found.append(Point(model="", loss=loss, flops=budget, params=n, tokens=budget / 6 / n))
    return found


@pytest.mark.parametrize("off_centre", [0.5, 1.0, 2.0])
def test_valleys_that_rise_evenly_give_the_exponent(off_centre: float) -> None:
    """With alpha = beta losses are the same on both sides: a half comes out to a thousandth, wherever the sizes lie."""
    found = fit(budgets_of_surface(BUDGETS, truth=EVEN, off_centre=off_centre))
    assert found is not None
    assert len(found.used) == 6
    assert found.line.slope == pytest.approx(0.5, abs=1e-3)
    for budget in found.budgets:
        assert budget.log_params == pytest.approx(math.log(best_size(EVEN, math.exp(budget.log_flops))), abs=0.02)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.73])
def test_parabolas_give_their_exponent_exactly(exponent: float) -> None:
    """Where the form is right the minimum is right, for the smooth curve and the parabola alike."""
    found = fit(parabolas(exponent))
    assert found is not None and found.parabola is not None
    assert found.line.slope == pytest.approx(exponent, abs=1e-5)
    assert found.parabola.slope == pytest.approx(exponent, abs=1e-5)


def test_uneven_valleys_give_the_exponent_where_a_parabola_does_not() -> None:
    """With alpha twice beta, off the centre, the smooth curve is nearer to beta / (alpha + beta) than the parabola."""
    uneven = {"E": 1.5, "A": 4000.0, "B": 400.0, "alpha": 0.5, "beta": 0.25}
    points: list[Point] = []
    for i, budget in enumerate(BUDGETS):
        # Small sizes on the cheap side, large ones on the dear side: the parabola's bias grows with compute.
        points += budgets_of_surface([budget], truth=uneven, off_centre=3.0 ** (i / 2.5 - 1), span=100.0, sizes=13)
    found = fit(points)
    assert found is not None and found.parabola is not None
    assert abs(found.line.slope - 1 / 3) < 0.01
    assert abs(found.line.slope - 1 / 3) < 0.5 * abs(found.parabola.slope - 1 / 3)


def test_noise_widens_the_interval_and_the_exponent_lies_in_it() -> None:
    """With a per cent of noise the interval holds the truth; without noise it is narrow."""
    truth = TRUTHS["surface"]
    exponent = truth["beta"] / (truth["alpha"] + truth["beta"])
    widths = {}
    for noise in (0.0, 0.01):
        found = fit(budgets_of_surface(BUDGETS, noise=noise, random_seed=1))
        assert found is not None
        widths[noise] = found.line.slope_half_width(0.9)
        assert abs(found.line.slope - exponent) <= widths[noise]
    assert widths[0.0] < 0.2 * widths[0.01]


@pytest.mark.parametrize("off_centre", [0.01, 100.0])
def test_an_edge_minimum_is_refused(off_centre: float) -> None:
    """A budget whose least loss is at its largest or smallest size is not used; the others are."""
    points = budgets_of_surface(BUDGETS[:4]) + budgets_of_surface(BUDGETS[4:], off_centre=off_centre)
    found = fit(points)
    assert found is not None
    assert [budget.refused for budget in found.budgets] == [None] * 4 + ["edge_minimum"] * 2
    assert [budget.log_params for budget in found.budgets[4:]] == [None, None]
    assert len(found.used) == 4


def test_nothing_but_edges_is_no_fit() -> None:
    """Where no optimum was seen there is no exponent."""
    assert fit(budgets_of_surface(BUDGETS, off_centre=0.01)) is None


@pytest.mark.parametrize("budgets", [0, 1, 2])
def test_fewer_than_three_budgets_are_no_fit(budgets: int) -> None:
    """Two points make a line and say nothing of its error."""
    assert fit(budgets_of_surface(BUDGETS[:budgets])) is None
    assert fit(budgets_of_surface(BUDGETS[:3])) is not None


def test_a_budget_with_three_sizes_is_no_budget() -> None:
    """A parabola needs a size to contradict it: three sizes are passed over, or refused where the budget is named."""
    points = budgets_of_surface(BUDGETS[:4]) + budgets_of_surface(BUDGETS[4:5], sizes=3)
    assert len(isoflop_groups(cells_of(table(points)))) == 4
    named = [replace(p, isoflop=min(BUDGETS, key=lambda b: abs(b - (p.flops or 0)))) for p in points]
    found = fit(named)
    assert found is not None
    assert [budget.refused for budget in found.budgets] == [None] * 4 + ["too_few_sizes"]


def test_scattered_compute_is_one_budget() -> None:
    """Runs within a tenth of each other belong together, as digitised ones do; a tenth moves the exponent little."""
    rng = np.random.default_rng(4)
    points = [
        replace(p, flops=(p.flops or 0) * math.exp(rng.uniform(-0.05, 0.05))) for p in budgets_of_surface(BUDGETS)
    ]
    groups = isoflop_groups(cells_of(table(points)))
    assert [len(cells) for _, cells in groups] == [9] * 6
    assert [math.exp(log_flops) for log_flops, _ in groups] == pytest.approx(list(BUDGETS), rel=0.05)
    found = fit(points)
    assert found is not None
    assert found.line.slope == pytest.approx(0.33 / 0.68, abs=0.02)


def test_nominal_budgets_decide_where_they_are_given() -> None:
    """Runs that cost half as much again are one budget when a column says so, at the nominal compute."""
    rng = np.random.default_rng(4)
    points = [
        replace(p, flops=(p.flops or 0) * math.exp(rng.uniform(-0.4, 0.4)), isoflop=round(p.flops or 0, -10))
        for p in budgets_of_surface(BUDGETS)
    ]
    unnamed = isoflop_groups(cells_of(table([replace(p, isoflop=None) for p in points])))
    assert [len(cells) for _, cells in unnamed] != [9] * 6
    groups = isoflop_groups(cells_of(table(points)))
    assert [math.exp(log_flops) for log_flops, _ in groups] == pytest.approx(list(BUDGETS))
    assert [len(cells) for _, cells in groups] == [9] * 6


def test_a_ladder_of_compute_is_no_budget() -> None:
    """Runs that follow each other closely over decades are one chain, too wide for a budget."""
    ladder = np.geomspace(1e18, 1e20, 80)
    points = [Point(model="", loss=3.0, flops=c, params=1e6 * (i % 7 + 1)) for i, c in enumerate(ladder)]
    assert isoflop_groups(cells_of(table(points))) == []


def test_the_best_run_of_a_size_stands_for_it() -> None:
    """Where a size was run twice in a budget the lower loss counts; sizes come smallest first."""
    points = budgets_of_surface(BUDGETS)
    doubled = points + [replace(p, loss=1.1 * p.loss, tokens=(p.tokens or 0) * 1.01) for p in points]
    for (_, once), (_, twice) in zip(
        isoflop_groups(cells_of(table(points))), isoflop_groups(cells_of(table(doubled))), strict=True
    ):
        assert [cell.loss for cell in twice] == [cell.loss for cell in once]
        assert [cell.params for cell in twice] == sorted(cell.params or 0 for cell in twice)


def test_other_losses_may_be_taken_for_the_same_cells() -> None:
    """Resampled losses stand in for the cells' own, in their order."""
    cells: tuple[Cell, ...] = cells_of(table(budgets_of_surface(BUDGETS)))
    other = {p.params: math.log(p.loss) for p in budgets_of_surface(BUDGETS, truth=TRUTHS["surface"] | {"E": 2.5})}
    losses = np.array([other[cell.params] for cell in cells])
    found = fit_isoflop(cells, rng=np.random.default_rng(0), losses=losses)
    assert found is not None
    assert found.budgets[0].log_loss == pytest.approx(min(found.budgets[0].valley.log_loss), abs=1e-3)
    assert all((budget.log_loss or 0) > math.log(2.5) for budget in found.budgets)


@pytest.mark.skipif(not PORIAN_POINTS.is_file(), reason="the runs of arXiv:2406.19146 are not shipped with the project")
@pytest.mark.parametrize(("file", "config"), CONFIGS)
def test_published_exponents_are_found_from_the_raw_runs(file: str, config: str) -> None:
    """On the runs themselves the exponent lies in the published 95 % interval, in all six configurations."""
    rows = [row for row in read_csv(PORIAN_POINTS) if (row["file"], row["config"]) == (file, config)]
    (published,) = [r for r in read_csv(PORIAN_PUBLISHED) if (r["file"], r["config"]) == (file, config)]
    found = fit(
        [
            Point(
                model="", loss=float(row["loss"]), flops=float(row["flops"]), params=float(row["n"]),
                tokens=float(row["tokens"]),
            )
            for row in rows
        ]
    )  # fmt: skip
    assert found is not None
    assert float(published["a_lo95"]) <= found.line.slope <= float(published["a_hi95"])

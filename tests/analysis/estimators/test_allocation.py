import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from analysis.estimators.allocation import Price, Surface, data_of, price_of
from analysis.estimators.best_rate import Cell, cells_of
from analysis.laws import LAWS, SURFACE
from analysis.tables.points import Point
from tests.analysis.synthetic import FORMULAS, TRUTHS, runs_of_surface, table

SURFACES = st.fixed_dictionaries(
    {
        "E": st.floats(0.1, 3.0),
        "A": st.floats(1.0, 1e4),
        "B": st.floats(1.0, 1e4),
        "alpha": st.floats(0.1, 0.8),
        "beta": st.floats(0.1, 0.8),
    }
)


@given(SURFACES, st.floats(20.0, 60.0))
def test_the_closed_form_is_the_numerical_minimum(truth: dict[str, float], log_product: float) -> None:
    """SciPy, splitting the same budget, finds the same size and no lower loss."""
    surface = Surface.of(SURFACE, truth)

    def loss(log_n: float) -> float:
        x = {"params": math.exp(log_n), "data": math.exp(log_product - log_n)}
        return float(FORMULAS["surface"](truth | {"E": 0.0}, x))

    found = minimize_scalar(loss, bounds=(-60.0, 120.0), method="bounded", options={"xatol": 1e-9})
    best = float(surface.log_params(log_product))
    assert found.x == pytest.approx(best, abs=1e-4)
    assert loss(best) <= found.fun * (1 + 1e-9)
    assert math.exp(surface.log_best_loss(log_product)) == pytest.approx(truth["E"] + found.fun, rel=1e-9)
    assert math.exp(surface.log_loss(np.array(best), np.array(log_product - best))) == pytest.approx(
        truth["E"] + found.fun, rel=1e-9
    )


@given(SURFACES, st.floats(10.0, 60.0))
def test_the_budget_of_a_loss_inverts_the_loss_of_a_budget(truth: dict[str, float], log_product: float) -> None:
    """What a budget reaches needs that budget."""
    surface = Surface.of(SURFACE, truth)
    reached = math.exp(float(surface.log_best_loss(log_product)))
    # Where nothing but the floor is left, the budget is lost in rounding.
    assume(reached > truth["E"] * (1 + 1e-6))
    assert float(surface.log_product_for(reached)) == pytest.approx(log_product, abs=1e-6)


@given(SURFACES)
def test_the_best_size_grows_by_the_exponent(truth: dict[str, float]) -> None:
    """A budget e times larger has a best size e^a times larger, a = beta / (alpha + beta)."""
    surface = Surface.of(SURFACE, truth)
    growth = float(surface.log_params(21.0) - surface.log_params(20.0))
    assert growth == pytest.approx(truth["beta"] / (truth["alpha"] + truth["beta"]))
    assert float(surface.exponent_params) == pytest.approx(growth)


def test_a_loss_below_the_floor_needs_an_infinite_budget() -> None:
    """A draw whose floor is above the loss never reaches it; the others say when they do."""
    truth = {name: np.full(3, value) for name, value in TRUTHS["surface"].items()}
    surface = Surface.of(SURFACE, truth | {"E": np.array([1.0, 2.0, 2.5])})
    needed = surface.log_product_for(2.0)
    assert np.isfinite(needed[0]) and needed[1] == needed[2] == math.inf


@pytest.mark.parametrize("name", ["alpha", "beta", "A", "B"])
def test_without_an_optimum_there_is_no_number(name: str) -> None:
    """Draws whose loss does not fall with both size and data are NaN, and the others are not."""
    truth = {key: np.full(2, value) for key, value in TRUTHS["surface"].items()}
    truth[name][1] *= -1
    surface = Surface.of(SURFACE, truth)
    for found in (surface.log_params(40.0), surface.log_best_loss(40.0), surface.log_product_for(2.5)):
        assert np.isfinite(found).tolist() == [True, False]
        assert np.isnan(found[1])


@pytest.mark.parametrize("law", ["surface", "over_training", "repeated"])
def test_every_law_of_size_and_data_is_a_surface_where_nothing_repeats(law: str) -> None:
    """The surface of a law predicts what the law does for data that are all new."""
    n, d = 3e7, 2e9
    x = {"params": n, "data": d, "unique_data": d, "useful_params": n}
    surface = Surface.of(LAWS[law], TRUTHS[law])
    assert math.exp(surface.log_loss(np.log(n), np.log(d))) == pytest.approx(
        float(FORMULAS[law](TRUTHS[law], x)), rel=1e-12
    )


def cells() -> tuple[Cell, ...]:
    """Cells that cost 6 N D."""
    return cells_of(table(runs_of_surface([1e6, 1e7, 1e8], [1e8, 1e9])))


def test_the_price_is_compute_per_parameter_and_example() -> None:
    """Where every run cost 6 N D the price is six for all."""
    assert price_of(cells(), "flops") == Price(log_k=pytest.approx(math.log(6)), is_one=True)


def test_runs_without_a_common_price_say_so() -> None:
    """Where small models pay ten times as much a parameter the price is their median and not one."""
    dear = [replace(c, flops=10 * c.flops) if c.params == 1e6 and c.flops else c for c in cells()]
    found = price_of(dear, "flops")
    assert not found.is_one
    assert found.log_k == pytest.approx(math.log(6))


def test_cells_without_size_data_or_compute_have_no_price() -> None:
    """They are passed over."""
    lame = [replace(cells()[0], params=None), replace(cells()[0], tokens=None), replace(cells()[0], flops=None)]
    assert price_of([*cells(), *lame], "flops") == price_of(cells(), "flops")


def test_data_are_tokens_or_else_epochs() -> None:
    """The D of a cell is what it saw, in the finest unit known."""
    points = [Point(model="a", loss=2.0, flops=1.0, epochs=3.0), Point(model="b", loss=2.0, flops=2.0, tokens=5.0)]
    assert [data_of(cell) for cell in cells_of(table(points))] == [3.0, 5.0]

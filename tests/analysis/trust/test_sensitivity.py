import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.estimators.allocation import Price, price_of
from analysis.estimators.best_rate import cells_of
from analysis.fitting import Prior
from analysis.laws import POWER, POWER_FLOOR, SURFACE, Law
from analysis.trust.sensitivity import Variant, outliers, variants
from tests.analysis.synthetic import (
    FORMULAS,
    TRUTHS,
    best_size,
    cells_on,
    compute_rows_of,
    runs_of_surface,
    surface_rows_of,
    table,
)

SIZES, DATA = np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6)


def of_surface(points, *, delta: float | None = 1e-3, priors: tuple[Prior, ...] = ()) -> dict[str, Variant]:  # type: ignore[no-untyped-def]
    """The variants of a surface through points."""
    cells = cells_of(table(points))
    found = variants(
        SURFACE, cells, "flops", surface_rows_of, delta=delta, priors=priors, price=price_of(cells, "flops")
    )
    return {variant.name: variant for variant in found}


def of_compute(law: Law, truth: str, noise: float = 0.001) -> dict[str, Variant]:
    """The variants of a law of compute."""
    cells = cells_on(truth, noise=noise)
    found = variants(law, cells, "flops", compute_rows_of, delta=None, priors=(), price=None)
    return {variant.name: variant for variant in found}


def test_a_planted_outlier_is_found() -> None:
    """It alone lies five robust standard deviations away, whatever the scatter and the offset of the others."""
    rng = np.random.default_rng(0)
    for scale in (1e-6, 0.01, 1.0):
        residual = scale * (rng.normal(size=60) + 3)
        residual[17] += 20 * scale
        assert np.flatnonzero(outliers(residual)).tolist() == [17]
    assert not outliers(np.zeros(10)).any()


def test_without_the_outliers_the_truth_is_back() -> None:
    """The planted run is named by count, and leaving it out mends least squares."""
    points = runs_of_surface(SIZES, DATA, noise=0.001)
    points[10] = replace(points[10], loss=1.5 * points[10].loss)
    found = of_surface(points, delta=None)
    without = found["without 1 outliers"]
    assert without.rows == found["as fitted"].rows - 1 == 35
    for name, value in TRUTHS["surface"].items():
        assert without.values[name] == pytest.approx(value, rel=0.1), name
    assert abs(found["as fitted"].values["E"] - 1.5) > 5 * abs(without.values["E"] - 1.5)


def test_a_surface_is_refitted_with_one_thing_changed_at_a_time() -> None:
    """Without outliers: another loss, without the top budget, without a floor; each with its own number of rows."""
    found = of_surface(runs_of_surface(SIZES, DATA, noise=0.001, random_seed=2))
    assert list(found) == ["as fitted", "least squares", "without the top budget", "without a floor"]
    assert found["without the top budget"].rows < found["as fitted"].rows == found["least squares"].rows == 36
    assert found["without a floor"].values["E"] < 1e-6
    assert found["least squares"].values["alpha"] == pytest.approx(TRUTHS["surface"]["alpha"], rel=0.05)


def test_losses_are_those_of_the_best_split_at_the_top_and_ten_times_beyond() -> None:
    """In closed form from the true surface, for every variant that describes it."""
    found = of_surface(runs_of_surface(SIZES, DATA))
    truth, top = TRUTHS["surface"], 6 * 1e9 * 1e10
    for name in ("as fitted", "least squares", "without the top budget"):
        for budget, loss in ((top, found[name].loss_at_top), (10 * top, found[name].loss_at_ten_times)):
            n = best_size(truth, budget)
            assert loss == pytest.approx(float(FORMULAS["surface"](truth, {"params": n, "data": budget / 6 / n})))
        assert found[name].params_at_ten_times == pytest.approx(best_size(truth, 10 * top), rel=1e-5)


def test_a_line_is_tried_with_a_floor_and_a_floor_without_one() -> None:
    """The law of compute at the top and ten times beyond, with the form changed."""
    line = of_compute(POWER, "power_floor")
    assert line["with a floor"].law == "power_floor"
    assert line["with a floor"].values["E"] == pytest.approx(TRUTHS["power_floor"]["E"], rel=0.05)
    assert (line["with a floor"].loss_at_ten_times or 0) > (line["as fitted"].loss_at_ten_times or 9)
    assert "Huber, delta 0.001" in line
    floor = of_compute(POWER_FLOOR, "power_floor")
    truth = FORMULAS["power_floor"](TRUTHS["power_floor"], {"compute": np.array([1e7, 1e8])})
    assert (floor["as fitted"].loss_at_top, floor["as fitted"].loss_at_ten_times) == pytest.approx(truth, rel=0.01)
    straight = floor["without a floor"]
    assert straight.values["E"] < 1e-6 and straight.params_at_ten_times is None


def test_a_floor_that_was_pinned_is_freed() -> None:
    """Where the floor was known beforehand one variant leaves it to the rows."""
    found = of_surface(runs_of_surface(SIZES, DATA, noise=0.001), priors=(Prior(parameter="E", value=1.2),))
    assert found["as fitted"].values["E"] == pytest.approx(1.2)
    assert found["with a free floor"].values["E"] == pytest.approx(1.5, rel=0.05)


def test_without_a_common_price_there_is_no_budget_to_split() -> None:
    """Parameters are there, losses at a budget are not."""
    cells = cells_of(table(runs_of_surface(SIZES, DATA)))
    for price in (None, Price(log_k=math.log(6), is_one=False)):
        found = variants(SURFACE, cells, "flops", surface_rows_of, delta=1e-3, priors=(), price=price)
        assert all(v.loss_at_top is v.loss_at_ten_times is v.params_at_ten_times is None for v in found)
        assert all(set(v.values) == set(SURFACE.parameters) for v in found)

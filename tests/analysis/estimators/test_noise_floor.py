"""The noise floor: what repeats say of the scatter, and when cells are weighed by it."""

import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.estimators.noise_floor import PRIOR_SD, fit_log_sd, with_precisions
from analysis.tables.points import Point, PointSet


def test_slopes_of_the_noise_are_recovered() -> None:
    """Many repeats give the standard deviation and how it moves with size and data, within its errors."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (60, 2))
    sd = 0.02 * np.exp(-0.3 * x[:, 0] + 0.2 * x[:, 1])
    freedom = np.full(60, 9.0)
    theta, errors = fit_log_sd(x, sd**2 * rng.chisquare(9.0, 60), freedom)
    assert np.abs(theta - [np.log(0.02), -0.3, 0.2]).max() < 4 * errors.max()
    assert errors.max() < 0.06


def test_without_repeats_there_is_the_prior() -> None:
    """Nothing was run twice: half a per cent, the same everywhere."""
    theta, _ = fit_log_sd(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    assert theta == pytest.approx([np.log(PRIOR_SD), 0.0, 0.0])


def cells(slope: float, *, seeds: int) -> tuple:
    """Cells of four sizes and four lengths whose noise falls or rises with their data."""
    rng = np.random.default_rng(1)
    points = [
        Point(
            model=f"m{size}", loss=float(np.exp(0.5 - 0.1 * k + sd * rng.standard_normal())), params=1e4 * 2.0**size,
            tokens=1e5 * 2.0**k, epochs=2.0**k, flops=6e9 * 2.0 ** (size + k), peak_lr=0.1, seed=seed,
        )
        for size in range(4)
        for k in range(4)
        for sd in [0.02 * 2.0 ** (slope * k)]
        for seed in range(seeds)
    ]  # fmt: skip
    return cells_of(PointSet(points=tuple(points), set_aside=(), study="demo", source="test"))


def test_noisier_cells_count_less() -> None:
    """Where noise halves with every doubling of data, long runs count more, within limits."""
    found = with_precisions(cells(-1.0, seeds=6))
    short, long = (next(c for c in found if c.model == "m0" and c.epochs == e).precision for e in (1.0, 8.0))
    assert long > 1.0 > short
    assert all(0.25 <= cell.precision <= 4.0 for cell in found)


@pytest.mark.parametrize("seeds", [1, 2, 6])
def test_chance_weighs_nothing(seeds: int) -> None:
    """Where no trend is resolved, or nothing was repeated, every cell counts the same."""
    assert {cell.precision for cell in with_precisions(cells(0.0, seeds=seeds))} == {1.0}

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from analysis.estimators.best_rate import Cell, cells_of
from analysis.estimators.rate_law import fit_rate_law
from analysis.tables.points import Point
from tests.analysis.synthetic import table

COEFFICIENT, P, Q = 1.8, -0.7, 0.3
"""arXiv:2503.04715: the best rate falls with size and rises with data."""
GRID = [(n, d) for n in (1e7, 5e7, 3e8) for d in (1e9, 1e10, 5e10)]


def cells(
    where: Iterable[tuple[float, float]], *, noise: float = 0.0, steps: Iterable[float] = (-1.0, 0.0, 1.0)
) -> tuple[Cell, ...]:
    """Cells whose loss is a parabola in log2 of the rate about COEFFICIENT N^P D^Q, tried at octaves about it."""
    rng = np.random.default_rng(0)
    found: list[Point] = []
    for (n, d), step in itertools.product(where, steps):
        best = COEFFICIENT * n**P * d**Q * 2 ** (noise * np.random.default_rng(int(d % 9973 + n % 997)).normal())
        rate = float(best * 2 ** (step + 0.2))
        loss = 3.0 + 0.1 * (step + 0.2) ** 2
        found.append(Point(model=f"n{n:g}", loss=loss, flops=6 * n * d, params=n, tokens=d, peak_lr=rate))
    order = rng.permutation(len(found))
    # Rows of one cell must agree in all but the rate: a table's rows are told apart by cost.
    return cells_of(table(found[i] for i in order))


def test_a_known_law_is_recovered() -> None:
    """Vertices on a power law give its coefficient and exponents, and the rate of another size."""
    found = fit_rate_law(cells(GRID))
    assert found is not None
    assert found.exponent_params == pytest.approx(P, abs=1e-9)
    assert found.exponent_data == pytest.approx(Q, abs=1e-9)
    assert found.coefficient == pytest.approx(COEFFICIENT, rel=1e-6)
    assert found.peak_lr(1e9, 2e10) == pytest.approx(COEFFICIENT * 1e9**P * 2e10**Q, rel=1e-6)
    assert found.cells == 9 and found.censored == 0
    assert found.scatter_octaves == pytest.approx(0.0, abs=1e-6)


def test_intervals_are_those_of_ordinary_least_squares() -> None:
    """With scatter, exponents and intervals are the textbook's, at Student's t of cells less three."""
    from scipy import stats

    some = cells(GRID, noise=0.3)
    found = fit_rate_law(some, level=0.8)
    assert found is not None
    design = np.array([[1.0, np.log(c.params or 0), np.log(c.tokens or 0)] for c in some])
    y = np.log([c.parabola_peak_lr or 0 for c in some])
    theta, squares, *_ = np.linalg.lstsq(design, y, rcond=None)
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * squares[0] / 6)
    half = stats.t.ppf(0.9, 6) * error
    assert (found.exponent_params, found.exponent_data) == pytest.approx(theta[1:], rel=1e-6)
    assert found.exponent_params_interval == pytest.approx((theta[1] - half[1], theta[1] + half[1]), rel=1e-4)
    assert found.exponent_data_interval == pytest.approx((theta[2] - half[2], theta[2] + half[2]), rel=1e-4)
    assert found.scatter_octaves == pytest.approx(np.sqrt(squares[0] / 6) / np.log(2), rel=1e-6)


def test_censored_cells_are_left_out_and_counted() -> None:
    """A best rate on the edge of those tried says only on which side the true one lies."""
    edge = cells([(2e9, 1e9), (2e9, 1e10)], steps=(0.0, 1.0))
    found = fit_rate_law([*cells(GRID), *edge])
    assert found is not None
    assert (found.cells, found.censored) == (9, 2)
    assert found.exponent_params == pytest.approx(P, abs=1e-9)


@pytest.mark.parametrize(
    "where",
    [
        GRID[:5],
        [(n, 20 * n) for n in np.geomspace(1e7, 1e9, 9)],
        [(1e8, d) for d in np.geomspace(1e9, 1e11, 9)],
        [],
    ],
    ids=["five_cells", "in_step", "one_size", "nothing"],
)
def test_cells_that_do_not_tell_size_from_data_have_no_law(where: list[tuple[float, float]]) -> None:
    """Few cells, one size, or data in step with size."""
    assert fit_rate_law(cells(where)) is None


def test_cells_without_a_rate_have_no_law() -> None:
    """Where no rate is known there is nothing to say."""
    points = [Point(model="a", loss=2.0, flops=1.0 + i, params=1e6, tokens=1e7) for i in range(9)]
    assert fit_rate_law(cells_of(table(points))) is None


def test_a_tainted_cell_moves_the_law_less() -> None:
    """The rates of one cell are eight times too high: the exponent is nearer to the truth when they are tainted."""

    def off(taint: str | None) -> float:
        right = [point for cell in cells(GRID) for point in points_of(cell)]
        wrong = [
            replace(p, peak_lr=8 * (p.peak_lr or 0.0), taint=taint) if (p.params, p.tokens) == GRID[-1] else p
            for p in right
        ]
        found = fit_rate_law(cells_of(table(wrong)))
        assert found is not None
        return abs(found.exponent_params - P)

    assert 0 < off("wrong") < 0.7 * off(None)


def points_of(cell: Cell) -> list[Point]:
    """The runs of a cell, one at each rate."""
    return [
        Point(
            model=cell.model, loss=rate.loss, flops=cell.flops, params=cell.params, tokens=cell.tokens,
            peak_lr=rate.peak_lr,
        )
        for rate in cell.tried
    ]  # fmt: skip

import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.estimators.rows import Rows, compute_rows, surface_rows
from analysis.laws import POWER, SURFACE
from analysis.trust.identifiability import Identifiability, identifiability
from tests.analysis.synthetic import runs_at, runs_of_surface, sample, table


def of_surface(rows: Rows) -> Identifiability:
    """The design check of a surface."""
    return identifiability(SURFACE, rows, rows.fit(SURFACE, delta=None), delta=None)


def rows_of(points) -> Rows:  # type: ignore[no-untyped-def]
    """The rows of a surface through points."""
    return surface_rows(cells_of(table(points)), "flops", SURFACE)


def test_spans_are_in_decades() -> None:
    """Three decades of size by three of data are six of compute and six of D/N."""
    found = of_surface(rows_of(runs_of_surface(np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6), noise=0.01)))
    assert found.params_decades == pytest.approx(3.0)
    assert found.data_decades == pytest.approx(3.0)
    assert found.compute_decades == pytest.approx(6.0)
    assert found.data_per_param_decades == pytest.approx(6.0)


def test_a_ladder_along_one_ratio_is_flagged() -> None:
    """With D/N nearly fixed, A and B are hardly told apart: their correlation is nearly one, the condition large."""
    grid = of_surface(rows_of(runs_of_surface(np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6), noise=0.001)))
    ladder = of_surface(
        rows_of(runs_at([(n, 20 * n * f) for n in np.geomspace(1e6, 1e9, 12) for f in (0.9, 1.0, 1.1)], noise=0.001))
    )
    assert ladder.data_per_param_decades == pytest.approx(np.log10(1.1 / 0.9), rel=1e-6)
    assert ladder.most_correlated is not None and grid.most_correlated is not None
    assert set(ladder.most_correlated[:2]) == {"A", "B"}
    assert abs(ladder.most_correlated[2]) > 0.99 > abs(grid.most_correlated[2])
    assert ladder.condition > 100 * grid.condition


def test_a_line_has_no_correlation_about_its_centre() -> None:
    """Slope and height at the centre of least squares are independent: condition one."""
    rows = sample("power", noise=0.01)
    line = compute_rows(rows.log_values["compute"], rows.log_loss)
    found = identifiability(POWER, line, line.fit(POWER, delta=None), delta=None)
    assert found.condition == pytest.approx(1.0, abs=1e-6)
    assert found.most_correlated is not None and set(found.most_correlated[:2]) == {"a", "b"}
    assert found.most_correlated[2] == pytest.approx(0.0, abs=1e-6)
    assert found.params_decades is found.data_decades is found.data_per_param_decades is None


def test_the_condition_is_that_of_the_correlation_matrix() -> None:
    """For two parameters with correlation r it is (1 + r) / (1 - r); here from a numerical Jacobian."""
    rows = rows_of(runs_of_surface(np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6), noise=0.01))
    best = rows.fit(SURFACE, delta=None)
    design = rows.design(SURFACE, delta=None)
    theta = design.inward(best.parameters)[0]
    step = 1e-6 * np.eye(5)
    up, down = (design.residuals(theta + sign * step, rows.log_loss) for sign in (1, -1))
    slopes = (up - down) / 2e-6
    inverse = np.linalg.inv(slopes @ slopes.T)
    sd = np.sqrt(np.diag(inverse))
    correlation = inverse / np.outer(sd, sd)
    eigenvalues = np.linalg.eigvalsh(correlation)
    found = identifiability(SURFACE, rows, best, delta=None)
    assert found.condition == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-3)
    off = correlation - np.eye(5)
    assert found.most_correlated is not None
    assert abs(found.most_correlated[2]) == pytest.approx(np.abs(off).max(), rel=1e-4)
    i, j = (SURFACE.parameters.index(name) for name in found.most_correlated[:2])
    assert abs(correlation[i, j]) == pytest.approx(np.abs(off).max(), rel=1e-6)

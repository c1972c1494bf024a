from dataclasses import replace

import numpy as np
import pytest

from analysis.laws import LAWS
from analysis.solver.design import Design, Pull
from analysis.solver.seeds import seeds, solve
from tests.analysis.synthetic import DAMAGES, TRUTHS, sample


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("law", LAWS)
def test_the_best_start_explains_most_of_the_rows(law: str, damage: str) -> None:
    """Of at most eight starts the first is the best one, and leaves less than a tenth of the variance."""
    rows = DAMAGES[damage](law)
    design = Design.of(LAWS[law], rows.log_values, delta=1e-3)
    starts = seeds(design, rows.log_loss)
    assert 1 <= len(starts) <= 8
    assert np.isfinite(starts).all()
    costs = design.cost(starts, rows.log_loss, np.ones_like(rows.log_loss))
    assert (np.diff(costs) >= 0).all()
    left = np.median(np.abs(design.residuals(starts[:1], rows.log_loss)))
    assert left < 0.1 * rows.log_loss.std()


@pytest.mark.parametrize("law", ["power_floor", "surface", "over_training"])
def test_coefficients_of_a_start_are_those_of_linear_least_squares(law: str) -> None:
    """With the exponents of a start the terms are columns, and numpy finds the same coefficients of relative error."""
    rows = sample(law, noise=0.003, random_seed=3)
    design = Design.of(LAWS[law], rows.log_values, delta=None)
    start = seeds(design, rows.log_loss)[:1]
    values = {name: float(value[0]) for name, value in design.outward(start).items()}
    names = LAWS[law].coefficients
    columns = np.stack(
        [
            np.exp(LAWS[law].log_loss(values | dict.fromkeys(names, 0.0) | {name: 1.0}, rows.log_values))
            for name in names
        ],
        axis=1,
    )
    loss = np.exp(rows.log_loss)
    found = np.linalg.lstsq(columns / loss[:, None], np.ones(48), rcond=None)[0]
    assert [values[name] for name in names] == pytest.approx(list(found), rel=1e-6)


@pytest.mark.parametrize("index", range(5))
def test_a_pinned_parameter_is_pinned_in_every_start(index: int) -> None:
    """Starts differ in the other parameters only."""
    rows = sample("surface", noise=0.01)
    design = Design.of(LAWS["surface"], rows.log_values, delta=None)
    truth = design.inward({name: np.array([value]) for name, value in TRUTHS["surface"].items()})[0]
    pull = Pull(index=index, towards=truth[index] + 0.1, strength=np.inf)
    starts = seeds(replace(design, pulls=(pull,)), rows.log_loss)
    assert starts[:, index] == pytest.approx(np.full(len(starts), pull.towards), rel=1e-9)


def test_starts_of_many_rows_come_from_a_spread_of_them() -> None:
    """Ten thousand rows begin where a few hundred of them do, whatever their order."""
    rng = np.random.default_rng(0)
    x = rng.uniform(5.0, 14.0, 10_000)
    y = np.log(1.2 + 6.0 * np.exp(-0.2 * x)) + 0.001 * rng.normal(size=len(x))
    design = Design.of(LAWS["power_floor"], {"compute": x}, delta=1e-3)
    starts = seeds(design, y)
    assert design.outward(starts[:1])["b"][0] == pytest.approx(0.2, rel=0.1)
    order = rng.permutation(len(x))
    again = seeds(Design.of(LAWS["power_floor"], {"compute": x[order]}, delta=1e-3), y[order])
    assert again == pytest.approx(starts, rel=1e-6)


def test_solve_is_numpys_and_takes_the_least_norm_where_there_is_none() -> None:
    """Regular systems have their solution; a singular one the shortest vector that comes nearest."""
    rng = np.random.default_rng(0)
    matrices, right = rng.normal(size=(4, 3, 3)), rng.normal(size=(4, 3))
    found = solve(matrices, right)
    for i in range(4):
        assert matrices[i] @ found[i] == pytest.approx(right[i])
    assert solve(np.array([[[1.0, 1.0], [1.0, 1.0]]]), np.array([[2.0, 2.0]]))[0] == pytest.approx([1.0, 1.0])

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from analysis.laws import LAWS
from analysis.solver.design import Design, Pull, huber
from tests.analysis.synthetic import TRUTHS, sample

PULLS = (Pull(index=0, towards=0.3, strength=2.5), Pull(index=1, towards=0.1, strength=0.4))


def at_random(law: str, delta: float | None, *, pulls: tuple[Pull, ...] = ()) -> tuple[Design, np.ndarray]:
    """A design, and three members scattered about the truth: log losses miss it by several hundredths."""
    rows = sample(law)
    design = replace(Design.of(LAWS[law], rows.log_values, delta=delta), pulls=pulls)
    truth = design.inward({name: np.array([value]) for name, value in TRUTHS[law].items()})
    return design, truth + 0.05 * np.random.default_rng(7).normal(size=(3, truth.shape[1]))


def targets(law: str) -> tuple[np.ndarray, np.ndarray]:
    """Noisy log losses and uneven weights of three members; no residual is within 1e-5 of where Huber bends."""
    rng = np.random.default_rng(11)
    return sample(law).log_loss + 0.03 * rng.normal(size=(3, 48)), rng.integers(0, 4, size=(3, 48)).astype(float)


def differences(function, theta: np.ndarray, step: float = 1e-5) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Central differences of a function of theta (R, p) by each parameter, stacked on the second axis."""
    moves = step * np.eye(theta.shape[1])
    return np.stack([(function(theta + move) - function(theta - move)) / (2 * step) for move in moves], axis=1)


@pytest.mark.parametrize("delta", [None, 0.02])
@pytest.mark.parametrize("law", LAWS)
def test_gradient_and_hessian_are_those_of_finite_differences(law: str, delta: float | None) -> None:
    """The gradient is the slope of the cost, the exact Hessian that of the gradient, pulls and weights included."""
    design, theta = at_random(law, delta, pulls=PULLS)
    y, weights = targets(law)
    if delta is not None:
        distance = np.abs(np.abs(design.residuals(theta, y)) - delta)
        weights = np.where(distance > 1e-3, weights, 0.0)
        assert (weights > 0).sum() > 60
    exact = design.derivatives(theta, y, weights, exact=True)
    by_cost = differences(lambda t: design.cost(t, y, weights), theta)
    by_gradient = differences(lambda t: design.derivatives(t, y, weights, exact=True).gradient, theta)
    assert exact.cost == pytest.approx(design.cost(theta, y, weights), rel=1e-12)
    assert exact.gradient == pytest.approx(by_cost, rel=1e-6, abs=1e-7 * np.abs(by_cost).max())
    assert exact.hessian == pytest.approx(by_gradient, rel=1e-6, abs=1e-7 * np.abs(by_gradient).max())


@pytest.mark.parametrize("delta", [None, 0.02])
@pytest.mark.parametrize("law", LAWS)
def test_the_reweighted_hessian_leads_downhill(law: str, delta: float | None) -> None:
    """The Gauss-Newton form has the same cost and gradient, and no negative eigenvalue."""
    design, theta = at_random(law, delta)
    y, weights = targets(law)
    exact, positive = (design.derivatives(theta, y, weights, exact=exact) for exact in (True, False))
    assert (positive.cost == exact.cost).all() and (positive.gradient == exact.gradient).all()
    least = np.linalg.eigvalsh(positive.hessian)[:, [0, -1]]
    assert (least[:, 0] >= -1e-12 * least[:, 1]).all()


@pytest.mark.parametrize("law", LAWS)
def test_slopes_are_those_of_the_residuals(law: str) -> None:
    """The derivative of the log prediction by every parameter agrees with finite differences."""
    design, theta = at_random(law, None)
    found = differences(lambda t: design.residuals(t, np.zeros(48)), theta)
    assert design.slopes(theta) == pytest.approx(found, abs=1e-8 * np.abs(found).max())


@pytest.mark.parametrize("law", LAWS)
def test_residuals_are_the_law_less_the_loss(law: str) -> None:
    """Inside and outside the solver a member predicts the same."""
    design, theta = at_random(law, None)
    rows = sample(law)
    outside = {name: values[:, None] for name, values in design.outward(theta).items()}
    predicted = LAWS[law].log_loss(outside, rows.log_values)
    assert design.residuals(theta, rows.log_loss) == pytest.approx(predicted - rows.log_loss, abs=1e-12)


@given(data=st.data())
@pytest.mark.parametrize("law", LAWS)
def test_inward_and_outward_are_inverses(law: str, data: st.DataObject) -> None:
    """Any theta within reason comes back from the parameters that people read."""
    design, _ = at_random(law, None)
    names = LAWS[law].parameters
    theta = np.array([[data.draw(st.floats(-3.0, 3.0), label=name) for name in names]])
    there = design.outward(theta)
    assert list(there) == list(names)
    assert design.inward(there) == pytest.approx(theta, abs=1e-11)
    again = design.outward(design.inward(there))
    for name in names:
        assert again[name] == pytest.approx(there[name], rel=1e-10)


def test_the_centre_takes_coefficients_to_the_middle_of_the_rows() -> None:
    """Theta's first entries are the logs of the terms at the mean of the log variables."""
    design, _ = at_random("surface", None)
    truth, x = TRUTHS["surface"], sample("surface").log_values
    theta = design.inward({name: np.array([value]) for name, value in truth.items()})[0]
    n, d = (np.exp(x[name].mean()) for name in ("params", "data"))
    terms = [truth["E"], truth["A"] * n ** -truth["alpha"], truth["B"] * d ** -truth["beta"]]
    assert np.exp(theta[:3]) == pytest.approx(terms)


@pytest.mark.parametrize("law", LAWS)
def test_coefficients_as_written_are_not_taken_at_the_centre(law: str) -> None:
    """Theta then holds the log of the coefficient itself, and predictions are the same."""
    rows, names = sample(law, noise=0.01), LAWS[law].parameters
    truth = {name: np.array([value]) for name, value in TRUTHS[law].items()}
    centred = Design.of(LAWS[law], rows.log_values, delta=None)
    for name in LAWS[law].coefficients:
        written = Design.of(LAWS[law], rows.log_values, delta=None, as_written={name})
        theta = written.inward(truth)
        assert theta[0, names.index(name)] == pytest.approx(np.log(TRUTHS[law][name]))
        assert written.outward(theta)[name] == pytest.approx(truth[name])
        assert written.residuals(theta, rows.log_loss) == pytest.approx(
            centred.residuals(centred.inward(truth), rows.log_loss), abs=1e-12
        )


def test_only_infinite_pulls_pin() -> None:
    """A pinned parameter is told apart from one that is merely pulled, and costs nothing by itself."""
    pulls = (Pull(index=1, towards=9.0, strength=np.inf), Pull(index=3, towards=1.0, strength=2.0))
    design, theta = at_random("surface", None, pulls=pulls)
    plain, _ = at_random("surface", None)
    assert design.pinned.tolist() == [False, True, False, False, False]
    y, weights = targets("surface")
    pulled = design.cost(theta, y, weights) - plain.cost(theta, y, weights)
    assert pulled == pytest.approx(0.5 * 2.0 * (theta[:, 3] - 1.0) ** 2)


@given(st.floats(-10.0, 10.0), st.floats(1e-6, 5.0))
def test_huber_is_scipys(residual: float, delta: float) -> None:
    """Half the square near zero and a line beyond delta; half the square everywhere without a delta."""
    value = np.array([residual])
    assert huber(value, delta)[0] == pytest.approx(float(special.huber(delta, residual)), rel=1e-12)
    assert huber(value, None)[0] == pytest.approx(residual**2 / 2)

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.fitting import fit_law, fit_many
from analysis.laws import LAWS
from analysis.solver.design import Design, Pull
from analysis.solver.linearised import covariance, draws_about, score_moments
from tests.analysis.synthetic import sample

ONES = np.ones(48)
NOISE = 0.004


def fitted(law: str, delta: float | None) -> tuple[Design, np.ndarray, np.ndarray]:
    """A design, theta at the minimum and the noisy log losses it belongs to."""
    rows = sample(law, noise=NOISE, random_seed=2)
    design = Design.of(LAWS[law], rows.log_values, delta=delta)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=delta)
    return design, design.inward(fit.parameters)[0], rows.log_loss


def test_a_straight_line_has_the_textbook_covariance() -> None:
    """Standard errors of slope and intercept at the centre are those of ordinary least squares."""
    design, theta, y = fitted("power", None)
    x = design.log_values["compute"]
    found = covariance(design, theta, y, ONES)
    line = stats.linregress(x - x.mean(), y)
    assert np.sqrt(np.diag(found)) == pytest.approx([line.intercept_stderr, line.stderr], rel=1e-9)
    assert found[0, 1] == pytest.approx(0.0, abs=1e-12)


def test_integer_weights_are_repeated_rows() -> None:
    """A row that counts twice is worth two rows."""
    design, theta, y = fitted("surface", None)
    weights = np.random.default_rng(0).integers(1, 4, 48)
    repeated = Design.of(
        LAWS["surface"], {name: np.repeat(x, weights) for name, x in design.log_values.items()}, delta=None
    )
    # The centre of the repeated rows is another one: take theta there.
    there = repeated.inward(design.outward(theta[None]))[0]
    one = covariance(design, theta, y, weights.astype(float))
    other = covariance(repeated, there, np.repeat(y, weights), np.ones(weights.sum()))
    exponents = np.s_[3:, 3:]
    assert one[exponents] == pytest.approx(other[exponents], rel=1e-6)


@pytest.mark.parametrize("delta", [None, 0.02, 1e-3])
@pytest.mark.parametrize("law", ["power", "power_floor", "surface", "over_training"])
def test_errors_are_the_scatter_of_simulated_fits(law: str, delta: float | None) -> None:
    """Over 600 samples of the same law the mean linearised error of every parameter is its scatter, to 15 %.

    A delta far below the noise leaves a few rows within it: their smoothed share is low by 7 % for a normal.
    """
    rows = sample(law)
    design = Design.of(LAWS[law], rows.log_values, delta=delta)
    truth = {name: np.array([value]) for name, value in rows.truth.items()}
    start = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=delta)
    y = rows.log_loss + NOISE * np.random.default_rng(8).normal(size=(600, 48))
    fits = fit_many(LAWS[law], rows.log_values, y, ONES[None], start=start, delta=delta)
    theta = design.inward(fits.parameters)
    assert theta.mean(axis=0) == pytest.approx(design.inward(truth)[0], abs=0.2 * theta.std(axis=0).max())
    expected = np.sqrt(np.mean([np.diag(covariance(design, theta[i], y[i], ONES)) for i in range(100)], axis=0))
    assert expected == pytest.approx(theta.std(axis=0), rel=0.2 if delta == 1e-3 else 0.15)


def test_pinned_parameters_have_no_error_and_pulls_make_it_smaller() -> None:
    """A pinned floor has zero variance and narrows the others; a strong pull leaves its own width."""
    design, theta, y = fitted("surface", None)
    plain = covariance(design, theta, y, ONES)
    floor = Pull(index=0, towards=0.0, strength=np.inf)
    pinned = covariance(replace(design, pulls=(floor,)), theta, y, ONES)
    assert (pinned[0] == 0).all() and (pinned[:, 0] == 0).all()
    assert (np.diag(pinned)[1:] < np.diag(plain)[1:]).all()
    squares = score_moments(design.residuals(theta[None], y)[0], ONES, None, parameters=5)[0]
    sd = 0.01 * np.sqrt(plain[0, 0])
    pulled = replace(design, pulls=(Pull(index=0, towards=0.0, strength=squares / sd**2),))
    assert np.sqrt(covariance(pulled, theta, y, ONES)[0, 0]) == pytest.approx(sd, rel=1e-3)


@pytest.mark.parametrize("delta", [0.05, 0.01, 1e-3])
def test_score_moments_are_those_of_a_normal(delta: float) -> None:
    """Over many normal residuals mean psi^2 and the share within delta are the integrals of the density."""
    sd = 0.01
    residual = sd * np.random.default_rng(0).normal(size=200_000)
    squares, inside = score_moments(residual, np.ones(len(residual)), delta, parameters=0)
    z = delta / sd
    normal = stats.norm
    second = sd**2 * (1 - 2 * normal.sf(z) - 2 * z * normal.pdf(z)) + delta**2 * 2 * normal.sf(z)
    assert squares == pytest.approx(second, rel=0.01)
    # The share is smoothed over the central half of the residuals, where a normal's density falls by a tenth at most.
    assert inside == pytest.approx(1 - 2 * normal.sf(z), rel=0.1)


def test_draws_have_the_covariance_they_were_drawn_from() -> None:
    """Ten thousand draws about theta scatter as the covariance says, in the units people read."""
    design, theta, y = fitted("surface", None)
    spread = covariance(design, theta, y, ONES)
    drawn = draws_about(design, theta, spread, 10_000, np.random.default_rng(0))
    assert set(drawn) == set(LAWS["surface"].parameters)
    inward = design.inward(drawn)
    assert np.cov(inward.T) == pytest.approx(spread, rel=0.1, abs=0.03 * np.diag(spread).max())
    assert np.median(inward, axis=0) == pytest.approx(theta, abs=0.05 * np.sqrt(np.diag(spread)).max())

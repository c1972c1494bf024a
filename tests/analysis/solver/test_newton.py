from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.laws import LAWS
from analysis.solver import newton
from analysis.solver.design import Design, Pull
from analysis.solver.newton import minimise
from analysis.solver.seeds import seeds
from tests.analysis.synthetic import Sample, sample

ONES = np.ones((1, 48))


def noisy(law: str) -> tuple[Design, Sample]:
    """Noisy rows of a law and their design, by least squares."""
    rows = sample(law, noise=0.003, random_seed=3)
    return Design.of(LAWS[law], rows.log_values, delta=None), rows


@pytest.mark.parametrize("law", LAWS)
def test_the_end_is_a_minimum(law: str) -> None:
    """There the slope is zero to rounding, measured in standard errors, and the Hessian has no negative eigenvalue."""
    design, rows = noisy(law)
    ended = minimise(design, seeds(design, rows.log_loss), rows.log_loss[None], ONES)
    best = [int(np.argmin(ended.cost))]
    at = design.derivatives(ended.theta[best], rows.log_loss[None], ONES, exact=True)
    assert ended.converged[best].all()
    assert at.cost == pytest.approx(ended.cost[best])
    scale = np.sqrt(np.diag(at.hessian[0]))
    # A step of one standard error changes the cost by its scatter, cost / 48: slopes count against that.
    assert np.abs(at.gradient[0] / scale).max() < 1e-5 * np.sqrt(at.cost[0] / 48)
    assert np.linalg.eigvalsh(at.hessian[0] / np.outer(scale, scale)).min() > 0


@settings(max_examples=40)
@given(st.lists(st.floats(-1.5, 1.5), min_size=5, max_size=5))
def test_no_start_ends_higher_than_it_began(away: list[float]) -> None:
    """From anywhere near the rows the cost falls or stays, and what counts as converged has no slope left."""
    design, rows = noisy("surface")
    start = seeds(design, rows.log_loss)[:1] + np.array([away])
    ended = minimise(design, start, rows.log_loss[None], ONES)
    assert ended.cost[0] <= design.cost(start, rows.log_loss[None], ONES)[0] * (1 + 1e-12)
    assert ended.cost == pytest.approx(design.cost(ended.theta, rows.log_loss[None], ONES))


@pytest.mark.parametrize("law", ["power_floor", "surface", "repeated"])
def test_members_do_not_touch_each_other(law: str) -> None:
    """A batch of losses and weights ends where each member ends by itself."""
    design, rows = noisy(law)
    rng = np.random.default_rng(5)
    y = rows.log_loss + 0.003 * rng.normal(size=(6, 48))
    weights = rng.integers(1, 4, size=(6, 48)).astype(float)
    start = np.repeat(seeds(design, rows.log_loss)[:1], 6, axis=0)
    together = minimise(design, start, y, weights)
    for i in range(6):
        alone = minimise(design, start[i : i + 1], y[i : i + 1], weights[i : i + 1])
        assert together.cost[i] == pytest.approx(alone.cost[0], rel=1e-10)
        assert together.theta[i] == pytest.approx(alone.theta[0], rel=1e-5, abs=1e-7)


def test_more_members_than_fit_a_core_are_fitted_in_parts() -> None:
    """Two thousand members of 48 rows, more than are taken at once, all end at their minimum."""
    design, rows = noisy("power_floor")
    y = rows.log_loss + 0.003 * np.random.default_rng(5).normal(size=(2000, 48))
    assert y.size > newton._ELEMENTS_AT_ONCE
    ended = minimise(design, np.repeat(seeds(design, rows.log_loss)[:1], 2000, axis=0), y, ONES)
    assert ended.theta.shape == (2000, 3) and ended.converged.all()
    last = minimise(design, seeds(design, rows.log_loss)[:1], y[-1:], ONES)
    assert ended.cost[-1] == pytest.approx(last.cost[0], rel=1e-10)


def test_no_members_end_nowhere() -> None:
    """An empty batch is an empty answer."""
    design, rows = noisy("surface")
    ended = minimise(design, np.zeros((0, 5)), rows.log_loss[None], ONES)
    assert ended.theta.shape == (0, 5) and len(ended.cost) == len(ended.converged) == 0


def test_a_member_without_a_usable_loss_is_not_converged_and_harms_no_other() -> None:
    """A loss that is no number leaves its own member without an answer, and the next one with its own."""
    design, rows = noisy("power_floor")
    y = np.stack([rows.log_loss, rows.log_loss])
    y[0, 3] = np.nan
    start = np.repeat(seeds(design, rows.log_loss)[:1], 2, axis=0)
    ended = minimise(design, start, y, ONES)
    assert ended.converged.tolist() == [False, True]
    assert ended.cost[1] == pytest.approx(minimise(design, start[:1], y[1:], ONES).cost[0])


@pytest.mark.parametrize("most_steps", [1, 3])
def test_too_few_steps_are_said(most_steps: int) -> None:
    """A member that was still moving when the steps ended is not converged."""
    design, rows = noisy("surface")
    start = seeds(design, rows.log_loss)[:1] + 0.5
    assert not minimise(design, start, rows.log_loss[None], ONES, most_steps=most_steps).converged.any()


@pytest.mark.parametrize("noise", [0.0, 1e-5])
def test_a_floor_that_is_not_there_goes_to_nothing(noise: float) -> None:
    """Rows of a straight line fitted with a floor end at the line, with a floor below a thousandth of the losses."""
    rows = sample("power", noise=noise, random_seed=1)
    design = Design.of(LAWS["power_floor"], rows.log_values, delta=None)
    ended = minimise(design, seeds(design, rows.log_loss), rows.log_loss[None], ONES)
    best = int(np.argmin(ended.cost))
    found = design.outward(ended.theta[[best]])
    assert ended.converged[best]
    assert found["b"][0] == pytest.approx(rows.truth["b"], rel=1e-3)
    assert found["E"][0] < 2e-3


@pytest.mark.parametrize("index", range(5))
def test_a_pinned_entry_does_not_move(index: int) -> None:
    """It is set to its value before the first step and is the same number at the end; the others still converge."""
    design, rows = noisy("surface")
    start = seeds(design, rows.log_loss)[:1]
    pull = Pull(index=index, towards=start[0, index] + 0.05, strength=np.inf)
    held = replace(design, pulls=(pull,))
    ended = minimise(held, start, rows.log_loss[None], ONES)
    assert ended.theta[0, index] == start[0, index] + 0.05
    at = held.derivatives(ended.theta, rows.log_loss[None], ONES, exact=True)
    others = np.arange(5) != index
    scale = np.sqrt(np.diag(at.hessian[0]))
    assert ended.converged.all()
    assert np.abs(at.gradient[0] / scale)[others].max() < 1e-5 * np.sqrt(at.cost[0] / 48)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.estimators.smooth_valley import Smoother, Valley, choose_smoother, curve_of, minimum_of

X = np.linspace(13.0, 19.0, 11)


def valley(log_loss: np.ndarray, x: np.ndarray = X) -> Valley:
    """A valley over the sizes X."""
    return Valley(log_params=x, log_loss=log_loss, weights=np.ones(len(x)))


def parabola(at: float, bend: float = 0.02, x: np.ndarray = X) -> np.ndarray:
    """A parabola with its least at `at`."""
    return 1.0 + bend * (x - at) ** 2


def least(of: Valley, smoother: Smoother, draws: int = 1) -> float:
    """The log size at the curve's minimum."""
    found = minimum_of(of, smoother, draws, np.random.default_rng(0))
    assert found is not None
    return found[0]


@given(st.floats(14.0, 18.0), st.floats(0.005, 0.1), st.sampled_from([None, 1e4, 1.0, 1e-6]))
def test_the_minimum_of_a_parabola_is_exact_at_any_stiffness(at: float, bend: float, stiffness: float | None) -> None:
    """The third derivative of a parabola is zero, so no stiffness moves it."""
    smoother = Smoother(stiffness=stiffness, noise_sd=0.0)
    assert least(valley(parabola(at, bend)), smoother) == pytest.approx(at, abs=1e-4)


def test_the_stiffest_curve_is_the_least_squares_parabola() -> None:
    """With infinite stiffness the curve is numpy's fit of degree two."""
    y = parabola(16.2) + 0.01 * np.random.default_rng(0).normal(size=11)
    at = np.linspace(13.0, 19.0, 50)
    curve = curve_of(valley(y), Smoother(stiffness=None, noise_sd=0.01), at)
    assert curve == pytest.approx(np.polyval(np.polyfit(X - 16, y, 2), at - 16), abs=1e-9)


def test_stiffness_goes_from_the_parabola_to_the_points() -> None:
    """A very stiff spline is nearly the parabola, a soft one runs through its points."""
    x = X / 6
    y = parabola(2.7, x=x) + 0.01 * np.random.default_rng(0).normal(size=11)
    at_points = {s: curve_of(valley(y, x), Smoother(stiffness=s, noise_sd=0.0), x) for s in (None, 1e4, 1e-7)}
    # Over a span of one, |r|^5 is at most one: 1e4 is very stiff.
    assert at_points[1e4] == pytest.approx(at_points[None], abs=1e-5)
    assert np.abs(at_points[1e-7] - y).max() < 0.1 * np.abs(at_points[None] - y).max()


def test_a_lopsided_valley_wants_a_soft_curve() -> None:
    """Where losses rise unevenly the chosen curve is no parabola, and its minimum is nearer to the true one."""

    def loss(x: np.ndarray) -> np.ndarray:
        return np.log(1.5 + 0.4 * np.exp(-0.6 * (x - 16)) + 0.8 * np.exp(0.3 * (x - 16)))

    # The slopes 0.6 x 0.4 and 0.3 x 0.8 cancel at 16.
    of = valley(loss(X))
    chosen, stiff = choose_smoother([of]), choose_smoother([of], only_parabola=True)
    assert chosen.stiffness is not None and stiff.stiffness is None
    assert abs(least(of, chosen) - 16.0) < 0.01
    assert abs(least(of, stiff) - 16.0) > 0.05


@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_the_noise_is_what_was_put_in(noise: float) -> None:
    """Over eight noisy parabolas the residual standard deviation is that of the noise, and the parabola is taken."""
    rng = np.random.default_rng(5)
    valleys = [valley(parabola(15 + 0.2 * i) + noise * rng.normal(size=11)) for i in range(8)]
    assert choose_smoother(valleys, only_parabola=True).noise_sd == pytest.approx(noise, rel=0.2)
    assert choose_smoother(valleys).noise_sd == pytest.approx(noise, rel=0.35)


def test_drawn_minima_scatter_as_minima_do() -> None:
    """The spread of the draws is that of the minima of parabolas through fresh noise, to 15 %."""
    rng = np.random.default_rng(1)
    noise = 0.003
    drawn = minimum_of(valley(parabola(16.0)), Smoother(stiffness=None, noise_sd=noise), 2000, rng)
    assert drawn is not None
    fresh = [np.polyfit(X - 16, parabola(16.0) + noise * rng.normal(size=11), 2) for _ in range(2000)]
    assert drawn[2].std() == pytest.approx(np.std([-b / (2 * a) for a, b, _ in fresh]), rel=0.15)


@pytest.mark.parametrize(("at", "inside"), [(16.0, True), (12.0, False), (20.0, False)])
def test_a_minimum_at_an_edge_is_none(at: float, inside: bool) -> None:
    """A curve that only falls or only rises has no minimum that was seen."""
    of = valley(parabola(at))
    assert of.has_interior_minimum == inside
    found = minimum_of(of, Smoother(stiffness=None, noise_sd=0.0), 1, np.random.default_rng(0))
    assert (found is not None) == inside


def test_a_curve_that_bends_down_has_no_minimum() -> None:
    """A dip of one point in losses that bulge upward leaves a parabola that opens downward: None."""
    y = -0.01 * (X - 16) ** 2
    y[5] = -0.3
    of = valley(y)
    assert of.has_interior_minimum
    assert minimum_of(of, Smoother(stiffness=None, noise_sd=0.0), 1, np.random.default_rng(0)) is None


def test_sizes_far_above_the_least_are_left_out() -> None:
    """Only sizes within twelve per cent of the least loss tell where it is, but never fewer than six, and no holes."""
    steep = valley(parabola(16.0, bend=0.5))
    near = steep.near_minimum()
    assert len(near.log_params) == 6
    assert near.log_params[0] <= 16.0 <= near.log_params[-1]
    flat = valley(parabola(16.0, bend=0.001))
    assert flat.near_minimum().log_params.tolist() == X.tolist()
    y = parabola(16.0, bend=0.001)
    y[1] = 5.0
    assert valley(y).near_minimum().log_params.tolist() == X[2:].tolist()


@given(st.lists(st.floats(0.5, 3.0), min_size=4, max_size=14))
def test_what_is_left_is_a_run_of_neighbours_with_the_best(losses: list[float]) -> None:
    """Any valley keeps its best size, six sizes where it has them, and leaves no gap."""
    x = np.arange(len(losses), dtype=float)
    near = valley(np.array(losses), x).near_minimum()
    assert near.log_loss.min() == min(losses)
    assert (np.diff(near.log_params) == 1).all()
    assert len(near.log_params) >= min(6, len(losses))


@pytest.mark.parametrize("stiffness", [None, 1.0, 1e-3])
def test_a_run_of_less_weight_pulls_less(stiffness: float | None) -> None:
    """One loss is far too low: at a quarter of the weight it moves the minimum less, at next to none not at all."""
    is_wrong = np.arange(len(X)) == 2
    wrong = parabola(16.2) - 0.05 * is_wrong
    valleys = (Valley(log_params=X, log_loss=wrong, weights=np.where(is_wrong, w, 1.0)) for w in (1.0, 0.25, 1e-9))
    moved = [abs(least(one, Smoother(stiffness=stiffness, noise_sd=0.0)) - 16.2) for one in valleys]
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] == pytest.approx(0.0, abs=1e-3)

import numpy as np
import pytest

from analysis.estimators.best_rate import Cell, cells_of
from analysis.estimators.downstream import Downstream, fit_downstream
from analysis.tables.points import Point
from tests.analysis.synthetic import table

TRUTH = {"epsilon": 0.8, "k": 2.0, "gamma": 0.7}


def cells(losses: np.ndarray, errors: np.ndarray) -> tuple[Cell, ...]:
    """Cells with a held-out loss and a downstream error each."""
    pairs = enumerate(zip(losses, errors, strict=True))
    return cells_of(
        table(Point(model=f"m{i}", loss=float(x), flops=float(i + 1), error=float(e)) for i, (x, e) in pairs)
    )


def error(loss: np.ndarray, *, epsilon: float, k: float, gamma: float) -> np.ndarray:
    """arXiv:2403.08540 eq. 5."""
    return epsilon - k * np.exp(-gamma * loss)


def fit(losses: np.ndarray, errors: np.ndarray, resamples: int = 0) -> Downstream | None:
    """The curve through cells."""
    return fit_downstream(cells(losses, errors), resamples=resamples, rng=np.random.default_rng(0))


@pytest.mark.parametrize("unit", [1.0, 100.0])
@pytest.mark.parametrize("gamma", [0.3, 0.7, 2.0])
def test_known_parameters_are_recovered(gamma: float, unit: float) -> None:
    """Errors on the curve give it back, in any unit, and predict the error of another loss."""
    losses = np.linspace(1.5, 4.0, 9)
    truth = TRUTH | {"gamma": gamma, "epsilon": 0.8 * unit, "k": 2.0 * unit}
    found = fit(losses, error(losses, **truth))
    assert found is not None
    assert found.gamma == pytest.approx(gamma, rel=1e-3)
    assert found.epsilon == pytest.approx(truth["epsilon"], rel=1e-3)
    assert found.k == pytest.approx(truth["k"], rel=1e-2)
    assert found.error_at(2.2) == pytest.approx(float(error(np.array(2.2), **truth)), rel=1e-4)
    assert found.cells == 9 and found.sampled_losses == (1.5, 4.0)
    assert found.gamma_interval is None


def test_the_interval_holds_gamma_and_the_scatter_is_the_noise() -> None:
    """Noisy errors give an interval with the truth in it."""
    losses = np.linspace(1.5, 4.5, 40)
    noise = 0.005
    found = fit(losses, error(losses, **TRUTH) + noise * np.random.default_rng(2).normal(size=40), resamples=400)
    assert found is not None and found.gamma_interval is not None
    assert found.gamma_interval[0] < TRUTH["gamma"] < found.gamma_interval[1]
    assert found.residual_sd == pytest.approx(noise, rel=0.3)


def test_cells_without_an_error_are_left_out() -> None:
    """Only what was evaluated downstream is behind the curve."""
    losses = np.linspace(1.5, 4.0, 9)
    known = cells(losses, error(losses, **TRUTH))
    more = cells_of(table([Point(model="x", loss=9.0, flops=99.0)]))
    found = fit_downstream([*known, *more], resamples=0, rng=np.random.default_rng(0))
    assert found is not None and found.cells == 9 and found.sampled_losses == (1.5, 4.0)


@pytest.mark.parametrize(
    ("losses", "errors"),
    [
        (np.linspace(1.5, 4.0, 4), np.linspace(0.2, 0.8, 4)),
        (np.full(9, 2.0), np.linspace(0.2, 0.8, 9)),
        (np.linspace(1.5, 4.0, 9), np.full(9, 0.5)),
        (np.linspace(1.5, 4.0, 9), np.linspace(0.8, 0.2, 9)),
    ],
    ids=["four_cells", "one_loss", "one_error", "error_rises_as_loss_falls"],
)
def test_what_cannot_tell_gives_none(losses: np.ndarray, errors: np.ndarray) -> None:
    """Few cells, nothing that varies, or errors that go the wrong way give no curve."""
    assert fit(losses, errors) is None


def test_a_tainted_cell_moves_the_curve_less() -> None:
    """One error is wrong: gamma is nearer to the truth when its run is tainted."""
    losses = np.linspace(1.5, 4.0, 9)
    errors = error(losses, **TRUTH) + 0.05 * (np.arange(9) == 4)

    def off(taint: str | None) -> float:
        rows = [
            Point(model=f"m{i}", loss=float(x), flops=float(i + 1), error=float(e), taint=taint if i == 4 else None)
            for i, (x, e) in enumerate(zip(losses, errors, strict=True))
        ]
        found = fit_downstream(cells_of(table(rows)), resamples=0, rng=np.random.default_rng(0))
        assert found is not None
        return abs(found.gamma - TRUTH["gamma"])

    assert 0 < off("wrong") < 0.7 * off(None)

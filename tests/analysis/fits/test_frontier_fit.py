import math

import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.estimators.frontier import log_losses
from analysis.estimators.frontier_rows import has_curves
from analysis.fits.frontier_fit import Frontier, fit_frontier
from analysis.fitting import Prior
from analysis.laws import LAWS, POWER, POWER_FLOOR
from analysis.options import FitOptions
from analysis.result import Fit
from analysis.tables.points import Point
from tests.analysis.synthetic import (
    COEFFICIENT,
    SLOPE,
    TRUTHS,
    cells_on,
    reference_points,
    study_points,
    study_records,
    table,
)


def of_study(**known: object) -> Frontier:
    """The frontier of a synthetic study."""
    return Frontier.of(cells_of(study_points(study_records(**known))), "core_hours", has_models=True)  # type: ignore[arg-type]


def fit(law: str, frontier: Frontier, resamples: int = 0, **asked: object) -> Fit:
    """A law of compute through a frontier."""
    rows = frontier.rows(resamples, np.random.default_rng(0))
    options = FitOptions(**({"resamples": resamples} | asked))  # type: ignore[arg-type]
    return fit_frontier(LAWS[law], frontier, rows, options)


@pytest.mark.parametrize("law", ["power", "power_floor", "saturating", "broken"])
def test_a_law_of_compute_is_recovered_from_its_cells(law: str) -> None:
    """Cells without models that fall from one to the next are all fitted, and give the law behind them."""
    frontier = Frontier.of(cells_on(law), "flops", has_models=False)
    found = fit(law, frontier)
    assert found.fitted_on == "every run"
    assert found.n_points == 25 and found.converged
    for name, value in TRUTHS[law].items():
        assert found.values[name] == pytest.approx(value, rel=1e-4), name
    assert found.residual_sd == pytest.approx(0.0, abs=1e-6)
    assert found.sampled == (pytest.approx(1e3), pytest.approx(1e7))
    assert found.slopes is None and found.r2_envelope is None


def test_models_with_curves_are_fitted_on_their_envelope() -> None:
    """The interpolated envelope is the law of the study; both halves have its slope."""
    found = fit("power", of_study(seeds=1))
    assert found.fitted_on == "interpolated envelope"
    assert found.values["b"] == pytest.approx(-SLOPE, abs=0.01)
    assert found.values["a"] == pytest.approx(COEFFICIENT, rel=0.1)
    assert found.r2_envelope is not None and found.r2_envelope > 0.98
    assert found.slopes is not None and found.slopes == pytest.approx((SLOPE, SLOPE), abs=0.02)
    assert found.in_flops is not None and found.in_flops[1] == pytest.approx(found.values["b"])


def test_seeds_are_resampled_where_there_are_seeds_and_cells_otherwise() -> None:
    """The method is said, and the interval of the slope holds it."""
    for seeds, method in ((3, "seeds"), (1, "cells")):
        found = fit("power", of_study(seeds=seeds, noise=0.01), resamples=200)
        b = found.parameters["b"]
        assert found.interval_method == found.stderr_method == method
        assert b.low is not None and b.high is not None
        assert b.low < b.value < b.high
        assert found.resamples == 200 and found.failed_resamples <= 10
    assert fit("power", of_study(seeds=1)).interval_method == "none"


def test_one_runs_scatter_is_never_less_than_the_noise_between_seeds() -> None:
    """An envelope of means is smoother than any run."""
    assert fit("power", of_study(seeds=3, noise=0.02)).residual_sd >= 0.015


def test_line_and_floor_are_each_others_rivals() -> None:
    """Whatever was fitted comes first, with the very draws; the other form has draws of its own."""
    for law, other in (("power", "power_floor"), ("power_floor", "power")):
        found = fit(law, of_study(seeds=3, noise=0.01), resamples=100)
        assert [rival.law.name for rival in found.rivals] == [law, other]
        assert found.rivals[0].values == found.values and found.rivals[0].draws == found.draws
        assert len(found.rivals[1].draws["b"]) > 90


def test_a_prior_holds_in_the_fit_and_in_every_resample() -> None:
    """A pinned floor is the same number throughout."""
    found = fit("power_floor", of_study(seeds=3, noise=0.01), resamples=100, priors=(Prior(parameter="E", value=0.5),))
    assert found.values["E"] == pytest.approx(0.5)
    assert found.draws["E"] == pytest.approx(np.full(len(found.draws["E"]), 0.5))


def test_plain_rows_are_what_is_fitted_and_what_is_measured() -> None:
    """Samples of the envelope, and the cells of the frontier that it should predict."""
    frontier = of_study(seeds=1)
    fitted, measured = frontier.plain_rows()
    assert fitted.count == int(frontier.lower.is_covered[0].sum())
    assert measured.count == len(frontier.measured)
    assert np.exp(measured.log_loss) == pytest.approx([cell.loss for cell in frontier.measured])
    bare = Frontier.of(cells_on("power_floor", noise=0.3), "flops", has_models=False)
    fitted, measured = bare.plain_rows()
    assert fitted.count == measured.count == len(bare.measured) < 25
    assert sorted(fitted.log_loss) == pytest.approx(sorted(measured.log_loss))


def test_curves_need_three_cells_a_model() -> None:
    """In the median; and models at all."""
    frontier = of_study(seeds=1)
    assert has_curves(frontier.curves, has_models=True)
    assert not has_curves(frontier.curves, has_models=False)
    few = of_study(seeds=1, epochs=(1.0, 2.0))
    assert not has_curves(few.curves, has_models=True)


def test_resampled_rows_are_on_their_own_frontier() -> None:
    """Each resample's rows with weight fall in loss as compute rises."""
    frontier = Frontier.of(cells_on("power_floor", noise=0.1), "flops", has_models=False)
    rows = frontier.rows(50, np.random.default_rng(0))
    assert rows.method == "cells" and rows.weights.shape == rows.drawn_loss.shape == (50, 25)
    for weights, losses in zip(rows.weights, rows.drawn_loss, strict=True):
        assert (np.diff(losses[weights > 0]) < 0).all()
    assert np.isfinite(rows.log_loss).sum() == len(frontier.measured)
    assert rows.measured_loss == pytest.approx(log_losses(frontier.measured))


def test_the_reference_bends() -> None:
    """The paper's points, read off Fig. 2: slope -0.046 in the cheap half and -0.036 in the dear one."""
    frontier = Frontier.of(cells_of(reference_points()), "core_hours", has_models=True)
    found = fit("power", frontier)
    assert -found.values["b"] == pytest.approx(-0.043, abs=0.001)
    assert found.slopes == pytest.approx((-0.046, -0.036), abs=0.0015)
    assert fit("power_floor", frontier).objective < found.objective


def test_losses_may_be_fitted_by_huber() -> None:
    """With a delta one bad cell moves the slope less than by least squares."""
    clean = cells_on("power")
    points = [
        Point(model="", flops=cell.flops, loss=cell.loss * (0.8 if i == 3 else 1.0)) for i, cell in enumerate(clean)
    ]
    frontier = Frontier.of(cells_of(table(points)), "flops", has_models=False)
    squares, robust = fit("power", frontier), fit("power", frontier, huber=1e-3)
    b = TRUTHS["power"]["b"]
    assert abs(robust.values["b"] - b) < 0.2 * abs(squares.values["b"] - b)
    assert squares.is_least_squares and not robust.is_least_squares
    assert math.isclose(robust.huber_delta, 1e-3)
    assert POWER.fits_frontier and POWER_FLOOR.fits_frontier

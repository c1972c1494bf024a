import dataclasses
import functools

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from analysis.options import FitOptions
from analysis.report.prediction_figure import prediction_figure
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.judged import JudgedPrediction
from sweeps.prediction import Prediction
from tests.analysis.synthetic import study_points, study_records


def judged(actual: float | None, *, predicted: float, model: str = "f0") -> JudgedPrediction:
    """Returns a prediction of +- 2 % with what was reached."""
    made = Prediction(
        model=model, epochs=1.0, batch_images=32, peak_lr=0.1, cohort="c0ffee00", predicted_loss=predicted,
        low=0.98 * predicted, high=1.02 * predicted, level=0.9, made_by="informed", runs=5, dearest_core_hours=1.0,
        core_hours=2.0, data_digest="0" * 16,
    )  # fmt: skip
    return JudgedPrediction(prediction=made, actual_loss=actual)


@functools.cache
def fit() -> ScalingFit:
    """The fit of a small study."""
    return fit_study(study_points(study_records(seeds=1)), FitOptions(resamples=100))


def with_judged(*found: JudgedPrediction) -> ScalingFit:
    """Returns that fit with such predictions."""
    return dataclasses.replace(fit(), points=dataclasses.replace(fit().points, judged=found))


@pytest.mark.parametrize("actual", [(), (2.0,), (2.0, None)])
def test_fewer_than_two_trained_are_no_figure(actual: tuple[float | None, ...]) -> None:
    """One point shows nothing."""
    assert prediction_figure(with_judged(*(judged(one, predicted=2.0) for one in actual))) is None


@pytest.mark.parametrize("count", [2, 40, 5_000])
def test_draws_every_trained_prediction(count: int) -> None:
    """Points of both kinds about the diagonal, all of them within the axes, and the title counts those within."""
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(1.0, 0.1, count))
    found = [judged(float(loss), predicted=float(loss * (1.01 if n % 2 else 1.05))) for n, loss in enumerate(truth)]
    figure = prediction_figure(with_judged(*found, judged(None, predicted=2.0)))
    assert figure is not None
    (axes,) = figure.axes
    dots = [one for one in axes.collections if isinstance(one, PathCollection)]
    drawn = np.concatenate([np.asarray(one.get_offsets()) for one in dots])
    assert len(drawn) <= count and (count > 40 or len(drawn) == count)
    low, high = axes.get_xlim()
    assert axes.get_ylim() == (low, high)
    assert (drawn > low).all() and (drawn < high).all()
    words = " ".join(text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text")))
    assert f"held {count // 2} of {count} runs" in words
    figure.canvas.draw()

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from analysis.estimators.best_rate import Cell, cells_of
from analysis.fitting import Prior
from analysis.laws import LAWS, POWER, POWER_FLOOR, SURFACE, Law
from analysis.trust.backtest import BackTest, FactorBin, Prediction, RowsOf, backtest, widening
from tests.analysis.synthetic import TRUTHS, cells_on, compute_rows_of, runs_of_surface, surface_rows_of, table

COMPUTE = np.geomspace(1e3, 1e7, 25)


def back_test_of(
    law: Law, some: Sequence[Cell], rows: RowsOf = compute_rows_of, delta: float | None = None
) -> BackTest:
    """The back-test of a law on cells, which must have one."""
    found = backtest(law, some, "flops", rows, delta=delta, priors=(), level=0.9)
    assert found is not None
    return found


@pytest.mark.parametrize("law", ["power", "power_floor", "saturating", "broken"])
def test_a_law_of_compute_that_holds_is_predicted_without_error(law: str) -> None:
    """On the law's own losses every prediction is right."""
    found = back_test_of(LAWS[law], cells_on(law))
    # A break that lies beyond a cut cannot be foreseen.
    right = [p for p in found.predictions if law != "broken" or p.log_compute - math.log(p.factor) > math.log(1e5)]
    assert right
    assert max(abs(p.error) for p in right) < 1e-5


@pytest.mark.parametrize("delta", [None, 1e-3])
def test_a_surface_that_holds_is_predicted_without_error(delta: float | None) -> None:
    """So it is for size and data, at every extrapolation factor; cuts stay below what they predict."""
    points = runs_of_surface(np.geomspace(1e6, 1e9, 7), np.geomspace(1e7, 1e10, 7))
    found = back_test_of(SURFACE, cells_of(table(points)), surface_rows_of, delta)
    assert found.rms_error < 1e-6
    assert len(found.bins) >= 4
    assert list(found.cuts) == sorted(found.cuts)
    assert all(p.factor > 1 for p in found.predictions)
    assert sum(b.predictions for b in found.bins) == len(found.predictions)


def test_every_cut_predicts_every_later_run() -> None:
    """Factors are computes over the dearest that was fitted, errors log predicted over measured."""
    some = cells_on("power_floor", noise=0.01)
    found = back_test_of(POWER_FLOOR, some)
    wanted = [(math.log(c), c / cut) for cut in found.cuts for c in COMPUTE if c > cut * 1.0001]
    assert [(p.log_compute, p.factor) for p in found.predictions] == [pytest.approx(pair) for pair in wanted]
    losses = {round(math.log(c.flops or 0), 6): math.log(c.loss) for c in some}
    for p in found.predictions:
        assert p.log_loss == pytest.approx(losses[round(p.log_compute, 6)])
        assert p.error == pytest.approx(p.log_predicted - p.log_loss)
    assert found.rms_error == pytest.approx(math.sqrt(np.mean([p.error**2 for p in found.predictions])))


def test_a_prediction_is_the_fit_below_its_cut() -> None:
    """NumPy's line through the cheaper cells predicts the same, with the interval of a new observation."""
    from scipy import stats

    some = cells_on("power", noise=0.02)
    found = back_test_of(POWER, some)
    cut = found.cuts[0]
    x, y = (np.log([value for c, value in ((c, f(c)) for c in some) if (c.flops or 0) <= cut * 1.0001]) for f in
            (lambda c: c.flops, lambda c: c.loss))  # fmt: skip
    line = stats.linregress(x, y)
    first = found.predictions[0]
    assert first.log_predicted == pytest.approx(line.intercept + line.slope * first.log_compute)
    variance = float(((y - line.intercept - line.slope * x) ** 2).sum()) / (len(x) - 2)
    lever = 1 + 1 / len(x) + (first.log_compute - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    assert first.half_width == pytest.approx(stats.t.ppf(0.95, len(x) - 2) * math.sqrt(variance * lever), rel=1e-5)


def test_intervals_cover_where_the_law_holds() -> None:
    """Over twenty noisy studies nine in ten measured losses lie in their intervals, whatever the factor."""
    held = [
        abs(p.error) <= p.half_width
        for i in range(20)
        for p in back_test_of(POWER, cells_on("power", noise=0.02, random_seed=i)).predictions
    ]
    assert 0.82 <= np.mean(held) <= 0.98


def test_a_law_without_a_floor_errs_the_more_the_farther_it_reaches() -> None:
    """A straight line through losses that flatten predicts too little, ever more so, and its intervals miss."""
    found = back_test_of(POWER, cells_on("power_floor", noise=0.001))
    assert [b.low for b in found.bins] == [1.0, 2.0, 5.0, 20.0, 100.0]
    errors = [b.mean_error for b in found.bins]
    assert all(farther < nearer < 0 for nearer, farther in itertools.pairwise(errors))
    assert all(farther.rms_error > nearer.rms_error for nearer, farther in itertools.pairwise(found.bins))
    assert found.bins[-1].coverage < 0.5
    assert widening(found, 50.0, 0.9) > widening(found, 3.0, 0.9) > 1.0


def test_a_known_floor_narrows_predictions() -> None:
    """With the floor pinned at its true value far predictions are surer, and right."""
    some = cells_on("power_floor", noise=0.005)
    floor = Prior(parameter="E", value=TRUTHS["power_floor"]["E"])
    free, known = (
        backtest(POWER_FLOOR, some, "flops", compute_rows_of, delta=None, priors=priors, level=0.9)
        for priors in ((), (floor,))
    )
    assert free is not None and known is not None
    far = [(a.half_width, b.half_width) for a, b in zip(free.predictions, known.predictions, strict=True)][20:]
    assert np.median([b / a for a, b in far]) < 0.8
    assert known.rms_error < free.rms_error


def test_too_little_has_no_back_test() -> None:
    """Five cells leave no cut with enough on both sides."""
    few = cells_on("power_floor")[:5]
    assert backtest(POWER_FLOOR, few, "flops", compute_rows_of, delta=None, priors=(), level=0.9) is None


def made(coverage: float, *, predictions: int = 20, miss: float = 3.0) -> BackTest:
    """A back-test of one bin, from 5 to 20, whose misses are `miss` half-widths away."""
    held = round(coverage * predictions)
    errors = [0.01 * (0.5 if i < held else miss) for i in range(predictions)]
    found = tuple(
        Prediction(log_compute=1.0, factor=10.0, log_loss=0.0, log_predicted=error, half_width=0.01) for error in errors
    )
    bins = (FactorBin(low=5.0, high=20.0, predictions=predictions, rms_error=0.01, mean_error=0.0, coverage=coverage),)
    return BackTest(cuts=(1.0,), predictions=found, bins=bins)


@pytest.mark.parametrize(
    ("of", "factor", "wanted"),
    [
        (None, 10.0, 1.0),
        (made(0.9), 10.0, 1.0),
        (made(0.8), 10.0, 1.0),
        (made(0.5), 10.0, 3.0),
        (made(0.5), 1e6, 3.0),
        (made(0.5), 1.0, 1.0),
        (made(0.5), 3.0, 1.0),
        (made(0.5, predictions=8), 10.0, 1.0),
        (made(0.5, miss=0.7), 10.0, 1.0),
    ],
    ids=["no_test", "held", "nearly_held", "missed", "farther", "inside", "nearer", "few", "never_narrowed"],
)
def test_intervals_are_widened_to_what_would_have_held(of: BackTest | None, factor: float, wanted: float) -> None:
    """By the level's quantile of the misses where many runs were missed at that factor or nearer, else not at all."""
    assert widening(of, factor, 0.9) == pytest.approx(wanted)

import math
import random

import pytest

from analysis.estimators.best_rate import Cell, cells_of, rate_trend
from analysis.tables.points import points_from_records
from sweeps.record import RunRecord, Status
from tests.analysis.synthetic import EPOCHS, record, study_points, study_records, tainted


def only_cell(records: list[RunRecord]) -> Cell:
    """The one cell that the records make."""
    (cell,) = cells_of(study_points(records))
    return cell


def runs(losses: dict[float, float], **other: float) -> list[RunRecord]:
    """Runs of one cell: peak learning rate -> loss."""
    return [record(peak_lr=rate, loss=loss, **other) for rate, loss in losses.items()]  # pyright: ignore


def test_the_rate_is_chosen_on_selection_loss_and_reported_on_val_loss() -> None:
    """A rate that is better on the reported images only is not chosen."""
    cell = only_cell(
        [record(peak_lr=0.1, loss=2.0, selection_loss=1.0), record(peak_lr=0.2, loss=1.5, selection_loss=1.1)]
    )
    assert cell.best.peak_lr == 0.1
    assert cell.loss == 2.0


def test_the_choice_rests_on_the_mean_over_seeds() -> None:
    """One lucky seed does not win; the loss is the mean over seeds, with its standard deviation."""
    lucky = [record(peak_lr=0.2, seed=s, loss=loss) for s, loss in enumerate((1.0, 3.0, 3.2))]
    steady = [record(peak_lr=0.1, seed=s, loss=loss) for s, loss in enumerate((1.9, 2.0, 2.1))]
    cell = only_cell(lucky + steady)
    assert cell.best.peak_lr == 0.1
    assert cell.loss == pytest.approx(2.0)
    assert cell.seed_sd == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("losses", "edge"),
    [
        ({0.05: 3.0, 0.1: 2.0, 0.2: 2.5}, None),
        ({0.05: 2.0, 0.1: 2.2, 0.2: 2.5}, "low"),
        ({0.05: 3.0, 0.1: 2.5, 0.2: 2.0}, "high"),
        ({0.1: 2.0}, "single"),
    ],
)
def test_an_optimum_on_the_edge_is_censored(losses: dict[float, float], edge: str | None) -> None:
    """The edge says on which side the true optimum may lie; inside there is a parabola."""
    cell = only_cell(runs(losses))
    assert cell.edge == edge
    assert (cell.parabola_peak_lr is None) == (edge is not None)


def test_a_diverged_rate_bounds_the_optimum() -> None:
    """The highest rate that finished is no edge when the next one diverged."""
    diverged = record(peak_lr=0.4, status=Status.DIVERGED, loss=None)
    assert only_cell([*runs({0.05: 3.0, 0.1: 2.5, 0.2: 2.0}), diverged]).edge is None


@pytest.mark.parametrize(("rate", "edge"), [(0.4, None), (0.01, "high")])
def test_a_rate_that_was_stopped_bounds_the_optimum(rate: float, edge: str | None) -> None:
    """A run that was ended early, behind the others, gives no loss, but it shows on which side the optimum is not."""
    stopped = record(peak_lr=rate, status=Status.STOPPED, loss=None)
    cell = only_cell([*runs({0.05: 3.0, 0.1: 2.5, 0.2: 2.0}), stopped])
    assert cell.edge == edge
    assert rate not in [tried.peak_lr for tried in cell.tried]


def test_a_rate_with_a_diverged_seed_is_not_chosen() -> None:
    """What survived of an unstable rate is a favourable sample."""
    shaky = [record(peak_lr=0.2, seed=0, loss=1.0), record(peak_lr=0.2, seed=1, status=Status.DIVERGED, loss=None)]
    assert only_cell([*runs({0.1: 2.0}), *shaky]).best.peak_lr == 0.1


@pytest.mark.parametrize("true_lr", [0.08, 0.1, 0.13])
def test_the_parabola_finds_the_vertex(true_lr: float) -> None:
    """On losses that are a parabola in log2 of the rate, its vertex is exact, between the rates tried."""
    losses = {rate: 2.0 + 0.1 * math.log2(rate / true_lr) ** 2 for rate in (0.05, 0.1, 0.2)}
    assert only_cell(runs(losses)).parabola_peak_lr == pytest.approx(true_lr)


def test_a_study_has_a_cell_for_each_model_and_epochs() -> None:
    """Rates and seeds belong to their cell; cells come cheapest first."""
    cells = cells_of(study_points(study_records(seeds=2)))
    assert len(cells) == 24
    assert all(len(cell.tried) == 3 and len(cell.best.losses) == 2 for cell in cells)
    hours = [cell.core_hours or 0.0 for cell in cells]
    assert hours == sorted(hours)


@pytest.mark.parametrize(("exponent", "word"), [(-0.5, "falls"), (0.5, "rises"), (0.0, "no trend")])
def test_the_trend_of_the_best_rate_with_epochs_is_recovered(exponent: float, word: str) -> None:
    """Rates that follow a power of epochs, at another level for each model, give that power and the words for it."""
    rng = random.Random(3)
    records = [
        record(model=model, epochs=epochs, peak_lr=level * epochs**exponent * 2 ** rng.uniform(-0.2, 0.2))
        for model, level in (("f0", 0.4), ("f1", 0.1), ("f3", 0.2))
        for epochs in EPOCHS
    ]
    trend = rate_trend(cells_of(points_from_records(records, study="s")))
    assert trend is not None
    assert trend.per_doubling == pytest.approx(2**exponent - 1, abs=0.1)
    assert trend.low < 2**exponent - 1 < trend.high
    assert word in trend.sentence


def test_too_few_cells_have_no_trend() -> None:
    """Two cells of one model determine a line and nothing about its certainty."""
    records = [record(epochs=epochs) for epochs in (1.0, 2.0)]
    assert rate_trend(cells_of(points_from_records(records, study="s"))) is None


def test_untainted_seeds_are_preferred() -> None:
    """The mean is over untainted seeds where there are any; the tainted one still counts a quarter as a single run."""
    cell, other = cells_of(
        study_points(
            [
                *(tainted(record(seed=0, loss=1.0)), record(seed=1, loss=2.0), record(seed=2, loss=3.0)),
                *(tainted(record(model="f1", seed=seed, loss=4.0 + seed)) for seed in (0, 1)),
            ]
        )
    )
    assert (cell.loss, cell.weight, cell.is_tainted) == (2.5, 1.0, False)
    assert cell.best.weighted_losses == ((2.0, 1.0), (3.0, 1.0), (1.0, 0.25))
    assert (other.loss, other.weight, other.is_tainted) == (4.5, 0.25, True)
    assert other.best.weighted_losses == ((4.0, 0.25), (5.0, 0.25))


def test_without_untainted_runs_all_weigh_the_same() -> None:
    """There is nothing to prefer, so nothing is doubted."""
    cell = only_cell([tainted(record(seed=seed, loss=2.0 + seed)) for seed in (0, 1)])
    assert (cell.loss, cell.weight, cell.is_tainted) == (2.5, 1.0, True)

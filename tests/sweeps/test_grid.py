"""The columns of a grid say what its trials say."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import StudyError
from sweeps.grid import Grid
from sweeps.pricing import price_trial
from sweeps.study import Pick, Study

StudyMaker = Callable[..., Study]

EPOCHS = st.lists(st.floats(0.001, 20.0), min_size=1, max_size=3, unique=True).map(tuple)
BATCHES = st.lists(st.integers(1, 700), min_size=1, max_size=2, unique=True).map(tuple)
SEEDS = st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True).map(tuple)


@given(epochs=EPOCHS, batch_images=BATCHES, seeds=SEEDS)
def test_columns_equal_their_trials(
    make_study: StudyMaker, epochs: tuple[float, ...], batch_images: tuple[int, ...], seeds: tuple[int, ...]
) -> None:
    """Every trial has the steps, images and price of its cell's row, and is found again under its number."""
    study = make_study(epochs=epochs, batch_images=batch_images, seeds=seeds)
    grid = Grid(study=study)
    columns = grid.columns
    for cell in range(grid.cell_count):
        for index in grid.cell_trials(cell):
            trial = grid.trial(index)
            cost = price_trial(trial, study.hardware)
            assert trial.model == study.models[columns.model[cell]].name
            assert (trial.steps, trial.images) == (columns.steps[cell], columns.images[cell])
            assert (cost.flops, cost.core_hours) == (columns.flops[cell], columns.core_hours[cell])
            assert grid.find(trial) == index


def test_every_trial_once(make_study: StudyMaker) -> None:
    """A grid has as many different trials as the product of its axes."""
    grid = Grid(study=make_study(batch_images=(16, 32), seeds=(0, 1, 2)))
    assert len({grid.trial(index).id for index in range(len(grid))}) == len(grid) == 2 * 2 * 2 * 2 * 3


def test_picks_take_the_place_of_the_grid(make_study: StudyMaker) -> None:
    """Each pick is a cell at its own rate with every seed; on the axes its trials are the grid's."""
    study = make_study(seeds=(0, 1))
    on_axes = Pick(model="w8", epochs=1.0, batch_images=32, peak_lr=0.2)
    between = Pick(model="w4", epochs=0.372, batch_images=48, peak_lr=0.15)
    whole = Grid(study=study)
    grid = Grid(study=dataclasses.replace(study, picks=(on_axes, between)))
    trials = [grid.trial(index) for index in range(len(grid))]
    assert (grid.cell_count, grid.runs_per_cell) == (2, 2)
    assert [grid.find(trial) for trial in trials] == [0, 1, 2, 3]
    assert {trial.id for trial in trials} & {whole.trial(index).id for index in range(len(whole))} == {
        trial.id for trial in trials[:2]
    }
    assert [(t.model, t.epochs, t.batch_images, t.peak_lr, t.seed) for t in trials[2:]] == [
        ("w4", 0.372, 48, 0.15, 0),
        ("w4", 0.372, 48, 0.15, 1),
    ]
    costs = [price_trial(grid.trial(2 * cell), study.hardware).core_hours for cell in range(2)]
    assert costs == list(grid.columns.core_hours)
    assert grid.find(whole.trial(0)) is None


def test_trials_of_other_studies_are_not_found(make_study: StudyMaker) -> None:
    """A trial off the axes, or on them with another shape behind the same name, is no trial of the grid."""
    grid = Grid(study=make_study())
    assert grid.find(Grid(study=make_study(seeds=(7,))).trial(0)) is None
    other = Grid(study=make_study(widths=(5, 8))).trial(0)
    renamed = type(other)(**{**vars(grid.trial(0)), "shape": other.shape})
    assert grid.find(renamed) is None


@pytest.mark.parametrize("index", [-1, 8])
def test_numbers_outside_the_grid(make_study: StudyMaker, index: int) -> None:
    """A number outside the grid is an IndexError, not another trial."""
    with pytest.raises(IndexError):
        Grid(study=make_study()).trial(index)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"epochs": ()}, "has no epochs; give at least one"),
        ({"widths": ()}, "has no models"),
        ({"widths": (8, 8)}, "names w8 twice in models"),
        ({"peak_lrs": (0.1, 0.1)}, "names 0.1 twice in peak_lrs"),
        ({"epochs": (0.0,)}, "has epochs 0.0; every value must be above zero"),
        ({"epochs": (float("nan"),)}, "has epochs nan"),
        ({"peak_lrs": (float("inf"),)}, "has peak_lrs inf"),
        ({"batch_images": (-4,)}, "has batch_images -4"),
        ({"seeds": (-1,)}, "has seeds -1; every value must be 0 or more"),
    ],
)
def test_unusable_axes_are_refused(make_study: StudyMaker, axes: dict[str, object], message: str) -> None:
    """An axis that is empty, repeats itself or cannot be run is named with what is allowed."""
    with pytest.raises(StudyError, match=message):
        Grid(study=make_study(**axes))

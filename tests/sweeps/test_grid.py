"""The columns of a grid say what its trials say."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import StudyError
from sweeps.grid import Grid
from sweeps.pricing import price_trial
from sweeps.study import Study

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

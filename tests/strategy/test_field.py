import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy.field import Field, widened
from tests.strategy.worlds import field_of, study_of


@given(
    budget=st.floats(400.0, 150_000.0),
    cell=st.integers(0, 10**6),
    rate=st.integers(0, 10**6),
    seed=st.integers(0, 10**6),
)
def test_every_place_finds_its_trial(budget, cell, rate, seed):
    """Any (cell, rate, seed) makes a trial that is found at that cell and rate."""
    field = field_of(budget)
    place = cell % len(field.cells), rate % field.rate_count
    assert field.find(field.trial(*place, seed)) == place


def test_trials_of_others_are_none_of_the_field():
    """Another recipe, a rate off the grid, a trunk or a cell above the budget: none of them is found."""
    field = field_of(3_000.0)
    own = field.trial(0, 2, 0)
    recipe = dataclasses.replace(own.recipe, momentum=0.5)
    for changes in ({"recipe": recipe}, {"peak_lr": 0.15}, {"trunk_id": "0" * 16}, {"epochs": 8.0}):
        assert field.find(dataclasses.replace(own, **changes)) is None


def test_cells_are_nested_and_cheapest_first():
    """A larger budget only adds cells, behind those of a smaller one."""
    small, large = field_of(10_000.0), field_of(110_000.0)
    assert (np.diff(large.core_hours) >= 0.0).all()
    names = [large.name(cell) for cell in range(len(large.cells))]
    assert [small.name(cell) for cell in range(len(small.cells))] == names[: len(small.cells)]
    assert (len(small.cells), len(large.cells)) == (21, 36)
    assert small.core_hours.max() <= 1.01 * 10_000.0


def test_ceiling_bars_training_only():
    """Cells above the ceiling are in the field and are not trainable."""
    field = field_of(110_000.0, ceiling=10_000.0)
    assert len(field.cells) == 36
    assert field.is_trainable.sum() == 21


def test_price_of_the_full_grid():
    """All cells x the study's rates x its seeds, without the widened rates."""
    field = Field(study=study_of(seeds=(0, 1)), budget_core_hours=3_000.0)
    assert field.grid_core_hours == pytest.approx(field.core_hours.sum() * 3 * 2)


def test_rates_are_widened_by_an_octave():
    """One more at both ends, none where there is but one."""
    assert widened((0.4, 0.1, 0.2)) == (0.05, 0.1, 0.2, 0.4, 0.8)
    assert widened((0.1,)) == (0.1,)
    field = field_of(3_000.0)
    assert field.peak_lrs(0) == (0.05, 0.1, 0.2, 0.4, 0.8)
    assert field.asked_rates.tolist() == [1, 2, 3]


def test_families_in_order_of_appearance():
    """Families are numbered as the study names them."""
    field = field_of(3_000.0, "scale/vit_f0", "scale/f0")
    assert field.families == ("vit", "nfnet")
    assert {field.name(k).split("-")[0]: int(field.family[k]) for k in range(len(field.cells))} == {
        "vit_f0": 0,
        "f0": 1,
    }

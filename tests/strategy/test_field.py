import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy.choice import choice_of
from strategy.field import Field, widened
from sweeps.study import FamilySettings
from sweeps.trial import RecipeSpec
from tests.strategy.worlds import field_of, follow, inquiry_of, study_of, true_log_loss


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


def two_families(**changes):
    """Returns a field of two families, the second by a recipe and at rates of its own."""
    recipe = RecipeSpec(optimiser="adamw")
    own = FamilySettings(family="vit", recipe=recipe, peak_lrs=(0.04, 0.01, 0.02))
    return field_of(3_000.0, "scale/f0", "scale/f1", "scale/vit_f0", "scale/vit_f1", families=(own,), **changes)


def test_each_family_has_its_own_rates():
    """Positions are those of a cell's own widened rates; its trials have its family's recipe and are found again."""
    field = two_families()
    assert (field.rate_count, field.asked_rates.tolist()) == (5, [1, 2, 3])
    rates = {"nfnet": (0.05, 0.1, 0.2, 0.4, 0.8), "vit": (0.005, 0.01, 0.02, 0.04, 0.08)}
    assert field.middle_octaves == pytest.approx(np.log2([0.2, 0.02]))
    for cell in range(len(field.cells)):
        family = field.families[int(field.family[cell])]
        assert field.peak_lrs(cell) == rates[family]
        assert field.octaves[cell] == pytest.approx(np.log2(rates[family]))
        for rate in range(field.rate_count):
            trial = field.trial(cell, rate, 3)
            assert (trial.peak_lr, trial.recipe.optimiser == "adamw") == (rates[family][rate], family == "vit")
            assert field.find(trial) == (cell, rate)


def test_a_rate_of_another_family_is_none_of_a_cells():
    """The same number is looked for among the cell's own rates."""
    field = two_families()
    nfnet = int(np.flatnonzero(field.family == 0)[0])
    assert field.find(dataclasses.replace(field.trial(nfnet, 1, 0), peak_lr=0.02)) is None


def test_the_full_grid_counts_each_familys_rates():
    """All cells x three rates x the seeds."""
    field = two_families(seeds=(0, 1))
    assert field.grid_core_hours == pytest.approx(field.core_hours.sum() * 3 * 2)


@pytest.mark.parametrize("name", ["two_trial", "informed", "ladder"])
def test_strategies_choose_within_each_family(name):
    """Of two families with rates far apart each is run at its own, and the choice is the truly best cell to 2 %."""
    field = two_families()
    inquiry = inquiry_of(name, 3_000.0, study=field.study)
    truth = true_log_loss(inquiry.field)
    records, _ = follow(inquiry, truth, noise_sd=0.001)
    tried = {(record.trial.family, record.trial.peak_lr) for record in records}
    assert {family for family, _ in tried} == {"nfnet", "vit"}
    assert all((peak_lr < 0.09) if family == "vit" else (peak_lr > 0.04) for family, peak_lr in tried)
    choice = choice_of(inquiry.field, records)
    assert choice is not None
    assert truth[choice.cell, choice.rate] - truth.min() < 0.02

"""A study of several families: what each has of its own, and what they share."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import StudyError
from sweeps.grid import Grid
from sweeps.pricing import price_trial
from sweeps.study import FamilySettings, Model, Pick, Study
from sweeps.trial import RecipeSpec
from sweeps.vit_shape import ViTShape

StudyMaker = Callable[..., Study]
ADAMW = RecipeSpec(optimiser="adamw", gradient_norm_clip=1.0, weight_decay=0.1)
VIT = Model(name="v4", family="vit", shape=ViTShape(patch_px=4, width=4, depth=1, heads=1, mlp_width=8))
RATES = st.lists(st.floats(1e-4, 10.0), min_size=2, max_size=2, unique=True).map(tuple)


def with_vit(study: Study, *, recipe: RecipeSpec = ADAMW, peak_lrs: tuple[float, ...] = (0.01, 0.02)) -> Study:
    """Returns the study with a transformer in the middle of its ladder, by a recipe of its own."""
    first, *rest = study.models
    own = FamilySettings(family="vit", recipe=recipe, peak_lrs=peak_lrs)
    return dataclasses.replace(study, models=(first, VIT, *rest), families=(own,))


@given(epochs=st.lists(st.floats(0.01, 9.0), min_size=1, max_size=3, unique=True).map(tuple), own=RATES, shared=RATES)
def test_every_trial_is_of_its_family(
    make_study: StudyMaker, epochs: tuple[float, ...], own: tuple[float, ...], shared: tuple[float, ...]
) -> None:
    """Each trial has its family's recipe and rates and its cell's price, and is found under its number."""
    study = with_vit(make_study(epochs=epochs, peak_lrs=shared, seeds=(0, 3)), peak_lrs=own)
    grid = Grid(study=study)
    assert len(grid) == 3 * len(epochs) * 2 * 2
    for index in range(len(grid)):
        trial = grid.trial(index)
        is_vit = trial.family == "vit"
        assert (trial.recipe, trial.peak_lr in (own if is_vit else shared)) == (ADAMW if is_vit else RecipeSpec(), True)
        assert trial.peak_lr == grid.peak_lrs(index // grid.runs_per_cell)[index % 2]
        cost = price_trial(trial, study.hardware)
        assert cost.core_hours == grid.columns.core_hours[index // grid.runs_per_cell]
        assert grid.find(trial) == index


def test_rates_change_with_size_where_a_family_says_so(make_study: StudyMaker) -> None:
    """With -0.5, four times the parameters have half the rates; other families keep theirs; grid and trials agree."""
    wide = dataclasses.replace(VIT, name="v8", shape=dataclasses.replace(VIT.shape, width=8, mlp_width=16))
    study = with_vit(make_study())
    data = study.data
    small, large = (
        model.shape.params(image_px=data.image_px, classes=data.classes, channels=data.channels)
        for model in (VIT, wide)
    )
    own = dataclasses.replace(study.families[0], lr_params_exponent=-0.5, lr_at_params=float(small))
    study = dataclasses.replace(study, models=(*study.models, wide), families=(own,))
    assert study.peak_lrs_of(VIT) == own.peak_lrs
    assert study.peak_lrs_of(wide) == pytest.approx([rate * (small / large) ** 0.5 for rate in own.peak_lrs], rel=5e-3)
    assert study.peak_lrs_of(study.models[0]) == study.peak_lrs
    grid = Grid(study=study)
    for index in range(len(grid)):
        assert grid.find(grid.trial(index)) == index


def test_a_rate_of_another_family_is_not_found(make_study: StudyMaker) -> None:
    """Rates are a family's own: the same number elsewhere is no trial of the grid."""
    grid = Grid(study=with_vit(make_study()))
    trial = grid.trial(0)
    assert grid.find(dataclasses.replace(trial, peak_lr=0.02)) is None
    assert grid.find(dataclasses.replace(trial, recipe=ADAMW)) is None


def test_other_families_keep_their_trials(make_study: StudyMaker) -> None:
    """A family more changes no id of the others, so that what was trained without it counts."""
    alone, both = Grid(study=make_study(seeds=(0, 1))), Grid(study=with_vit(make_study(seeds=(0, 1))))
    ids = {both.trial(index).id for index in range(len(both))}
    assert {alone.trial(index).id for index in range(len(alone))} < ids


def test_seeds_and_batches_pair_families(make_study: StudyMaker) -> None:
    """Between families a cell has the same seeds, data, schedule, steps and images: only shape and recipe differ."""
    grid = Grid(study=with_vit(make_study(seeds=(0, 5))))
    shared = {
        family: {
            (trial.seed, trial.data, trial.schedule, trial.epochs, trial.batch_images, trial.steps)
            for trial in map(grid.trial, range(len(grid)))
            if trial.family == family
        }
        for family in ("nfnet", "vit")
    }
    assert shared["nfnet"] == shared["vit"] and len(shared["vit"]) == 4


def test_cohorts(make_study: StudyMaker) -> None:
    """One law each: a cohort a recipe, one alone where families share theirs; trials bear their model's."""
    study = with_vit(make_study())
    assert len(study.cohorts) == 2
    assert {trial.cohort for trial in map(Grid(study=study).trial, range(12))} == set(study.cohorts)
    assert all(trial.cohort == study.cohort(VIT) for trial in map(Grid(study=study).trial, range(4, 8)))
    assert len(with_vit(make_study(), recipe=make_study().recipe).cohorts) == 1
    assert make_study().cohorts == study.cohorts[:1]


def test_what_compares_families(make_study: StudyMaker) -> None:
    """Two families of which one has its own; neither one family alone nor two by the study's recipe."""
    study = with_vit(make_study())
    assert study.compares_families
    assert not dataclasses.replace(study, models=(VIT,)).compares_families
    assert not dataclasses.replace(study, families=()).compares_families


def test_a_second_gradient_costs_its_family_alone(make_study: StudyMaker) -> None:
    """Sharpness-aware minimisation in one recipe doubles that family's price."""
    plain = Grid(study=with_vit(make_study())).columns.core_hours
    sharp = Grid(study=with_vit(make_study(), recipe=dataclasses.replace(ADAMW, sam_radius=0.05))).columns.core_hours
    assert (sharp / plain).tolist() == [1.0, 1.0, 2.0, 2.0, 1.0, 1.0]


def test_picks_need_no_equal_numbers_of_rates(make_study: StudyMaker) -> None:
    """A pick brings its own rate; its trial has the recipe of its family."""
    study = with_vit(make_study(), peak_lrs=(0.01,))
    pick = Pick(model="v4", epochs=0.5, batch_images=32, peak_lr=0.3)
    grid = Grid(study=dataclasses.replace(study, picks=(pick,)))
    assert (len(grid), grid.trial(0).recipe, grid.trial(0).peak_lr) == (1, ADAMW, 0.3)


@pytest.mark.parametrize(
    ("peak_lrs", "message"),
    [
        ((0.1,), r"nfnet 2, vit 1; give each as many \(try: study.families.vit.peak_lrs=\[...\] with 2 of them\)"),
        ((0.1, 0.2, 0.4), r"nfnet 2, vit 3; give each as many \(try: study.families.nfnet.peak_lrs=\[...\] with 3"),
        ((), r"family vit of study toy has no peak_lrs; .*study.families.vit.peak_lrs=\[...\]"),
        ((0.1, 0.1), "family vit of study toy names 0.1 twice in peak_lrs"),
        ((0.1, -1.0), r"family vit of study toy has peak_lrs -1.0; every value must be above zero"),
    ],
)
def test_unusable_rates_of_a_family_are_refused(
    make_study: StudyMaker, peak_lrs: tuple[float, ...], message: str
) -> None:
    """The family is named with what is allowed."""
    with pytest.raises(StudyError, match=message):
        Grid(study=with_vit(make_study(), peak_lrs=peak_lrs))


def test_a_family_is_named_once(make_study: StudyMaker) -> None:
    """Two settings of one family contradict each other."""
    study = with_vit(make_study())
    with pytest.raises(StudyError, match="names vit twice in families"):
        Grid(study=dataclasses.replace(study, families=study.families * 2))

"""What a study's file and a command line say of single families."""

import itertools
from collections.abc import Sequence

import pytest

from launcher.settings.compose import compose
from sweeps.errors import StudyError
from sweeps.grid import Grid
from sweeps.plan import make_plan
from sweeps.study import FamilySettings, Study

FAMILIES = ("nfnet", "vit", "separable", "hybrid")


def study_of(*words: str) -> Study:
    """Returns the study of four families, with words."""
    return compose(["study=families", "budget=10k", *words]).study


def own(study: Study, family: str) -> FamilySettings:
    """Returns what a family has of its own."""
    return next(settings for settings in study.families if settings.family == family)


def test_the_study_of_families_is_one_comparison() -> None:
    """Four families of six sizes, each by its accepted optimiser at rates a factor of 2 apart."""
    study = study_of()
    assert tuple(dict.fromkeys(model.family for model in study.models)) == FAMILIES
    assert [sum(model.family == family for model in study.models) for family in FAMILIES] == [6] * 4
    assert study.compares_families and len(study.cohorts) > 1
    rates = [study.peak_lrs_of(model) for model in study.models]
    assert all(b == pytest.approx(2 * a, rel=0.01) for one in rates for a, b in itertools.pairwise(one))
    middles = {family: [study.peak_lrs_of(m)[1] for m in study.models if m.family == family] for family in FAMILIES}
    assert all(len(set(middles[family])) == 1 for family in ("nfnet", "separable"))
    assert all(middles[family] == sorted(middles[family], reverse=True) for family in ("vit", "hybrid"))
    assert {study.recipe_of(model).optimiser for model in study.models if model.family == "nfnet"} == {"sgd_agc"}
    assert {study.recipe_of(model).optimiser for model in study.models if model.family != "nfnet"} == {"adamw"}


def test_each_family_has_forty_cells_within_10k() -> None:
    """Enough for a law each; and no family's price leaves the common axis by more than its shapes allow."""
    request = compose(["study=families", "budget=10k"])
    plan = make_plan(request.study, request.budget)
    counts = [sum(cell.model.family == family for cell in plan.cells) for family in FAMILIES]
    assert min(counts) >= 40, counts


def test_families_cost_what_the_nfnet_of_their_rung_costs() -> None:
    """By FLOPs, within 15 %: prices of the same rung and epochs compare architectures."""
    grid = Grid(study=study_of("study.epochs=[1]"))
    hours = grid.columns.core_hours.reshape(4, 6)
    assert (abs(hours / hours[0] - 1.0) < 0.15).all()


def test_a_recipe_is_the_studys_with_the_named_keys_changed() -> None:
    """Keys that a family does not name follow the study's, on the command line too."""
    study = study_of("study.recipe.skip_init=0.25", "study.families.vit.recipe.weight_decay=0.3")
    recipe = own(study, "vit").recipe
    assert (recipe.optimiser, recipe.weight_decay, recipe.skip_init) == ("adamw", 0.3, 0.25)
    assert study.recipe.skip_init == 0.25 and study.recipe.weight_decay == 0.0


def test_a_key_that_the_file_leaves_out_can_be_given() -> None:
    """A family, a list or a key of a recipe may be new on the command line."""
    study = compose(["budget=10k", "study.families.nfnet.recipe.momentum=0.8"]).study
    assert study.families == (
        FamilySettings(family="nfnet", recipe=own(study, "nfnet").recipe, peak_lrs=(0.1, 0.2, 0.4)),
    )
    assert own(study, "nfnet").recipe.momentum == 0.8
    assert own(study_of("study.families.vit.peak_lrs=[1,2,4]"), "vit").peak_lrs == (1.0, 2.0, 4.0)


def test_null_takes_a_familys_own_away() -> None:
    """Its models then follow the study's recipe and rates."""
    study = study_of("study.families.vit=null")
    vit = next(model for model in study.models if model.family == "vit")
    assert (study.recipe_of(vit), study.peak_lrs_of(vit)) == (study.recipe, study.peak_lrs)


def test_one_cell_of_one_family() -> None:
    """A model and a rate on the command line keep the family's recipe, and pass the other families over."""
    study = study_of("model=scale/vit_f3", "epochs=1", "peak_lr=0.3", "seed=0")
    grid = Grid(study=study)
    assert (len(grid), grid.trial(0).peak_lr, grid.trial(0).recipe.optimiser) == (1, 0.3, "adamw")
    assert [settings.family for settings in study.families] == ["vit"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study.families.vitt.peak_lrs=[1]"], r"key study\.families\.vitt is unknown; .*did you mean .*\.vit"),
        (["study.families.vit.peak_lr=[1]"], r"key study\.families\.vit\.peak_lr is unknown; .*vit\.peak_lrs"),
        (["study.families.vit.recipe.momentm=1"], r"key study\.families\.vit\.recipe\.momentm is unknown"),
        (["study.families.vit.recipe.momentum=x"], r"study\.families\.vit\.recipe\.momentum=x .*a number"),
        (["study.families.vit.recipe.optimiser=adam"], r"recipe\.optimiser 'adam' is unknown; choose sgd_agc, adamw"),
        (["study.families.separable.lr_params_exponent=-0.5"], r"exponent=-0\.5 needs the parameters at which"),
        (["study.families.vit.peak_lrs=3"], r"study\.families\.vit\.peak_lrs must be a list"),
        (["study.families.vit=3"], r"study\.families\.vit holds peak_lrs, a list, and recipe"),
        (["study.families.vit.recipe=3"], r"study\.families\.vit holds peak_lrs, a list, and recipe"),
        (["study.models=[scale/f0]"], r"study\.families\.hybrid is given, but the study has no model of that family"),
        (["study=scale_model", "study.families.vit.peak_lrs=[1,2,3]"], r"its models are of nfnet \(add some"),
        (["study.families.vit.peak_lrs=[1,2]"], r"different numbers of learning rates .*nfnet 3, vit 2"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(words: Sequence[str], message: str) -> None:
    """One StudyError that says what was got and what is allowed."""
    with pytest.raises(StudyError, match=message):
        Grid(study=study_of(*words))

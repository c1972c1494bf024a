"""The studies of small devices: what their models are, and that they ask one question of three kinds of data."""

import pytest

from launcher.settings.compose import compose
from sweeps.plan import make_plan
from sweeps.study import Study

STUDIES = ("edge", "edge_few", "edge_parts")
FAMILIES = ("nfnet", "vit", "separable", "hybrid")


def study_of(name: str) -> Study:
    """Returns one of the studies."""
    return compose([f"study={name}", "budget=10k"]).study


def test_models_are_those_of_small_devices() -> None:
    """Seven rungs a family from 0.01 to 5 million multiply-accumulates; those of a rung cost the same within 15 %."""
    study = study_of("edge")
    macs = [model.shape.forward_macs(image_px=16, classes=10) for model in study.models]
    params = [model.shape.params(image_px=16, classes=10) for model in study.models]
    assert len(macs) == 28
    assert min(params) > 500 and 300_000 < max(params) < 1_000_000
    for rung, wanted in enumerate((0.013e6, 0.0275e6, 0.075e6, 0.22e6, 0.63e6, 1.8e6, 5.0e6)):
        assert macs[rung::7] == pytest.approx([wanted] * 4, rel=0.12)


def test_one_question_of_three_kinds_of_data() -> None:
    """Models, recipes, rates, seeds and the unit of compute are alike; only data and epochs differ."""
    first, *others = (study_of(name) for name in STUDIES)
    for other in others:
        assert (other.models, other.families, other.recipe) == (first.models, first.families, first.recipe)
        assert (other.peak_lrs, other.seeds, other.hardware) == (first.peak_lrs, first.seeds, first.hardware)
        assert other.data != first.data and other.name != first.name


@pytest.mark.parametrize("name", STUDIES)
def test_every_family_has_cells_within_10k(name: str) -> None:
    """From the same smallest budget up, in a plan that compares families."""
    request = compose([f"study={name}", "budget=10k"])
    plan = make_plan(request.study, request.budget)
    assert request.study.compares_families
    assert [sum(cell.model.family == family for cell in plan.cells) for family in FAMILIES] == [25] * 4
    # The dearest run of all sizes but the smallest two costs the same: lines of equal compute cross the whole ladder.
    dearest = {cell.model.name: cell.cost.core_hours for cell in plan.cells}
    assert min(cost for name, cost in dearest.items() if name[-1] in "34567") > 8_000


def test_few_images_are_seen_again_and_again() -> None:
    """At equal compute the study of few images takes thirty times as many epochs."""
    many, few = study_of("edge"), study_of("edge_few")
    assert many.data.images_per_epoch == 30 * few.data.images_per_epoch
    assert few.epochs[0] == 30 * many.epochs[0]

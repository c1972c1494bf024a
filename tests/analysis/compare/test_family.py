from dataclasses import replace

import pytest

from analysis.compare.family import families_of
from analysis.refusal import FitRefused
from sweeps.record import Status
from tests.analysis.synthetic_families import families, family_records


def test_every_family_has_its_own_cells_and_ranks():
    """Cells of two families match by size rank and epochs."""
    a, b = families(family_records("a"), family_records("b", sizes=4))

    assert (a.name, b.name) == ("a", "b")
    assert (len(a.cells), len(b.cells)) == (30, 24)
    assert {member.rank for member in b.members} == {0, 1, 2, 3}
    assert {m.key for m in b.members} < {m.key for m in a.members}


def test_macs_are_those_of_the_shape():
    """Counted for the images that are held out."""
    (a, _) = families(family_records("a"), family_records("b"))
    runs = {run.trial.model: run.trial for run in family_records("a")}

    for member in a.members:
        trial = runs[member.cell.model]
        assert member.forward_macs == trial.shape.forward_macs(image_px=16, classes=10, channels=3)


def test_billed_hours_are_the_mean_over_a_cells_runs():
    """Runs without a clock have none: missing, not 0."""
    (a, b) = families(family_records("a", billed=lambda hours: hours / 7), family_records("b"))

    assert a.members[0].billed_core_hours == pytest.approx((a.members[0].cell.core_hours or 0) / 7)
    assert all(member.billed_core_hours is None for member in b.members)


@pytest.mark.parametrize("records", [family_records("vit"), []])
def test_one_family_alone_is_refused_with_what_to_type(records):
    """The command that makes a second one is named."""
    with pytest.raises(FitRefused, match="two families") as refused:
        families(records)

    assert refused.value.refusal.code == "one_family"
    assert "make sweep BUDGET=10k STUDY=families" in refused.value.refusal.next


def test_a_family_of_few_cells_is_refused():
    """Five cells give no surface."""
    few = [run for run in family_records("b") if run.trial.epochs >= 8]
    with pytest.raises(FitRefused, match="b has 5 cells"):
        families(family_records("a"), few)


def test_families_on_different_data_are_refused():
    """Losses on other images say nothing of who is ahead."""
    other = [
        replace(run, trial=replace(run.trial, data=replace(run.trial.data, name="cifar10")))
        for run in family_records("b")
    ]
    with pytest.raises(FitRefused, match="different data"):
        families(family_records("a"), other)


def test_each_family_keeps_its_own_recipe():
    """Cohorts differ from family to family: none of them is set aside for that."""
    own = [
        replace(run, trial=replace(run.trial, recipe=replace(run.trial.recipe, optimiser="adamw")))
        for run in family_records("b")
    ]
    a, b = families(family_records("a"), own)

    assert a.cohort != b.cohort
    assert (a.set_aside, b.set_aside, len(b.cells)) == (0, 0, 30)


def test_diverged_runs_are_counted():
    """They are bounds of the stable rate, not losses."""
    runs = family_records("b")
    runs[2] = replace(runs[2], status=Status.DIVERGED, outcome=None)
    _, b = families(family_records("a"), runs)

    assert (b.diverged, b.runs) == (1, 89)


def test_families_come_in_the_order_of_their_names():
    """Whatever order their runs were recorded in."""
    found = families_of([*family_records("z"), *family_records("a")], study=None, source="rows")

    assert [family.name for family in found] == ["a", "z"]

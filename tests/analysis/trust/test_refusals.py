from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.fitting import Prior
from analysis.laws import LAWS, POWER, POWER_FLOOR, SURFACE, Law
from analysis.options import FitOptions
from analysis.refusal import FitRefused
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet, SetAside
from analysis.trust.refusals import refuse_flat_surface, refuse_no_fall, refuse_too_few, refuse_unknown_priors
from sweeps.errors import StudyError
from tests.analysis.synthetic import budgets_of_surface, cells_on, record, runs_at, runs_of_surface, study_points, table

SIZES, DATA = np.geomspace(1e6, 1e9, 4), np.geomspace(1e7, 1e10, 4)
BUDGETS = (1e18, 1e19, 1e20, 1e21)


def refused(points: PointSet, law: Law) -> FitRefused:
    """The refusal of cells that cannot carry a law."""
    with pytest.raises(FitRefused) as error:
        refuse_too_few(points, cells_of(points), "flops", law)
    return error.value


def points_of_compute(computes: Sequence[float]) -> list[Point]:
    """Runs of one size at some computes."""
    return [Point(model="a", loss=3.0 - 0.1 * i, flops=c, params=1e6, tokens=c / 6e6) for i, c in enumerate(computes)]


@pytest.mark.parametrize(
    ("points", "law", "code"),
    [
        ([], POWER, "no_points"),
        (points_of_compute([1e18, 2e18]), POWER, "too_few_cells"),
        (points_of_compute([1e18, 1.2e18, 1.5e18, 1.8e18]), POWER, "too_few_cells"),
        (points_of_compute(np.geomspace(1e18, 1e20, 3).tolist()), POWER_FLOOR, "too_few_cells"),
        (points_of_compute([1e18, 1e18, 1e18, 1e19]), POWER, "too_few_cells"),
        (points_of_compute(np.geomspace(1e18, 1e20, 9).tolist()), SURFACE, "design_too_flat"),
        (runs_at([(n, 20 * n) for n in np.geomspace(1e6, 1e9, 12)]), SURFACE, "design_too_flat"),
        (runs_of_surface([1e6, 1e9], np.geomspace(1e7, 1e11, 5)), SURFACE, "design_too_flat"),
        ([replace(p, params=None) for p in runs_of_surface(SIZES, DATA)], SURFACE, "no_params"),
    ],
    ids=[
        "nothing", "two", "no_span", "fewer_than_parameters", "one_compute", "one_size", "one_ratio", "two_sizes",
        "no_params",
    ],
)  # fmt: skip
def test_what_cannot_carry_a_law_is_refused(points: list[Point], law: Law, code: str) -> None:
    """Each with its code, a reason and what to do, which are also what the error says."""
    error = refused(table(points), law)
    assert error.refusal.code == code
    assert str(error) == f"{error.refusal.reason}; {error.refusal.next}"


@pytest.mark.parametrize("law", LAWS)
def test_enough_cells_are_not_refused(law: str) -> None:
    """Runs over decades of size and data carry every law."""
    points = table(runs_of_surface(SIZES, np.geomspace(1e7, 1.1e10, 5)))
    refuse_too_few(points, cells_of(points), "flops", LAWS[law])


def test_a_surface_is_carried_by_four_budgets_of_many_sizes() -> None:
    """What a surface needs is that size and data vary apart: 36 runs at four computes are enough."""
    points = [replace(p, flops=budget) for budget in BUDGETS for p in budgets_of_surface([budget])]
    assert len({p.flops for p in points}) == 4
    refuse_too_few(table(points), cells_of(table(points)), "flops", SURFACE)


@pytest.mark.parametrize("law", LAWS)
def test_a_law_needs_one_cell_more_than_it_has_parameters(law: str) -> None:
    """With as many there is nothing left to say how well it fits."""
    known = LAWS[law]
    points = runs_of_surface(SIZES, np.geomspace(1e7, 1.1e10, 5))[:: 2 if len(known.parameters) < 6 else 1]
    computes = sorted({p.flops or 0 for p in points})
    few = [p for p in points if (p.flops or 0) in computes[: len(known.parameters)]][: len(known.parameters)]
    error = refused(table(few), known)
    assert error.refusal.code == "too_few_cells"
    assert f"at least {len(known.parameters) + 1} cells" in error.refusal.reason


def test_the_reason_counts_what_was_set_aside() -> None:
    """So that a misread column is seen."""
    points = replace(table([]), set_aside=(SetAside(reason="loss missing", count=7),))
    error = refused(points, POWER)
    assert "holds 7 runs, none with a usable loss (7 loss missing)" in error.refusal.reason
    assert error.refusal.next == "try: give a table with more usable rows"


def test_a_study_is_told_to_sweep() -> None:
    """Where runs can be made the next step makes them."""
    points = study_points([record()])
    with pytest.raises(FitRefused) as error:
        refuse_too_few(points, cells_of(points), "core_hours", POWER)
    assert "make sweep BUDGET=10k STUDY=synthetic" in error.value.refusal.next


@pytest.mark.parametrize("frontier", [0, 1, 2])
def test_losses_that_do_not_fall_are_refused(frontier: int) -> None:
    """Fewer than three cells that beat the cheaper ones are no law of compute."""
    cells = cells_on("power")
    with pytest.raises(FitRefused) as error:
        refuse_no_fall(table([]), cells[:frontier], POWER)
    assert error.value.refusal.code == "frontier_too_short"
    refuse_no_fall(table([]), cells[:3], POWER)
    refuse_no_fall(table([]), cells[:frontier], SURFACE)


def test_rising_losses_are_refused_on_the_whole_way() -> None:
    """From points to refusal."""
    rising = [
        replace(p, loss=1 + 0.1 * i) for i, p in enumerate(points_of_compute(np.geomspace(1e18, 1e20, 9).tolist()))
    ]
    with pytest.raises(FitRefused) as error:
        fit_study(table(rising), FitOptions(law="power", resamples=0))
    assert error.value.refusal.code == "frontier_too_short"


def test_a_surface_needs_three_amounts_of_data() -> None:
    """As it needs three sizes."""
    points = table(runs_of_surface(SIZES, DATA[:2]))
    with pytest.raises(FitRefused, match="at least three sizes"):
        refuse_flat_surface(points, cells_of(points), SURFACE)


@pytest.mark.parametrize("law", LAWS)
def test_priors_of_what_a_law_does_not_have_are_refused(law: str) -> None:
    """The message lists what there is."""
    known = LAWS[law]
    refuse_unknown_priors(known, [Prior(parameter=name, value=1.0) for name in known.parameters])
    with pytest.raises(StudyError, match=f"has no kappa to hold; it has {', '.join(known.parameters)}"):
        refuse_unknown_priors(known, [Prior(parameter="kappa", value=1.0)])

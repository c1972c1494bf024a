from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from analysis.notices import no_surface, notices_of
from analysis.options import FitOptions
from analysis.refusal import Refusal
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point
from sweeps.certificate import NO_CERTIFICATE
from sweeps.record import MARKED
from tests.analysis.synthetic import (
    budgets_of_surface,
    cells_on,
    reference_points,
    runs_at,
    runs_of_surface,
    study_points,
    study_records,
    table,
)

BUDGETS = np.geomspace(1e18, 1e21, 5)


def codes(result: ScalingFit) -> set[str]:
    """The codes of a fit's notices."""
    return {notice.code for notice in result.notices}


def surface(points: Iterable[Point], *, has_trust: bool = True, **known: object) -> ScalingFit:
    """The surface through points, without resamples."""
    return fit_study(table(points, **known), FitOptions(law="surface", resamples=0, has_trust=has_trust))


@pytest.fixture(scope="module")
def clean() -> ScalingFit:
    """A fit that nothing speaks against."""
    return surface(runs_of_surface(np.geomspace(1e6, 1e9, 6), np.geomspace(1.1e7, 1e10, 6), noise=0.002, random_seed=2))


def test_a_good_fit_has_no_notices(clean: ScalingFit) -> None:
    """Size and data apart, decades of compute, a law that holds."""
    assert codes(clean) == set()


def test_a_narrow_design_is_said() -> None:
    """Runs along one D/N are told apart by the form of the law."""
    ladder = [(n, 20 * n * f) for n in np.geomspace(1e6, 1e9, 9) for f in (0.7, 1.0, 1.4)]
    found = surface(runs_at(ladder, noise=0.001))
    (notice,) = (n for n in found.notices if n.code == "narrow_design")
    assert "factor of 2 only" in notice.text


def test_outliers_are_counted() -> None:
    """How many rows of how many, and how far the farthest lies."""
    points = runs_of_surface(np.geomspace(1e6, 1e9, 6), np.geomspace(1.1e7, 1e10, 6), noise=0.002, random_seed=2)
    points[8] = replace(points[8], loss=1.3 * points[8].loss)
    found = surface(points)
    (notice,) = (n for n in found.notices if n.code == "outliers")
    assert notice.text.startswith("1 of 36 rows")
    assert f"{float(np.abs(found.fit.residuals).max()):.1%}" in notice.text


def test_a_law_that_does_not_hold_is_said() -> None:
    """A line through losses that flatten: its back-test misses, and a form with a floor predicts better."""
    points = [Point(model="", loss=cell.loss, flops=cell.flops) for cell in cells_on("power_floor", noise=0.001)]
    found = fit_study(table(points), FitOptions(law="power", resamples=0))
    assert {"backtest_misses", "another_form_predicts_better"} <= codes(found)


def test_unseen_optima_are_counted() -> None:
    """Budgets whose least loss is at an edge."""
    points = budgets_of_surface(BUDGETS[:3]) + budgets_of_surface(BUDGETS[3:], off_centre=0.02)
    (notice,) = (n for n in surface(points, has_trust=False).notices if n.code == "edge_minimum")
    assert notice.text.startswith("2 budgets")


def test_a_short_range_is_local() -> None:
    """Less than a factor of ten in compute."""
    points = runs_of_surface(np.geomspace(1e8, 1.7e8, 5), np.geomspace(1e9, 1.73e9, 5), noise=1e-4)
    assert "short_range" in codes(surface(points, has_trust=False))


@pytest.mark.parametrize(("best_lr", "word", "wanted"), [(0.8, "highest", 0.4), (0.01, "lowest", 0.025)])
def test_censored_rates_name_the_next_command(best_lr: float, word: str, wanted: float) -> None:
    """The octave beyond the edge, on the side where the optimum lies."""
    points = study_points(study_records(seeds=1, best_lr=best_lr))
    found = fit_study(points, FitOptions(resamples=0, has_trust=False))
    (notice,) = (n for n in found.notices if n.code == "edge_of_grid")
    assert f"the {word} one tried in 24 cells" in notice.text
    assert "study.peak_lrs=[" in notice.text and f"{wanted:g}" in notice.text


def test_one_rate_says_nothing_of_the_best() -> None:
    """Cells run at one learning rate are counted."""
    points = study_points(study_records(seeds=1, rates=(0.1,)))
    (notice,) = (
        n for n in fit_study(points, FitOptions(resamples=0, has_trust=False)).notices if n.code == "single_rate"
    )
    assert notice.text.startswith("24 cells")


def test_how_intervals_came_about_is_said() -> None:
    """Resampled cells and two seeds each have their limits."""
    options = FitOptions(resamples=50, has_trust=False)
    assert "cells_resampled" in codes(fit_study(study_points(study_records(seeds=1)), options))
    assert "few_seeds" in codes(fit_study(study_points(study_records(seeds=2, noise=0.01)), options))
    three = codes(fit_study(study_points(study_records(seeds=3, noise=0.01)), options))
    assert not three & {"cells_resampled", "few_seeds"}


def test_the_reference_has_its_cap_and_its_bend() -> None:
    """The paper's models were not run for ever, and its points bend."""
    assert {"epoch_cap", "not_straight"} <= codes(
        fit_study(reference_points(), FitOptions(resamples=0, has_trust=False))
    )


@pytest.mark.parametrize(
    ("known", "code", "said"),
    [
        ({"derived": ("tokens",)}, "tokens_derived", "tokens computed from the other two by C = 6 N D"),
        ({"derived": ("flops",)}, "derived_by_rule", "flops computed"),
        ({"code_versions": ("a1", "b2")}, "mixed_code", "2 code versions: a1, b2"),
    ],
)
def test_what_is_known_of_the_runs_is_said(clean: ScalingFit, known: dict[str, object], code: str, said: str) -> None:
    """Values by rule and several versions of the code."""
    found = notices_of(replace(clean, points=replace(clean.points, **known)))  # type: ignore[arg-type]
    assert [notice.code for notice in found] == [code]
    assert said in found[0].text


def taint_notice(result: ScalingFit, *taints: str) -> str:
    """The notice of a fit whose first points have these taints."""
    doubted = [replace(p, taint=taint) for p, taint in zip(result.points.points, taints, strict=False)]
    points = replace(result.points, points=(*doubted, *result.points.points[len(doubted) :]))
    (notice,) = notices_of(replace(result, points=points))
    assert notice.code == "tainted"
    return notice.text


def test_taints_are_counted_with_their_reasons(clean: ScalingFit) -> None:
    """How many of how many, why, and that they weigh a quarter; where there are no others, that nothing changes."""
    assert taint_notice(clean, MARKED, NO_CERTIFICATE, NO_CERTIFICATE) == (
        "3 of 36 runs are tainted (2: it has no sampling certificate, as none from before certificates existed; 1: it "
        "was marked as tainted in MLflow): in every fit they weigh 0.25 of the others, and means over seeds leave them "
        "out"
    )
    assert "3 for other reasons): in every fit" in taint_notice(clean, *"aabbccdef")
    assert taint_notice(clean, *[NO_CERTIFICATE] * 36) == (
        "36 of 36 runs are tainted (36: it has no sampling certificate, as none from before certificates existed): as "
        "there are no others, all weigh the same"
    )


def test_a_law_of_compute_in_place_of_a_surface_says_why() -> None:
    """With the reason of the refusal and what would change it."""
    notice = no_surface(Refusal(code="design_too_flat", reason="no spread", next="run more"))
    assert notice.code == "no_surface" and "no spread; run more" in notice.text

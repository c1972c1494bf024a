from dataclasses import replace

import numpy as np
import pytest

from analysis.estimators.usable import axis_of, law_of, usable_points
from analysis.laws import LAWS, POWER, SURFACE
from analysis.options import FitOptions
from sweeps.errors import StudyError
from tests.analysis.synthetic import runs_of_surface, study_points, study_records, table

RUNS = runs_of_surface(np.geomspace(1e6, 1e9, 4), np.geomspace(1e7, 1e10, 4))


@pytest.mark.parametrize("law", LAWS)
def test_a_law_that_is_asked_for_is_taken(law: str) -> None:
    """Whatever the columns allow."""
    assert law_of(table(RUNS), FitOptions(law=law)) == LAWS[law]


def test_the_columns_choose_the_law() -> None:
    """Sizes and data for more than half of a table's rows make a surface; a study's runs are a law of compute."""
    without = [replace(point, tokens=None) for point in RUNS]
    assert law_of(table(RUNS), FitOptions()) == SURFACE
    assert law_of(table([*RUNS[:9], *without[9:]]), FitOptions()) == SURFACE
    assert law_of(table([*RUNS[:8], *without[8:]]), FitOptions()) == POWER
    assert law_of(table([replace(point, epochs=2.0) for point in without]), FitOptions()) == SURFACE
    assert law_of(study_points(study_records(seeds=1)), FitOptions()) == POWER


def test_an_unknown_law_lists_the_known_ones() -> None:
    """The message says what can be asked for."""
    with pytest.raises(StudyError, match=", ".join(LAWS)):
        law_of(table(RUNS), FitOptions(law="cubic"))


def test_the_axis_is_the_one_that_most_rows_have() -> None:
    """Core-hours where they are known as often as FLOPs; the one asked for whatever is known."""
    both = [replace(point, core_hours=1.0) for point in RUNS]
    assert axis_of(table(RUNS), FitOptions(), SURFACE) == "flops"
    assert axis_of(table(both), FitOptions(), SURFACE) == "core_hours"
    assert axis_of(table([*both[:7], *RUNS[7:]]), FitOptions(), SURFACE) == "flops"
    assert axis_of(table(both), FitOptions(axis="flops"), SURFACE) == "flops"


@pytest.mark.parametrize(("axis", "named"), [("core_hours", "no core_hours,"), (None, "no core_hours and no flops,")])
def test_no_compute_is_refused_with_the_words_that_name_one(axis: str | None, named: str) -> None:
    """The message says which columns would do."""
    points = RUNS if axis else [replace(point, flops=None, params=None, tokens=None) for point in RUNS]
    with pytest.raises(StudyError, match=f"{named} which a law of .* needs.*--columns|{named[:-1]} and no params"):
        axis_of(table(points), FitOptions(axis=axis), SURFACE if axis else POWER)


def test_a_surface_needs_no_compute() -> None:
    """Size times data stands for it; a law of compute alone falls back on size or data."""
    points = table([replace(point, flops=None) for point in RUNS])
    assert axis_of(points, FitOptions(), SURFACE) == "product"
    assert axis_of(points, FitOptions(), POWER) in ("params", "tokens")
    with pytest.raises(StudyError, match="size and data together"):
        axis_of(points, FitOptions(axis="params"), SURFACE)


def test_rows_that_lack_what_the_law_needs_are_set_aside() -> None:
    """Each under its reason; a law of compute needs compute alone."""
    points = table(
        [
            *RUNS[3:],
            replace(RUNS[0], params=None),
            replace(RUNS[1], tokens=None),
            replace(RUNS[2], flops=None),
        ]
    )
    kept = usable_points(points, SURFACE, "flops")
    assert list(kept.points) == RUNS[3:]
    assert {item.reason: item.count for item in kept.set_aside} == {
        "params missing": 1,
        "tokens missing": 1,
        "flops missing": 1,
    }
    assert len(usable_points(points, POWER, "flops").points) == len(RUNS) - 1
    assert usable_points(table(RUNS), SURFACE, "flops") == table(RUNS)

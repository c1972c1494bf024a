import dataclasses

import pytest

from analysis.tables.points import NAME_CHARACTERS, Point, clean_name, points_from_records
from sweeps.record import RunRecord
from sweeps.trial import DataSpec, RecipeSpec, cohort_of
from tests.analysis.synthetic import record


def other(run: RunRecord, started_unix_s: float = 0.0, **fields: object) -> RunRecord:
    """Returns the record with other fields of its trial, started at another time."""
    trial = dataclasses.replace(run.trial, **fields)  # type: ignore[arg-type]
    return dataclasses.replace(run, trial=trial, started_unix_s=started_unix_s)


RUNS = [record(epochs=epochs, seed=seed) for epochs in (1.0, 2.0) for seed in (0, 1)]
NEW_RECIPE = RecipeSpec(momentum=0.8)
NEW_DATA: DataSpec = dataclasses.replace(RUNS[0].trial.data, generator_seed=9)


@pytest.mark.parametrize("change", [{"recipe": NEW_RECIPE}, {"data": NEW_DATA}])
def test_runs_of_another_recipe_or_world_are_not_pooled(change: dict[str, object]) -> None:
    """A law is fitted to one cohort, and the others are counted with the words that show them."""
    strangers = [other(run, **change) for run in RUNS[:2]]
    points = points_from_records([*strangers, *RUNS], study="s")
    assert len(points.points) == 4
    (aside,) = points.set_aside
    assert aside.count == 2
    assert strangers[0].trial.cohort in aside.reason
    assert len(points_from_records([*strangers, *RUNS], study="s", cohort=strangers[0].trial.cohort).points) == 2


def test_of_two_cohorts_as_large_the_later_is_meant() -> None:
    """Repeating a whole sweep with a new recipe shows the new law."""
    later = [other(run, started_unix_s=run.started_unix_s + 100, recipe=NEW_RECIPE) for run in RUNS]
    points = points_from_records([*later, *RUNS], study="s")
    assert RUNS[0].trial.cohort in points.set_aside[0].reason


def test_an_older_shape_of_the_same_name_is_set_aside() -> None:
    """When a model's file was changed its earlier runs do not join the curve of the new shape."""
    wider = dataclasses.replace(RUNS[0].trial.shape, stage_widths=(40, 80))
    changed = other(RUNS[0], started_unix_s=RUNS[0].started_unix_s + 100, shape=wider)
    points = points_from_records([*RUNS, changed], study="s")
    assert len(points.points) == 1
    assert [(item.count, item.reason) for item in points.set_aside] == [(4, "of an older shape called f0")]


def test_a_cohort_is_named_by_data_schedule_and_recipe_alone() -> None:
    """Model, epochs, rate and seed do not change the cohort."""
    trial = RUNS[0].trial
    assert {run.trial.cohort for run in RUNS} == {trial.cohort}
    assert trial.cohort == cohort_of(data=trial.data, schedule=trial.schedule, recipe=trial.recipe)
    assert trial.cohort != other(RUNS[0], recipe=NEW_RECIPE).trial.cohort


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<b>$x_1$</b> [red]", "<b>$x_1$</b> [red]"),
        ("=cmd()", "=cmd()"),
        ("a\r\n\tb\x1b[31m", "a b [31m"),
        ("  a  ", "a"),
        ("\ud800 half", "half"),
        ("mod\u202eel", "mod el"),
        ("模型 é 🚀", "模型 é 🚀"),
    ],
)
def test_a_name_is_cleaned_of_what_no_printer_can_escape(text: str, name: str) -> None:
    """One line without control characters; the languages of printers stay as they are."""
    assert clean_name(text) == name
    assert clean_name(name) == name


def test_long_names_stay_apart() -> None:
    """A long name is cut, but two that begin alike do not become one curve."""
    first, second = clean_name("x" * 10_000), clean_name("x" * 10_001)
    assert len(first) == len(second) == NAME_CHARACTERS
    assert first != second
    assert first.startswith("xxx") and "…" in first


def test_points_are_small_and_frozen() -> None:
    """A million of them fit in memory."""
    assert not hasattr(Point(model="a", loss=1.0), "__dict__")

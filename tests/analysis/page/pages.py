"""Results whose pages the tests look at, and one whose every name would like to be a script."""

import dataclasses
import functools
from collections.abc import Sequence

from analysis.options import FitOptions
from analysis.page.background import Background
from analysis.page.page import page_html
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet, points_from_records
from sweeps.record import RunRecord, Status
from tests.analysis.synthetic import record, reference_points, study_records, tainted

HOSTILE = '</script><script>window.hurt=1</script><img src=x onerror="window.hurt=1">\'"&'


def study() -> list[RunRecord]:
    """Returns a study with what goes wrong in one: diverged, failed, killed, out of memory, tainted."""
    runs = study_records(models=("f0", "f1", "f3"), seeds=2, noise=0.01, best_lr=0.12)
    bad = [
        record(model="f1", epochs=8.0, peak_lr=0.4, status=Status.DIVERGED, loss=None),
        record(model="f3", epochs=8.0, peak_lr=0.8, status=Status.FAILED, loss=None),
        record(model="f3", epochs=4.0, peak_lr=0.8, status=Status.OUT_OF_MEMORY, loss=None),
        record(model="f0", epochs=4.0, peak_lr=0.8, status=Status.KILLED, loss=None),
    ]
    return [tainted(runs[0]), *runs[1:], *bad]


def fit_of(points: PointSet, *budgets: float) -> ScalingFit:
    """Returns a quick fit."""
    return fit_study(points, FitOptions(resamples=100, budgets=budgets))


def of_records(records: Sequence[RunRecord], *budgets: float, name: str = "small") -> tuple[ScalingFit, Background]:
    """Returns the fit of recorded runs and what their page shows beside it."""
    pages = {run.trial.id: f"experiments/1/runs/{run.trial.id}" for run in records}
    background = Background(
        records=tuple(records),
        mlflow_pages=pages,
        typed=("--study", name),
        pick_file=f"reports/{name}/pick.yaml",
    )
    return fit_of(points_from_records(list(records), study=name), *budgets), background


def of_families() -> tuple[ScalingFit, Background]:
    """Returns a study of two families, in one of which no run was launched for the larger budget."""
    runs = study_records(models=("f0", "f1"), seeds=1, noise=0.01)
    others = [
        dataclasses.replace(
            run, trial=dataclasses.replace(run.trial, model="vit_f1", family="vit"), budget_core_hours=2e4
        )
        for run in study_records(models=("f3",), seeds=1, noise=0.01)
    ]
    return of_records([*runs, *others], 1e4)


def hostile() -> tuple[ScalingFit, Background]:
    """Returns a study whose names, errors and words are scripts."""
    runs = [
        dataclasses.replace(run, trial=dataclasses.replace(run.trial, model=HOSTILE, family=HOSTILE), device=HOSTILE)
        for run in study_records(models=("f0",), seeds=2, noise=0.01)
    ]
    runs += study_records(models=("f1",), seeds=2, noise=0.01)
    result, background = of_records(runs, 5e3, name=HOSTILE)
    return result, dataclasses.replace(background, typed=("--study", HOSTILE), pick_file=f"{HOSTILE}/pick.yaml")


def of_points(*, has_models: bool) -> tuple[ScalingFit, Background]:
    """Returns the fit of a table of FLOPs and losses."""
    points = tuple(
        Point(model=f"m{i}" if has_models else "", flops=1e15 * c, loss=9.0 * c**-0.1 + 0.001 * e)
        for i in range(9)
        for e in range(4)
        for c in (3.0**i * 2.0**e,)
    )  # fmt: skip
    return fit_of(PointSet(points=points, set_aside=(), source="table.csv", has_models=has_models)), Background()


PAGES = {
    "study": lambda: of_records(study(), 1e4, 2e4),
    "families": of_families,
    "hostile": hostile,
    "reference": lambda: (fit_of(reference_points(), 1e4, 1.1e5), Background()),
    "table": lambda: of_points(has_models=True),
    "cloud": lambda: of_points(has_models=False),
    "far": lambda: of_records(study(), 1e9),
}
"""Name -> the result and its background. far: nothing but a budget that is refused."""


@functools.cache
def page_of(name: str) -> str:
    """Returns the page of one of PAGES, made once a process."""
    return page_html(*PAGES[name]())

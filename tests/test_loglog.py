"""The Python face on a study that a sweep has recorded."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import loglog
from analysis.refusal import FitRefused
from analysis.result import ScalingFit
from tests.analysis.synthetic import REFERENCE
from tests.docs.record_study import record_study
from tracking.paths import ProjectPaths
from tracking.run_table import read_records

HEAVY = ("numpy", "pandas", "scipy", "matplotlib", "mlflow", "jax", "ray", "hydra", "sqlalchemy")
FEW = 200


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a recorded sweep of the default study, some of whose runs have diverged."""
    folder = tmp_path_factory.mktemp("recorded")
    record_study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLOG_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def fitted(root: Path) -> ScalingFit:
    """The law of the recorded study, with intervals from few resamples."""
    return loglog.fit("scale_model", bootstrap=FEW, budgets="1k,10k,1000k")


def test_one_row_a_run_failures_too(root: Path) -> None:
    """Every recorded run is a row with its own numbers; a diverged one has no loss, not a loss of zero."""
    frame = loglog.runs("scale_model").set_index("trial_id")
    records = read_records(ProjectPaths(root=root), "scale_model")
    assert sorted(frame.index) == sorted(record.trial.id for record in records)
    for record in records:
        row = frame.loc[record.trial.id]
        assert (row.model, row.epochs, row.peak_lr, row.seed) == (
            record.trial.model, record.trial.epochs, record.trial.peak_lr, record.trial.seed,
        )  # fmt: skip
        assert (row.core_hours, row.flops) == (record.cost.core_hours, record.cost.flops)
        assert row.val_loss == record.val_loss if record.val_loss is not None else math.isnan(row.val_loss)
    assert dict(frame.status.value_counts()) == {"finished": 124, "diverged": 2}
    assert frame.val_loss.isna().equals(frame.status != "finished")
    assert frame.val_error.isna().all()  # this trainer tells none
    assert not frame.tainted.any()
    assert str(frame.started.dtype).startswith("datetime64") and frame.started.notna().all()


def test_runs_of_all_studies_are_those_of_each() -> None:
    """Without a name every study's runs come, told apart by a column."""
    pd.testing.assert_frame_equal(loglog.runs(), loglog.runs("scale_model"))


def test_curves_end_where_their_runs_do() -> None:
    """Each run's curve rises in step and compute and ends with its run's images and price."""
    curves, frame = loglog.curves("scale_model"), loglog.runs("scale_model").set_index("trial_id")
    assert list(curves.columns) == list(loglog.CURVE_COLUMNS)
    assert set(curves.trial_id) == set(frame.index)
    for trial_id, curve in curves.groupby("trial_id"):
        assert curve.step.is_monotonic_increasing and curve.step.is_unique
        last, run = curve.iloc[-1], frame.loc[trial_id]
        assert last.images == run.images
        assert last.core_hours == pytest.approx(run.core_hours)
        assert last.flops == pytest.approx(run.flops)


def test_a_study_is_fitted_as_the_command_fits_it(fitted: ScalingFit, root: Path, checkout: Path) -> None:
    """The law and the picks are those that analysis/fit_scaling.py prints."""
    script = str(checkout / "analysis" / "fit_scaling.py")
    words = ["--json", "--bootstrap", str(FEW), "--budgets", "1k,10k,1000k", "--out", str(root / "report")]
    done = subprocess.run(
        [sys.executable, "-I", script, *words], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    said = json.loads(done.stdout)
    assert {name: one["value"] for name, one in said["law"]["parameters"].items()} == pytest.approx(fitted.fit.values)
    table = loglog.picks(fitted)
    assert list(table.model) == [pick["model"] or pytest.approx(math.nan, nan_ok=True) for pick in said["picks"]]
    assert list(table.low) == pytest.approx([pick["low"] for pick in said["picks"]])


def test_a_frame_of_runs_is_a_table(fitted: ScalingFit) -> None:
    """The rows of `runs` fit to the same law as the study itself, and a part of them to that part's."""
    frame = loglog.runs("scale_model")
    again = loglog.fit(frame, law="power", bootstrap=0)
    assert again.fit.values == pytest.approx(fitted.fit.values)
    assert [(item.reason, item.count) for item in again.points.set_aside if "loss" in item.reason] == [
        ("loss is not finite", 2)
    ]
    part = loglog.fit(frame[frame.seed == 0], law="power", bootstrap=0)
    assert {point.seed for point in part.points.points} == {0}


def test_a_table_of_ones_own_is_accepted() -> None:
    """The path of a table and its DataFrame give the same law; columns are told by name or said."""
    by_path = loglog.fit(str(REFERENCE), bootstrap=0)
    frame = pd.read_csv(REFERENCE)
    assert loglog.fit(REFERENCE, bootstrap=0).fit.values == by_path.fit.values
    assert loglog.fit(frame, bootstrap=0).fit.values == by_path.fit.values
    renamed = frame.rename(columns={"loss": "nll"})
    columns = {"loss": "nll", "core_hours": "core_hours", "epochs": "epochs", "group": "model"}
    assert loglog.fit(renamed, columns=columns, bootstrap=0).fit.values == pytest.approx(by_path.fit.values)


def test_runs_of_two_recipes_are_not_pooled() -> None:
    """Runs that differ in data, schedule or recipe follow no one law: the message says how to take some of them."""
    frame = loglog.runs("scale_model")
    mixed = pd.concat([frame, frame.assign(cohort="other")[:9]])
    with pytest.raises(loglog.StudyError, match=r"differ in data, schedule or recipe.*frame\.cohort == "):
        loglog.fit(mixed)


def test_cells_and_picks_are_frames(fitted: ScalingFit) -> None:
    """One row a cell at its best rate, with the frontier marked; one row a budget, a refusal in words."""
    cells, picks = loglog.cells(fitted), loglog.picks(fitted)
    assert len(cells) == len(fitted.cells) == 21
    assert cells.on_frontier.sum() == len(fitted.frontier)
    assert not cells.duplicated(["model", "epochs"]).any()
    assert cells.loss.min() == min(cell.loss for cell in fitted.cells)
    assert list(picks.budget) == [1e3, 1e4, 1e6]
    refused = picks.set_index("budget").refused
    assert pd.isna(refused[1e3]) and "not measured" in refused[1e6]


def test_every_figure_can_be_drawn_by_name(fitted: ScalingFit) -> None:
    """`plot` draws what `figures` has, in the report's style, and refuses the others with what there is."""
    drawn = loglog.figures(fitted)
    assert "loss_vs_compute" in drawn
    assert isinstance(loglog.plot(fitted), Figure)
    assert len(loglog.plot(fitted, "residuals").axes) == len(drawn["residuals"].axes)
    with pytest.raises(loglog.StudyError, match=r"no figure called 'losses'; there are loss_vs_compute"):
        loglog.plot(fitted, "losses")
    with pytest.raises(loglog.StudyError, match="nothing for the figure isoflop_valleys"):
        loglog.plot(fitted, "isoflop_valleys")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: loglog.runs("scale"), r"no runs of study 'scale' are recorded; there is scale_model .*loglog\.runs"),
        (lambda: loglog.curves("scale"), "no runs of study 'scale'"),
        (lambda: loglog.fit("scale"), "no study called 'scale'"),
        (lambda: loglog.fit("nowhere.csv"), "no table at nowhere.csv"),
        (lambda: loglog.fit("scale_model", budget="10k"), r"fit has no option budget; it has columns, law, budgets"),
        (lambda: loglog.fit("scale_model", study="other"), "fit has no option study"),
        (lambda: loglog.fit([1, 2]), "a table is a DataFrame or the path of a file, not list"),
    ],
)
def test_mistakes_are_answered(mistake: object, message: str) -> None:
    """What is not understood is one StudyError that says what to type."""
    assert callable(mistake)
    with pytest.raises(loglog.StudyError, match=message):
        mistake()


def test_nothing_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder every question about runs is answered with the command that makes some."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    with pytest.raises(loglog.StudyError, match="make sweep BUDGET=2k"):
        loglog.runs()
    with pytest.raises(loglog.StudyError, match=r"nothing was run here \(try: make sweep BUDGET=2k STUDY=jft\)"):
        loglog.runs("jft")
    with pytest.raises(FitRefused, match="nothing was run"):
        loglog.fit()
    assert not list(tmp_path.iterdir())  # looking leaves nothing behind


def test_importing_loads_nothing(root: Path) -> None:
    """`import loglog` loads no library, from any folder; reading runs loads pandas and neither MLflow nor JAX."""
    code = (
        f"import sys, loglog; found = lambda: [name for name in {HEAVY!r} if name in sys.modules]; print(found()); "
        "loglog.runs('scale_model'); print(found()); print(loglog.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    nothing, some, file = done.stdout.splitlines()
    assert nothing == "[]"
    assert some == "['numpy', 'pandas']"
    assert Path(file) == Path(__file__).resolve().parents[1] / "loglog.py"

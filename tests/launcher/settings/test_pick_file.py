"""A pick comes back as a file: what it may say, what it makes of a study, and a sweep of it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher.drive import ingestion, sweep
from launcher.settings.compose import compose
from launcher.settings.pick_file import Entry, read_pick_file
from sweeps.errors import StudyError
from sweeps.plan import Plan, make_plan
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

CHECKOUT = Path(__file__).resolve().parents[3]
WRITTEN = """\
# Compute-optimal picks of study scale_model. Train them: make sweep PICK=reports/scale_model/pick.yaml
study: scale_model
picks:
- budget_core_hours: 10000.0
  model: f1
  epochs: 3.72
  peak_lr: 0.2
  batch_images: 32
  predicted_loss: 0.3504
  low: 0.3273
  high: 0.3691
  extrapolation_factor: 1.0
"""
SMALL = "- {budget_core_hours: 800, model: f0, epochs: 0.5, peak_lr: 0.2}\n"
"""Also a point of the grid."""


def pick_file(folder: Path, text: str) -> str:
    """Returns the path of a pick file with this text; like many real paths it holds what Hydra's grammar does not."""
    path = folder / "it's a (pick), n=1.yaml"
    path.write_text(text)
    return str(path)


def with_pick(**values: object) -> str:
    """Returns a pick file of one entry with these values changed; a key set to ... is left out."""
    entry = {"budget_core_hours": 10_000.0, "model": "f1", "epochs": 3.72} | values
    said = "".join(f"  {key}: {value}\n" for key, value in entry.items() if value is not ...)
    return "study: scale_model\npicks:\n-" + said[1:]


def plan_of(*words: str) -> Plan:
    """Returns the plan of these overrides, without records."""
    request = compose(words)
    return make_plan(request.study, request.budget, spend_cap_core_hours=request.spend_cap_core_hours)


def test_what_the_fit_writes_is_read(tmp_path: Path) -> None:
    """The file in the form of the manual gives its study and what is to be trained."""
    file = read_pick_file(pick_file(tmp_path, WRITTEN))
    assert file.study == "scale_model"
    assert file.entries == (Entry(model="f1", epochs=3.72, batch_images=32, peak_lr=0.2),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: null\npicks: []", "this pick was made from a table, it names no study that can be run"),
        ("study: 3\npicks: []", "study is 3; it must be the name of a study"),
        ("study: scale_model\npicks: []", "nothing to train: every pick was refused .*make fit STUDY=scale_model"),
        ("study: scale_model\npicks: f1", "picks is 'f1'; it must be a list"),
        ("study: scale_model\npicks: [f1]", "pick 1: got 'f1'; keys model, .* are expected"),
        ("study: scale_model", "picks missing; needed here: study, picks"),
        ("study: scale_model\npicks: []\nlaw: power", "key law is unknown; allowed here: study, picks"),
        ("", "got None; keys study, picks are expected"),
        ("study: [", "is no YAML: while parsing .*make fit"),
        (with_pick(seed=1), "pick 1: key seed is unknown; allowed here: model, batch_images, budget_core_hours"),
        (with_pick(model=...), "pick 1: model missing; needed here: budget_core_hours, model, epochs"),
        (with_pick(epochs=...), "pick 1: epochs missing"),
        (with_pick(budget_core_hours=...), "pick 1: budget_core_hours missing"),
        (with_pick(model=3), "model is 3; it must be the name of a model"),
        (with_pick(epochs="null"), "epochs is None; it must be a number above zero"),
        (with_pick(epochs="many"), "epochs is 'many'; it must be a number above zero"),
        (with_pick(epochs=-1), "epochs is -1; it must be a number above zero"),
        (with_pick(epochs=".inf"), "epochs is inf; it must be a number above zero"),
        (with_pick(peak_lr="true"), "peak_lr is True; it must be a number above zero"),
        (with_pick(low="[1]"), r"low is \[1\]; it must be a number above zero"),
        (with_pick(batch_images=32.5), "batch_images is 32.5; it must be a whole number above zero"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """What is missing, unknown or of the wrong type is named with what is allowed."""
    with pytest.raises(StudyError, match=message):
        read_pick_file(pick_file(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The message says how such a file comes about."""
    with pytest.raises(StudyError, match=r"nowhere\.yaml' cannot be read: No such file .*make fit .* writes"):
        read_pick_file(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (with_pick(model="f9"), (), "model 'f9', which study scale_model does not have; its models are f0, f1, f3,"),
        (with_pick(), ("study=cifar10",), "holds picks of study scale_model, not of cifar10 .*without STUDY"),
        ("study: mine\npicks: [{}]", (), "pick 1: budget_core_hours, model, epochs missing"),
        (
            with_pick().replace("scale_model", "scale_modle"),
            (),
            r"no conf/study/scale_modle\.yaml; choose cifar10, .*did you mean scale_model\?.*STUDY=",
        ),
        (with_pick(), ("model=scale/f1",), "both pick and model are given"),
        (with_pick(), ("epochs=2",), "both pick and epochs are given"),
        (with_pick(), ("peak_lr=0.1",), "both pick and peak_lr are given"),
        (with_pick(), ("budget=many",), "budget 'many' not understood"),
    ],
)
def test_picks_that_no_study_can_run(tmp_path: Path, text: str, words: Sequence[str], message: str) -> None:
    """Picks of another study, of a model it lacks, or beside words that contradict them are refused."""
    with pytest.raises(StudyError, match=message):
        compose([f"pick={pick_file(tmp_path, text)}", *words])


def test_a_pick_is_planned_at_its_own_epochs(tmp_path: Path) -> None:
    """One cell with the study's seeds, on no axis of the grid, whose own price is the budget when none is given."""
    plan = plan_of(f"pick={pick_file(tmp_path, WRITTEN)}")
    assert [trial.name for trial in plan.trials()] == ["f1-e3.72-lr0.2-s0", "f1-e3.72-lr0.2-s1"]
    assert len(plan.cuts) == 0
    assert plan.budget.core_hours == plan.cells[0].cost.core_hours == pytest.approx(10_000, rel=0.01)


def test_its_trials_are_those_of_the_grid(tmp_path: Path) -> None:
    """A pick on the axes has the ids that the grid gives; without a rate every rate of the study is tried, once."""
    text = f"study: scale_model\npicks:\n{SMALL}{SMALL.replace(', peak_lr: 0.2', '')}"
    plan = plan_of(f"pick={pick_file(tmp_path, text)}", "seeds=1")
    grid = plan_of("budget=1k", "model=scale/f0", "epochs=0.5", "seeds=1")
    assert {trial.id for trial in plan.trials()} == {trial.id for trial in grid.trials()}
    assert len(list(plan.trials())) == 3


def test_a_pick_knows_its_study(tmp_path: Path) -> None:
    """Without STUDY that of the file is composed, its data and hardware included."""
    path = pick_file(tmp_path, with_pick(model="f7").replace("scale_model", "cifar10"))
    assert compose([f"pick={path}"]).study.data.name == "cifar10"
    assert compose([f"pick={path}", "study=cifar10"]).study == compose([f"pick={path}"]).study


def test_a_budget_cuts_dearer_picks(tmp_path: Path) -> None:
    """With a budget or a spend cap picks are cut as cells are, and a budget that holds none is refused."""
    words = f"pick={pick_file(tmp_path, WRITTEN + SMALL)}"
    plan = plan_of(words, "budget=1k")
    assert [cell.name for cell in plan.cells] == ["f0-e0.5"]
    assert [(cut.cell.name, cut.reason) for cut in plan.cuts] == [("f1-e3.72", "above the budget of 1k")]
    assert [cut.reason for cut in plan_of(words, "spend=2k").cuts] == ["past the spend cap of 2k"]
    with pytest.raises(StudyError, match=r"holds no cell .*the same words with BUDGET=800\)"):
        plan_of(words, "budget=10").require_cells()


def test_a_relative_path_counts_from_where_it_is_typed(tmp_path: Path) -> None:
    """`python -m launcher pick=FILE` finds a file of the folder it is typed in, and plans it without a budget."""
    (tmp_path / "pick.yaml").write_text(WRITTEN)
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "pick=pick.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "f1-e3.72-lr0.2" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on PATH")
@pytest.mark.parametrize("word", ["PICK", "pick"])
def test_the_word_of_make(word: str) -> None:
    """PICK and pick are the same word."""
    clean = {name: value for name, value in os.environ.items() if not re.match(r"MAKE|MFLAGS$|PICK$", name)}
    done = subprocess.run(
        ["make", "-n", "-C", str(CHECKOUT), "sweep", f"{word}=fit/pick 1.yaml"],
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "-m launcher action=sweep pick='fit/pick 1.yaml'" in " ".join(done.stdout.split()), done.stderr


def test_a_sweep_of_picks_trains_what_the_grid_has_not(
    paths: ProjectPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell of the grid that is recorded is not trained again as a pick, nor a pick when it is typed twice."""
    for module, name in ((sweep, "ingest_ended"), (ingestion, "ingest_ended"), (sweep, "_fit")):
        monkeypatch.setattr(module, name, lambda *_, **__: 0)  # MLflow and the fit take seconds
    trained: list[list[str]] = []
    picks = f"pick={pick_file(tmp_path, WRITTEN + SMALL)}"
    for words in (["budget=1k", "model=scale/f0", "peak_lr=0.2", "study.epochs=[0.25,0.5]"], [picks], [picks]):
        request = compose([*words, "seeds=1", "cluster=inline"])
        assert sweep.run_sweep(request, paths, trainer="fake_trainer:train") == 0
        lines = (paths.data_dir / "calls.txt").read_text().splitlines()
        begun = [line.split()[0] for line in lines if line.split()[1] == "begin"]
        names = {record.trial.id: record.trial.name for record in read_journals(paths, "scale_model")}
        trained.append([names[trial_id] for trial_id in begun])
    assert sorted(trained[0]) == ["f0-e0.25-lr0.2-s0", "f0-e0.5-lr0.2-s0"]
    assert trained[1] == [*trained[0], "f1-e3.72-lr0.2-s0"]
    assert trained[2] == trained[1]

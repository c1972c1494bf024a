"""At the end of a sweep of several families they are compared, not laid under one law."""

import json
import sys
import types
from collections.abc import Sequence

import pytest

from launcher.drive.sweep import run_sweep
from launcher.settings.compose import compose
from tests.launcher.driven import calls
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

WORDS = ("study=families", "cluster=inline", "seeds=1", "budget=400", "format=json")


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the comparison was called with; nothing is written into MLflow."""
    monkeypatch.setattr("launcher.drive.ingestion.ingest_ended", lambda *_, **__: 0)
    monkeypatch.setattr("launcher.drive.sweep.ingest_ended", lambda *_, **__: 0)
    monkeypatch.setattr("tracking.publishing.publish_report", lambda *_, **__: pytest.fail("a comparison has no picks"))
    asked: list[list[str]] = []

    def main(words: Sequence[str]) -> int:
        asked.append(list(words))
        print(json.dumps({"verdict": "alike"}))
        return 0

    module = types.ModuleType("analysis.compare_families")
    module.main = main  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "analysis.compare_families", module)
    return asked


def test_families_are_trained_by_their_own_recipes_and_compared(
    paths: ProjectPaths, capsys: pytest.CaptureFixture[str], compared: list[list[str]]
) -> None:
    """Each trial has its family's recipe and rates; the second time nothing is trained, and both are compared."""
    request = compose(WORDS)
    runs = sum(len(cell.peak_lrs) for cell in request.plan().cells)
    for finished in (runs, 0):
        assert run_sweep(request, paths, trainer="fake_trainer:train") == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["runs"]["finished"], answer["runs"]["total"], answer["verdict"]) == (finished, runs, "alike")
    assert compared == [["--study", "families", "--json"]] * 2
    trained = [record.trial for record in read_journals(paths, "families")]
    assert len(trained) == len({trial_id for trial_id, _, _ in calls(paths)}) == runs
    expected = {
        model.name: (request.study.recipe_of(model), request.study.peak_lrs_of(model)) for model in request.study.models
    }
    for trial in trained:
        recipe, rates = expected[trial.model]
        assert trial.recipe == recipe and trial.peak_lr in rates


def test_one_family_of_them_has_its_law(
    paths: ProjectPaths, capsys: pytest.CaptureFixture[str], compared: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a command line leaves one family, its own cohort is fitted."""
    asked: list[list[str]] = []
    monkeypatch.setattr("analysis.fit_scaling.main", lambda words: asked.append(list(words)) or print("{}") or 2)
    request = compose([*WORDS, "model=scale/vit_f0"])
    assert run_sweep(request, paths, trainer="fake_trainer:train") == 2
    cohort = request.study.cohort(request.study.models[0])
    assert (asked, compared) == ([["--study", "families", "--cohort", cohort, "--budgets", "400", "--json"]], [])
    assert json.loads(capsys.readouterr().out)["runs"]["finished"] == 6

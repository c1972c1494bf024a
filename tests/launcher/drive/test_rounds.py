"""Sweeps by rounds through the real loop, in this process, with the fake trainer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from launcher.drive import sweep
from launcher.drive.sweep import run_sweep
from launcher.settings.compose import compose
from sweeps.errors import StudyError
from tests.launcher.driven import calls
from tracking.journal import read_journals
from tracking.paths import ProjectPaths
from tracking.predictions import read_predictions

Sweep = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def swept(paths: ProjectPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Runs a sweep of the scale model and returns its exit code and answer; without MLflow, which takes seconds."""
    monkeypatch.setattr("launcher.drive.ingestion.ingest_ended", lambda *_, **__: 0)
    monkeypatch.setattr(sweep, "ingest_ended", lambda *_, **__: 0)
    monkeypatch.setattr(sweep, "_fit", lambda *_: 0)

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        request = compose(["study=scale_model", "cluster=inline", "format=json", "seeds=1", *words])
        code = run_sweep(request, paths, trainer="fake_trainer:train")
        return code, json.loads(capsys.readouterr().out)

    return run


def begun(paths: ProjectPaths) -> int:
    """Returns how many trainings were begun."""
    return sum(word == "begin" for _, word, _ in calls(paths))


def test_rounds_then_nothing_new(swept: Sweep, paths: ProjectPaths) -> None:
    """Rounds are trained one after the other and end with a choice; typed again it says the same and trains nothing."""
    code, first = swept("strategy=informed", "budget=2k")
    assert code == 0
    runs = begun(paths)
    assert (
        first["runs"]["finished"] == first["runs"]["total"] == sum(one["runs"] for one in first["rounds"]) == runs > 4
    )
    assert first["rounds"][-1]["runs"] == 0 and len(first["rounds"]) > 2
    choice = first["strategy"]
    assert choice["low"] < choice["predicted_loss"] < choice["high"]
    assert choice["spent_core_hours"] <= 0.25 * choice["grid_core_hours"]
    frozen = read_predictions(paths, "scale_model")
    code, second = swept("strategy=informed", "budget=2k")
    assert (code, begun(paths), second["runs"]["finished"]) == (0, runs, 0)
    assert second["strategy"] == choice
    assert read_predictions(paths, "scale_model") == frozen


def test_predictions_are_frozen_before_their_runs_begin(swept: Sweep, paths: ProjectPaths) -> None:
    """Each was on the disk before the first run at its cell and rate was started."""
    swept("strategy=ladder", "budget=3k", "strategy.spend_share=0.3")
    frozen = read_predictions(paths, "scale_model")
    started: dict[tuple[str, float, float], float] = {}
    for record in read_journals(paths, "scale_model"):
        place = record.trial.model, record.trial.epochs, record.trial.peak_lr
        started[place] = min(record.started_unix_s, started.get(place, float("inf")))
    assert len(frozen) > 2 and {one.made_by for one in frozen} == {"ladder"}
    for one in frozen:
        assert one.peak_lr is not None
        assert one.made_unix_s <= started[one.model, one.epochs, one.peak_lr]


@pytest.mark.parametrize("strategy", ["informed", "ladder", "two_trial"])
def test_spend_is_honoured_over_commands(swept: Sweep, paths: ProjectPaths, strategy: str) -> None:
    """A cap that is typed twice is one cap; a larger one lets the same study go on."""
    words = (f"strategy={strategy}", "budget=3k")

    def used() -> float:
        return sum(record.cost.core_hours for record in read_journals(paths, "scale_model"))

    swept(*words, "spend=2500")
    first = used()
    swept(*words, "spend=2500")
    assert 0.0 < used() == first <= 2500.0
    swept(*words, "spend=6k")
    assert first < used() <= 6_000.0


def test_a_driver_that_dies_between_rounds_is_followed_by_another(
    swept: Sweep, paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained stays, and together the two train what one would have."""
    from launcher.drive.rounds import Rounds

    asked = Rounds.next_packs

    def dies(self: Rounds, *words: Any) -> Any:
        if len(self.told) == 2:
            raise KeyboardInterrupt
        return asked(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "next_packs", dies)
        assert swept("strategy=informed", "budget=2k")[0] == sweep.INTERRUPTED
    some = {trial_id for trial_id, _, _ in calls(paths)}
    assert some
    swept("strategy=informed", "budget=2k")
    ends = [trial_id for trial_id, word, _ in calls(paths) if word == "begin"]
    assert len(ends) == len(set(ends)) > len(some)


def test_an_impossible_question_trains_nothing(swept: Sweep, paths: ProjectPaths) -> None:
    """It is refused before the first run."""
    with pytest.raises(StudyError, match="compares two families"):
        swept("strategy=informed", "budget=2k", "strategy.question=gap@2k")
    assert begun(paths) == 0

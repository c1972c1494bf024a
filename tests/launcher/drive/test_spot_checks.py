import json

import pytest

from launcher.drive.spot_checks import all_spot_checks, pending_spot_checks
from launcher.drive.sweep import run_sweep
from launcher.settings.compose import compose
from tests.launcher.driven import calls
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

WORDS = ("study=scale_model", "cluster=inline", "seeds=1", "budget=1k", "strategy=trunk")


def test_strategies_with_the_study_s_schedule_have_none() -> None:
    """Only where the schedule is another one is anything compared."""
    assert all_spot_checks(compose(["study=scale_model", "budget=10k"])) == ()
    assert all_spot_checks(compose([*WORDS, "strategy.spot_checks=0"])) == ()


def test_trunk_trains_spot_checks_and_compares(
    paths: ProjectPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few cells are trained with both schedules, once, and the answer says how the two laws compare."""
    monkeypatch.setattr("launcher.drive.ingestion.ingest_ended", lambda *_, **__: 0)
    monkeypatch.setattr("launcher.drive.sweep.ingest_ended", lambda *_, **__: 0)
    monkeypatch.setattr("launcher.drive.sweep._fit", lambda *_: 0)
    request = compose([*WORDS, "format=json"])
    wanted = all_spot_checks(request)
    assert {trial.schedule.name for trial in wanted} == {"cosine"} and request.study.schedule.name == "wsd"
    for finished in (9 + len(wanted), 0):
        assert run_sweep(request, paths, trainer="fake_trainer:train") == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["runs"]["finished"], answer["runs"]["total"]) == (finished, 9 + len(wanted))
    assert len({trial_id for trial_id, _, _ in calls(paths)}) == 9 + len(wanted)
    records = read_journals(paths, "scale_model")
    assert pending_spot_checks(request, records) == () and pending_spot_checks(request, []) == wanted
    compared = answer["strategy"]["schedules"]["cells"]
    assert len(compared) == len(wanted) / 3
    assert answer["strategy"]["sentence"].startswith("too few cells")

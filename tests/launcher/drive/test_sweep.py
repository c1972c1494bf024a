import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable

from sweeps.record import Status
from tests.launcher.driven import calls, wait_for, wait_until_gone
from tracking.journal import read_journals
from tracking.paths import ProjectPaths
from tracking.run_table import read_records

Drive = Callable[..., "subprocess.Popen[str]"]


def test_sweep_then_nothing_then_only_what_is_new(drive: Drive, paths: ProjectPaths) -> None:
    """A sweep trains all and reports a law; again it trains nothing; with more epochs it trains only the new cells."""
    words = ("--models", "steady", "other", "--seeds", "2", "--json", "--epochs", "1", "2", "4")
    answers: list[dict[str, object]] = []
    for extra in ((), (), ("8", "--journals-only")):
        process = drive(*words, *extra)
        out, errors = process.communicate()
        assert process.returncode == 0, errors + out
        answers.append(json.loads(out))
    counts = [answer["runs"] for answer in answers]
    nothing = {"diverged": 0, "stopped": 0, "out_of_memory": [], "failed": [], "left": []}
    assert counts == [nothing | {"finished": new, "total": all_} for new, all_ in ((12, 12), (0, 12), (4, 16))]
    assert all(answer["law"] for answer in answers[:2])
    assert set(Counter(trial_id for trial_id, word, _ in calls(paths) if word == "begin").values()) == {1}
    stored = {record.trial.id for record in read_records(paths, "small")}
    assert len(stored) == 12
    assert stored < {trial_id for trial_id, _, _ in calls(paths)}


def test_ctrl_c_and_resume(drive: Drive, paths: ProjectPaths) -> None:
    """Ctrl-C ends workers and driver with one message; the same command goes on and repeats no settled run."""
    words = ("--seeds", "8", "--journals-only")
    process = drive(*words, report_s=0.05)
    wait_for(paths, 4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "runs are recorded" in errors and "go on with: " in errors and "Traceback" not in errors
    wait_until_gone({int(pid) for _, _, pid in calls(paths)})
    settled = {record.trial.id for record in read_journals(paths, "small") if record.is_settled}
    assert 1 <= len(settled) < 8
    again = drive(*words, "--json")
    out, errors = again.communicate()
    assert json.loads(out)["runs"]["finished"] == 8 - len(settled), errors
    begun = Counter(trial_id for trial_id, word, _ in calls(paths) if word == "begin")
    assert len(begun) == 8 and all(begun[trial_id] == 1 for trial_id in settled)


def test_killed_driver_takes_its_workers_along(drive: Drive, paths: ProjectPaths) -> None:
    """kill -9 of the driver leaves no worker behind."""
    process = drive("--seeds", "8", report_s=0.1)
    wait_for(paths, 2)
    process.kill()
    process.communicate()
    wait_until_gone({int(pid) for _, _, pid in calls(paths)})


def test_two_drivers(drive: Drive, paths: ProjectPaths) -> None:
    """A second driver of the same study is told who runs it, and does nothing."""
    first = drive("--seeds", "2", report_s=30.0)
    wait_for(paths, 1)
    second = drive("--seeds", "2")
    _, errors = second.communicate()
    assert second.returncode == 2
    assert f"study small is being run by process {first.pid}" in errors
    assert "Traceback" not in errors


def test_common_cause_ends_the_command(drive: Drive, paths: ProjectPaths) -> None:
    """The trace is shown once and the exit code is 1."""
    process = drive("--models", "raising", "--seeds", "9", "--journals-only")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.count("RuntimeError: the fake trainer raises") == 2  # in the message, and at the end of the trace
    records = read_journals(paths, "small")
    # Three decide; each of the two workers may have begun one more before the driver had read of the third.
    assert 3 <= sum(record.status is Status.FAILED for record in records) <= 5
    assert len(records) <= 5


def test_missing_data_ends_the_command(drive: Drive) -> None:
    """Data that is not there is exit code 2 and one message."""
    process = drive("--data", "missing")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.strip() == "loglog: data set 'missing' is not there (try: make data NAME=missing)"

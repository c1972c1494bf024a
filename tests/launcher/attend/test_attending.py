"""Looking at a sweep, stopping it and giving it another go, from another terminal, with a driver and without."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.attend import attending as attend
from launcher.drive import driver_lock, requests_file
from launcher.drive.driver_lock import is_driven
from launcher.drive.driver_note import read_note
from launcher.drive.requests_file import Ask
from sweeps.errors import StudyError
from sweeps.record import Status
from tests.clusters.private_slurm import PrivateSlurm
from tests.launcher.driven import calls, wait_for, wait_until_gone
from tracking.journal import read_journals
from tracking.ledger import load_records
from tracking.paths import ProjectPaths

Drive = Callable[..., "subprocess.Popen[str]"]


def cells(capsys: pytest.CaptureFixture[str], paths: ProjectPaths) -> dict[str, int]:
    """Returns the runs by state, as make status tells programs."""
    capsys.readouterr()
    assert attend.show_status(paths, "small", as_json=True) == 0
    answer = json.loads(capsys.readouterr().out)
    return {name: count for name, count in answer["cells"].items() if count}


def test_nothing_was_run(paths: ProjectPaths) -> None:
    """A study that nobody has run is a mistake of the person typing."""
    with pytest.raises(StudyError, match="nothing of study small has been run here"):
        attend.show_status(paths, "small", as_json=False)


def test_status_and_stop_of_a_running_sweep(
    drive: Drive, paths: ProjectPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it runs every run is counted once; stop ends driver and workers, and the same command goes on."""
    words = ("--seeds", "8", "--journals-only")
    process = drive(*words, report_s=0.3)
    wait_for(paths, 2)
    deadline = time.monotonic() + 20.0
    while (note := read_note(paths.study_dir("small"))) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert note is not None and note.runs == 8
    found = cells(capsys, paths)
    assert sum(found.values()) == 8 and found["running"] == 2, found
    attend.show_status(paths, "small", as_json=False)
    printed = capsys.readouterr().out
    assert f"driven by process {process.pid}" in printed and "2 running" in printed
    assert attend.stop(paths, "small", as_json=False) == 0
    _, errors = process.communicate()
    assert process.returncode == 1 and "stopped by make stop" in errors
    wait_until_gone({int(pid) for _, _, pid in calls(paths)})
    assert not is_driven(paths.study_dir("small"))
    again = drive(*words, "--json")
    out, errors = again.communicate()
    assert again.returncode == 0, errors
    assert all(record.is_settled for record in read_journals(paths, "small")) and json.loads(out)["runs"]["total"] == 8


def test_retry_reaches_a_running_driver(drive: Drive, paths: ProjectPaths, capsys: pytest.CaptureFixture[str]) -> None:
    """What ran out of memory is given another go by the driver that runs."""
    process = drive("--models", "greedy", "steady", "--seeds", "4", "--journals-only", report_s=0.5)
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        greedy = [r for r in read_journals(paths, "small") if r.status is Status.OUT_OF_MEMORY]
        if len(greedy) == 4:
            break
        time.sleep(0.1)
    assert attend.retry(paths, "small", as_json=False) == 0
    assert "another go" in capsys.readouterr().out
    process.communicate()
    greedy = [r for r in read_journals(paths, "small") if r.status is Status.OUT_OF_MEMORY]
    assert {record.attempts for record in greedy} == {2}


def test_out_of_memory_is_run_again_only_when_asked(
    drive: Drive, paths: ProjectPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next command leaves it alone; after make retry it is owed, once."""
    words = ("--models", "greedy", "--journals-only")
    for attempts in (1, 1):
        drive(*words).communicate()
        assert [record.attempts for record in read_journals(paths, "small")] == [attempts]
    assert cells(capsys, paths) == {"out_of_memory": 1}
    attend.retry(paths, "small", as_json=False)
    assert "1 that ran out of memory" in capsys.readouterr().out
    assert [record.is_settled for record in load_records(paths, "small")] == [False]
    for _ in range(2):
        drive(*words).communicate()
        assert [record.attempts for record in read_journals(paths, "small")] == [2]


def test_watch_ends_when_nothing_moves(drive: Drive, paths: ProjectPaths, capsys: pytest.CaptureFixture[str]) -> None:
    """It follows a sweep to its end and says each new state once."""
    drive("--seeds", "3", "--journals-only", report_s=0.2)
    wait_for(paths, 1)
    assert attend.watch(paths, "small", as_json=True) == 0
    states = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(states) >= 2 and states[-1]["cells"]["finished"] == 3 and states[-1]["driver"] is None


def test_spend_is_kept_by_the_command(drive: Drive, paths: ProjectPaths) -> None:
    """A cap that holds two of three runs leaves the third to a larger one."""
    unit = 1.0
    process = drive("--seeds", "1", "--epochs", "1", "--journals-only", "--json")
    process.communicate()
    (record,) = read_journals(paths, "small")
    unit = record.cost.core_hours
    drive("--models", "steady", "other", "third", "--journals-only", "--spend", str(2.5 * unit)).communicate()
    assert len(read_journals(paths, "small")) == 2


@pytest.mark.real
def test_a_driver_that_died_leaves_its_jobs_and_stop_takes_them_out(
    slurm: PrivateSlurm,
    drive: Drive,
    paths: ProjectPaths,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Queued and running packs are counted without a driver; stop empties Slurm's queue; the command then goes on."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    words = ("--models", "steady", "other", "--seeds", "12", "--cluster", "slurm", "--single", "--journals-only")
    process = drive(*words, report_s=1.0)
    wait_for(paths, 3)
    process.kill()
    process.communicate()
    found = cells(capsys, paths)
    assert found["running"] >= 2 and found["queued"] >= 1
    assert found["running"] + found["queued"] + found.get("finished", 0) == 24
    attend.show_status(paths, "small", as_json=False)
    assert "no driver: what is queued or trains goes on" in capsys.readouterr().out
    assert attend.stop(paths, "small", as_json=False) == 0
    assert "packs were taken out of Slurm's queue" in capsys.readouterr().out
    assert not slurm.squeue() or all(state == "COMPLETING" for _, state, _ in slurm.squeue())
    again = drive(*words)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert {record.status for record in read_journals(paths, "small")} == {Status.FINISHED}


def test_requests_are_taken_once(tmp_path: Path) -> None:
    """A request waits for its driver and is forgotten when it was taken."""
    requests_file.ask(tmp_path, Ask.STOP)
    assert requests_file.take(tmp_path) == {Ask.STOP} and not requests_file.take(tmp_path)


def test_a_driver_on_another_host_is_believed_while_it_counts(tmp_path: Path) -> None:
    """Where locks do not reach, a beat that goes on keeps a second driver out, and one that stands still does not."""
    (tmp_path / "driver.lock").write_text("process 1 on far\n")
    is_over = threading.Event()

    def beat() -> None:
        for count in range(1000):
            (tmp_path / "driver.beat").write_text(f"1 {count}\n")
            if is_over.wait(0.1):
                return

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        time.sleep(0.3)
        assert is_driven(tmp_path)
        with (
            pytest.raises(StudyError, match="is being run by process 1 on far"),
            driver_lock.driver_lock(tmp_path, "small"),
        ):
            pass
    finally:
        is_over.set()
        thread.join()
    with driver_lock.driver_lock(tmp_path, "small", watch_s=0.5):
        assert driver_lock.holder(tmp_path) != "process 1 on far"
    assert driver_lock.holder(tmp_path) is None and not is_driven(tmp_path)


def test_a_driver_on_another_host_that_died_long_ago_is_not_waited_for(tmp_path: Path) -> None:
    """An old beat is no sign of life, by the clock of the disk."""
    (tmp_path / "driver.lock").write_text("process 1 on far\n")
    (tmp_path / "driver.beat").write_text("1 7\n")
    os.utime(tmp_path / "driver.beat", (1.0, 1.0))
    assert not is_driven(tmp_path)
    begun_s = time.monotonic()
    with driver_lock.driver_lock(tmp_path, "small"):
        assert time.monotonic() - begun_s < driver_lock.WATCH_S / 2

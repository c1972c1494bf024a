import dataclasses
import json
import logging
import math
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.canonical import canonical_json
from sweeps.record import Outcome, Progress, Status
from tracking.attempt_file import file_name
from tracking.journal import JournalHeldError, join_curves, read_journals, repeated_steps
from tracking.paths import ProjectPaths

WRITER = """
import json, sys
from pathlib import Path
from sweeps.cost import Cost
from sweeps.record import Progress
from tracking.journal import JournalHeldError, start_attempt
from tracking.paths import ProjectPaths
from tracking.record_json import trial_from
cost = Cost(flops=1.0, core_hours=1.0, wall_hours=None, relative_spread=0.0)
sys.stdin.readline()
try:
    journal = start_attempt(ProjectPaths(root=Path(sys.argv[1])), sys.argv[2], trial_from(json.loads(sys.argv[3])),
                            cost=cost, budget_core_hours=None, code_version="c", device="d")
except JournalHeldError:
    print("held", flush=True)
else:
    journal.progress(Progress(step=7, images=7, train_loss=1.0, val_loss=None, wall_s=1.0))
    print("started", flush=True)
sys.stdin.readline()
"""


def writer(paths: ProjectPaths, made: Any, *, study: str) -> subprocess.Popen[str]:
    """A process that waits for a line, starts an attempt, and then holds it until it is killed."""
    words = [sys.executable, "-c", WRITER, str(paths.root), study, canonical_json(made.trial)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(process: subprocess.Popen[str]) -> None:
    """Lets a writer begin."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a writer."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(*processes: subprocess.Popen[str]) -> None:
    """Kills writers as the kernel does when memory runs out."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def journal_file(paths: ProjectPaths, made: Any, attempt: int = 1) -> Path:
    """The journal of an attempt at the made trial."""
    return paths.journal_dir(made.study) / file_name(made.trial.id, attempt)


@pytest.mark.parametrize("study", ["scale_model", "My study: 'a/b' \"c\"", "../up", "ä\n"])
def test_what_is_written_is_read(paths: ProjectPaths, made: Any, study: str) -> None:
    """A record holds what its attempt reported, whatever its study is called."""
    points = [made.progress(step) for step in (25, 50, 100)]
    with made.start(paths, study=study) as journal:
        for point in points:
            journal.progress(point)
        journal.end(made.outcome())
    (record,) = read_journals(paths, study)
    assert (record.trial, record.cost, record.budget_core_hours) == (made.trial, made.cost, 10_000.0)
    assert (record.curve, record.outcome, record.status) == (tuple(points), made.outcome(), Status.FINISHED)
    assert (record.attempts, record.code_version, record.device, record.tainted) == (1, "abc123", "cpu", False)
    assert record.ended_unix_s is not None
    assert 1.7e9 < record.started_unix_s <= record.ended_unix_s
    assert read_journals(paths, study, curves=False) == [dataclasses.replace(record, curve=(), attempt_step=None)]


def test_no_journals_are_no_records(paths: ProjectPaths, made: Any) -> None:
    """A study that never ran has no records, and reading makes no folder."""
    assert read_journals(paths, made.study) == []
    assert not paths.runs_dir.exists()


def test_a_held_journal_admits_no_second_attempt(paths: ProjectPaths, made: Any) -> None:
    """While a journal is open a trial cannot be started again; once it is closed it can, as the next attempt."""
    journal = made.start(paths)
    with pytest.raises(JournalHeldError, match=r"f3-e2-lr0\.8-s0 is being trained by another process"):
        made.start(paths)
    made.start(paths, seed=1).close()
    journal.close()
    journal.close()
    with made.start(paths) as second:
        assert second.attempt == 2
    assert sorted(record.attempts for record in read_journals(paths, made.study)) == [1, 2]


def test_a_closed_journal_takes_nothing(paths: ProjectPaths, made: Any) -> None:
    """Writing to a closed journal is an error, not a line in some other file."""
    journal = made.start(paths)
    journal.close()
    with pytest.raises(ValueError, match="is closed"):
        journal.progress(made.progress(25))
    with pytest.raises(ValueError, match="is closed"):
        journal.end(made.outcome())


def test_attempt_files_are_never_reopened(paths: ProjectPaths, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that appears after the look around is not written over."""
    made.start(paths).close()
    before = journal_file(paths, made).read_bytes()
    monkeypatch.setattr("tracking.journal.attempt_files", lambda folder: {})
    with pytest.raises(FileExistsError):
        made.start(paths)
    assert journal_file(paths, made).read_bytes() == before


def test_processes_that_race_start_one_attempt(paths: ProjectPaths, made: Any) -> None:
    """Of several processes that start the same trial at once, one trains it."""
    processes = [writer(paths, made, study=made.study) for _ in range(4)]
    for process in processes:
        tell(process)
    answers = sorted(said(process) for process in processes)
    (record,) = read_journals(paths, made.study)
    end(*processes)
    assert answers == ["held", "held", "held", "started"]
    assert (record.status, record.attempts) == (Status.RUNNING, 1)


def test_a_killed_writer_leaves_a_killed_run(paths: ProjectPaths, made: Any) -> None:
    """A run is running while its writer lives, and killed, with its points, from the moment of kill -9."""
    process = writer(paths, made, study=made.study)
    tell(process)
    assert said(process) == "started"
    (running,) = read_journals(paths, made.study)
    end(process)
    (killed,) = read_journals(paths, made.study)
    assert (running.status, killed.status) == (Status.RUNNING, Status.KILLED)
    assert [point.step for point in killed.curve] == [7]
    assert (killed.outcome, killed.ended_unix_s, killed.is_settled) == (None, None, False)
    with made.start(paths) as second:
        assert second.attempt == 2


def place(data: st.DataObject, content: bytes) -> int:
    """Any place in a file whose length, for the times in it, is not always the same."""
    return data.draw(st.integers(0, 10_000)) * len(content) // 10_000


@given(data=st.data())
def test_a_torn_journal_invents_nothing(made: Any, data: st.DataObject) -> None:
    """Cut at any byte, a journal tells the beginning of its story: no error, no outcome, no other point."""
    with tempfile.TemporaryDirectory() as folder:
        paths = ProjectPaths(root=Path(folder))
        with made.start(paths) as journal:
            for step in (25, 50):
                journal.progress(made.progress(step))
            journal.end(made.outcome())
        (whole,) = read_journals(paths, made.study)
        file = journal_file(paths, made)
        content = file.read_bytes()
        cut = place(data, content)
        file.write_bytes(content[:cut])
        lines = content[:cut].count(b"\n")
        found = read_journals(paths, made.study)
    assert len(found) == (lines > 0)
    for record in found:
        assert record.curve == whole.curve[: lines - 1]
        assert record.outcome == (whole.outcome if lines == 4 else None)
        assert record.status is (Status.FINISHED if lines == 4 else Status.KILLED)


@given(data=st.data())
def test_no_damage_stops_the_reading(made: Any, data: st.DataObject) -> None:
    """Whatever bytes are in a journal, reading it ends, and the other trials' records are there."""
    with tempfile.TemporaryDirectory() as folder:
        paths = ProjectPaths(root=Path(folder))
        made.start(paths, seed=1).close()
        with made.start(paths) as journal:
            journal.progress(made.progress(25))
            journal.end(made.outcome())
        file = journal_file(paths, made)
        content = file.read_bytes()
        at = place(data, content)
        junk = data.draw(st.binary(max_size=6) | st.sampled_from([b"\n", b"null\n", b"{}\n", b"[]\n", b"\n1\n"]))
        file.write_bytes(content[:at] + junk + content[at + len(junk) :])
        logging.disable(logging.WARNING)
        try:
            found = read_journals(paths, made.study)
        finally:
            logging.disable(logging.NOTSET)
    assert 1 in [record.trial.seed for record in found]


def test_a_damaged_line_is_a_warning(paths: ProjectPaths, made: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Damage in the middle costs that line and a warning that names the file."""
    with made.start(paths) as journal:
        for step in (25, 50, 75):
            journal.progress(made.progress(step))
        journal.end(made.outcome())
    lines = journal_file(paths, made).read_bytes().split(b"\n")
    lines[2] = lines[2][:-9]
    journal_file(paths, made).write_bytes(b"\n".join(lines))
    (record,) = read_journals(paths, made.study)
    assert [point.step for point in record.curve] == [25, 75]
    assert record.outcome == made.outcome()
    (warning,) = caplog.messages
    assert journal_file(paths, made).name in warning
    assert "1 damaged, first line 3" in warning


@pytest.mark.parametrize("first", [b"garbage", b'{"event":"started"}', b'{"event":"started","trial":[]}', b"[]"])
def test_a_damaged_start_passes_over_the_attempt(
    paths: ProjectPaths, made: Any, first: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that does not say what was started is passed over with a warning, and its number is not used again."""
    with made.start(paths) as journal:
        journal.end(made.outcome())
    lines = journal_file(paths, made).read_bytes().split(b"\n")
    journal_file(paths, made).write_bytes(b"\n".join([first, *lines[1:]]))
    assert read_journals(paths, made.study) == []
    assert "it is passed over" in caplog.messages[0]
    with made.start(paths) as second:
        assert second.attempt == 2


def test_other_files_are_passed_over(paths: ProjectPaths, made: Any) -> None:
    """What a person or an editor leaves among the journals is not read."""
    made.start(paths).close()
    for name in ("notes.txt", "abc.1.jsonl~", ".abc.1.jsonl.swp", "abc.jsonl", "abc.0.jsonl"):
        (paths.journal_dir(made.study) / name).write_text("nothing\n")
    assert len(read_journals(paths, made.study)) == 1


def test_no_number_is_null(paths: ProjectPaths, made: Any) -> None:
    """NaN and infinity never reach the file; where a number may be missing it is missing, else it is NaN."""
    with made.start(paths) as journal:
        journal.progress(made.progress(25, train_loss=math.inf, val_loss=math.nan))
        journal.end(made.outcome(Status.DIVERGED, train_loss=math.nan, val_loss=-math.inf))
    text = journal_file(paths, made).read_text()
    for line in text.splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} in a journal"))
    (record,) = read_journals(paths, made.study)
    assert math.isnan(record.curve[0].train_loss)
    assert record.curve[0].val_loss is None
    assert record.outcome == made.outcome(Status.DIVERGED)
    assert (record.status, record.val_loss) == (Status.DIVERGED, None)


def test_two_attempts_fold_into_one_record(paths: ProjectPaths, made: Any) -> None:
    """A resumed run has one curve, the later attempt's from its first step on, and the outcome of the end."""
    with made.start(paths) as first:
        for step in (25, 50, 75, 100):
            first.progress(made.progress(step))
    with made.start(paths) as second:
        for step in (75, 125):
            second.progress(made.progress(step, train_loss=9.0))
        second.end(made.outcome())
    (record,) = read_journals(paths, made.study)
    assert [(point.step, point.train_loss == 9.0) for point in record.curve] == [
        (25, False),
        (50, False),
        (75, True),
        (125, True),
    ]
    assert (record.attempts, record.status, record.outcome) == (2, Status.FINISHED, made.outcome())


@pytest.mark.parametrize("status", [Status.FINISHED, Status.DIVERGED])
def test_nothing_unsettles_a_settled_run(paths: ProjectPaths, made: Any, status: Status) -> None:
    """A settled run cannot be started again, by whoever did not know that it is."""
    with made.start(paths) as first:
        first.progress(made.progress(25))
        first.end(made.outcome(status))
    before = read_journals(paths, made.study)
    with pytest.raises(JournalHeldError, match="trained to its end already"):
        made.start(paths)
    assert read_journals(paths, made.study) == before


def test_a_failed_attempt_is_followed_by_the_next(paths: ProjectPaths, made: Any) -> None:
    """The last attempt says how a run stands; the outcome is that of the last attempt that has one."""
    with made.start(paths) as first:
        first.end(made.outcome(Status.FAILED))
    made.start(paths).close()
    (record,) = read_journals(paths, made.study)
    assert (record.status, record.attempts, record.ended_unix_s) == (Status.KILLED, 2, None)
    assert record.outcome == made.outcome(Status.FAILED)
    assert not record.is_settled


def test_steps_taken_over_are_told_only_where_there_are_any(paths: ProjectPaths, made: Any) -> None:
    """They come back with each point and the outcome; a run that took none over is written as ever."""
    with made.start(paths) as shared:
        shared.progress(made.progress(150, shared_steps=102))
        shared.end(made.outcome(shared_steps=102))
    with made.start(paths, seed=1) as plain:
        plain.progress(made.progress(150))
        plain.end(made.outcome())
    assert b"shared_steps" not in plain.path.read_bytes()
    by_seed = {record.trial.seed: record for record in read_journals(paths, made.study)}
    assert [by_seed[seed].shared_steps for seed in (0, 1)] == [102, 0]
    assert by_seed[0].curve == (made.progress(150, shared_steps=102),)
    assert by_seed[0].outcome == made.outcome(shared_steps=102)


def test_what_was_saved_is_counted_though_a_later_attempt_failed(paths: ProjectPaths, made: Any) -> None:
    """It had saved at step 190 without a report there; the next attempt raised before its own first one."""
    with made.start(paths) as saving:
        saving.progress(made.progress(100))
        saving.end(made.outcome(Status.KILLED, steps=190))
    with made.start(paths) as failing:
        failing.end(made.outcome(Status.FAILED, steps=0))
    (record,) = read_journals(paths, made.study)
    # 90 steps behind the last report, and the 10 that were left to the attempt that raised.
    assert (record.steps_done, record.repeated_steps, record.unseen_steps) == (100, 0, 100)


def test_what_dies_in_silence_is_counted_as_far_as_its_next_report(paths: ProjectPaths, made: Any) -> None:
    """Of 200 steps the report behind 100 is the one at 141; a later attempt that gets further changes nothing."""
    with made.start(paths) as dying:
        dying.progress(made.progress(100))
    with made.start(paths) as finishing:
        finishing.progress(made.progress(200))
        finishing.end(made.outcome())
    (record,) = read_journals(paths, made.study)
    assert (record.steps_done, record.unseen_steps) == (200, 41)


ATTEMPT = st.tuples(st.sampled_from(["checkpoint", "milestone", "start"]), st.integers(1, 40), st.integers(0, 5))


@given(attempts=st.lists(ATTEMPT, min_size=1, max_size=6))
def test_no_step_that_was_paid_for_is_forgotten(attempts: list[tuple[str, int, int]]) -> None:
    """Steps done, less those taken over, plus those repeated, are what all attempts have trained themselves."""
    curves: list[list[Progress]] = []
    paid, reached, shared = 0, 0, 0
    for where, count, back in attempts:
        match where:
            case "checkpoint":  # never before the milestone that the run took over
                begin = max(reached - back, shared)
            case "milestone":
                begin = shared = 50
            case _:
                begin = shared = 0
        # Every step is reported, so that it is known where an attempt began.
        steps = range(begin + 1, begin + count + 1)
        curves.append(
            [
                Progress(step=step, images=step, train_loss=0.0, val_loss=None, wall_s=0.0, shared_steps=shared)
                for step in steps
            ]
        )
        paid, reached = paid + count, begin + count
    assert reached - shared + repeated_steps(curves) == paid


@given(curves=st.lists(st.lists(st.integers(0, 30), unique=True, max_size=8).map(sorted), max_size=4))
def test_joined_curves_are_in_order(curves: list[list[int]]) -> None:
    """A joined curve rises in step, ends as the last attempt does, and holds only what no later one reached back to."""
    runs = [
        [Progress(step=step, images=number, train_loss=0.0, val_loss=None, wall_s=0.0) for step in steps]
        for number, steps in enumerate(curves)
    ]
    joined = join_curves(runs)
    expected = [
        point
        for number, run in enumerate(runs)
        for point in run
        if all(point.step < later[0].step for later in runs[number + 1 :] if later)
    ]
    assert list(joined) == expected
    assert [point.step for point in joined] == sorted({point.step for point in joined})


def test_outcomes_are_on_the_disk_when_end_returns(
    paths: ProjectPaths, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start and an end are synced, the folder at the creation too; points are not synced one by one."""
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    counts: list[int] = []
    with made.start(paths) as journal:
        counts.append(len(synced))
        for step in range(1, 20):
            journal.progress(made.progress(step))
        before_end = len(synced)
        journal.end(made.outcome())
    assert counts == [2]
    assert len(synced) == before_end + 1
    assert before_end - 2 < 19


def test_an_outcome_needs_every_field(paths: ProjectPaths, made: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An end that lacks a field, or has a status nobody knows, is no outcome."""
    for seed, change in enumerate(({"status": "splendid"}, {"steps": None})):
        with made.start(paths, seed=seed) as journal:
            path = journal.path
        event = {"event": "ended", **dict.fromkeys(Outcome.__dataclass_fields__), "unix_s": 1.0, **change}
        if event["steps"] is None:
            del event["steps"]
        with path.open("a") as file:
            file.write(json.dumps(event) + "\n")
    assert [record.status for record in read_journals(paths, made.study)] == [Status.KILLED] * 2
    assert len(caplog.messages) == 2

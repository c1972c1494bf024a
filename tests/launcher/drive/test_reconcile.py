from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.contract.backend import Backend, Broken, Ended, Event, Held, Lost, Moved, Order, Started, Task
from launcher.drive.open_backend import open_backend
from launcher.drive.reconcile import MAX_HELD_WAITS, Settlement, Surroundings, SweepStopped, run
from launcher.drive.requests_file import Ask
from launcher.drive.retries import GIVE_UP_AFTER
from launcher.drive.spending import SpendLedger
from launcher.settings.request import InlineCluster, LocalCluster
from launcher.show.progress import SilentView
from launcher.show.tally import Tally
from sweeps.errors import StudyError
from sweeps.record import MAX_ATTEMPTS, Outcome, Progress, RunRecord, Status
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]
MakeOrder = Callable[..., Order]
Reconcile = Callable[..., Settlement]

CLUSTERS_HERE = {"inline": InlineCluster(), "local": LocalCluster(workers=2)}


@pytest.fixture
def settled() -> list[str]:
    """The ids that the loop called settled, in order."""
    return []


@pytest.fixture
def reconcile(settled: list[str]) -> Reconcile:
    """Runs tasks one by one as packs, nobody watching."""

    def go(
        tasks: Sequence[Task],
        backend: Backend,
        *,
        known: Callable[[str], RunRecord | None] = lambda trial_id: None,
        cap_core_hours: float | None = None,
        asked: Sequence[set[Ask]] = (),
    ) -> Settlement:
        asks = list(asked)
        around = Surroundings(
            tally=Tally(pending=tasks, runs=len(tasks), core_hours=1.0),
            view=SilentView(),
            ledger=SpendLedger(cap_core_hours),
            on_settled=settled.append,
            known=known,
            asked=lambda: asks.pop(0) if asks else set(),
        )
        return run([(task,) for task in tasks], backend, around)

    return go


class ScriptedBackend:
    """Answers every submission with the next of its scripted sequences of events."""

    silence = None

    def __init__(self, *answers: Callable[[str], Sequence[Event]]) -> None:
        self._answers = list(answers)
        self._events: list[Event] = []
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.is_stopped = False

    def submit(self, tasks: Sequence[Task]) -> str:
        """Notes the tasks and their scripted events."""
        for task in tasks:
            self.submitted.append(task.trial.id)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            self._events += answer(task.trial.id)
        return "job"

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns the events at once."""
        events, self._events = self._events, []
        return events

    def cancel(self, job: str) -> None:
        """Notes the job; what was to come of it does not come."""
        self.cancelled.append(job)
        self._events.clear()

    def logs(self, job: str) -> str:
        """Is not part of any script."""
        raise NotImplementedError

    def underway(self) -> Sequence[Task]:
        """Returns nothing."""
        return ()

    def stop(self) -> None:
        """Notes that it was stopped."""
        self.is_stopped = True

    def close(self) -> None:
        """Does nothing."""


class SteppingBackend(ScriptedBackend):
    """Tells one event a poll, so that the driver can act between two."""

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """Returns the next event."""
        told, self._events = self._events[:1], self._events[1:]
        return told


def start(trial_id: str) -> Started:
    """Returns the start of an attempt."""
    return Started(trial_id=trial_id, worker="worker-0", is_compiling=False)


def end(trial_id: str, status: Status = Status.FINISHED, error: str | None = None) -> Ended:
    """Returns the end of an attempt."""
    loss = 1.0 if status is Status.FINISHED else None
    outcome = Outcome(
        status=status,
        steps=1,
        val_loss=loss,
        selection_loss=loss,
        train_loss=loss,
        wall_s=1.0,
        compile_s=0.0,
        error=error,
    )
    return Ended(trial_id=trial_id, outcome=outcome)


def finishing(trial_id: str) -> Sequence[Event]:
    """A trial that runs well."""
    return start(trial_id), end(trial_id)


def losing(trial_id: str) -> Sequence[Event]:
    """A trial that kills its worker."""
    return start(trial_id), Lost(trial_id=trial_id, reason="killed")


def beginning_again(trial_id: str) -> Sequence[Event]:
    """A trial whose job dies without a word and is begun again by the cluster itself."""
    return start(trial_id), moved(trial_id, 4), start(trial_id), moved(trial_id, 8), end(trial_id)


def moved(trial_id: str, step: int) -> Moved:
    """Returns a point of a trial's curve."""
    point = Progress(step=step, images=8 * step, train_loss=1.0, val_loss=None, wall_s=1.0)
    return Moved(trial_id=trial_id, progress=point)


def holding(trial_id: str) -> Sequence[Event]:
    """A trial whose journal another process writes."""
    return (Held(trial_id=trial_id),)


@pytest.mark.parametrize(("cap", "finished"), [(1.5, 0), (2.0, 1)])
def test_a_job_that_is_begun_again_is_taken_back_where_the_cap_does_not_hold_it(
    make_tasks: MakeTasks, reconcile: Reconcile, cap: float, finished: int
) -> None:
    """Half of the run is paid for when it begins afresh: a cap of one and a half runs does not hold another whole."""
    (task,) = make_tasks()
    backend = SteppingBackend(beginning_again)
    result = reconcile((task,), backend, cap_core_hours=cap * task.cost.core_hours)
    assert (result.finished, backend.cancelled) == (finished, [] if finished else ["job"])
    assert len(result.left) == 1 - finished and all("its job was taken back" in line for line in result.left)


def test_what_runs_for_an_earlier_driver_is_tried_again_as_it_was_paid_for(
    make_tasks: MakeTasks, reconcile: Reconcile
) -> None:
    """The plan of now may share other steps; price and promise are those of the task that was handed in."""
    (task,) = make_tasks()
    earlier = replace(task, shared_steps=2)
    handed_in: list[Task] = []

    class Noting(ScriptedBackend):
        def submit(self, tasks: Sequence[Task]) -> str:
            handed_in.extend(tasks)
            return super().submit(tasks)

        def underway(self) -> Sequence[Task]:
            return (earlier,)

    backend = Noting(lambda trial_id: [start(trial_id), end(trial_id, Status.FAILED, "no luck")], finishing)
    assert reconcile((task,), backend).finished == 1
    assert handed_in == [earlier, earlier]


@pytest.mark.parametrize("name", ["inline", "local"])
def test_mixed_sweep(
    name: str,
    make_tasks: MakeTasks,
    make_order: MakeOrder,
    paths: ProjectPaths,
    reconcile: Reconcile,
    settled: list[str],
) -> None:
    """Good, diverging, failing and killing trials are all settled in one go, each with its own record."""
    models = ["steady", "diverging", "raising"] + (["deadly_once"] if name == "local" else [])
    tasks = [task for model in models for task in make_tasks(model)]
    with open_backend(CLUSTERS_HERE[name], make_order(paths)) as backend:
        result = reconcile(tasks, backend)
    assert result == Settlement(finished=len(models) - 2, diverged=1, failed=("raising-e1-lr0.1-s0",), left=())
    records = {record.trial.model: record for record in read_journals(paths, "small")}
    assert {model for model, record in records.items() if not record.is_settled} == {"raising"}
    assert records["raising"].attempts == MAX_ATTEMPTS
    assert Counter(settled) == {task.trial.id: 1 for task in tasks}


def test_common_cause_stops(
    make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, reconcile: Reconcile
) -> None:
    """When the first three trials fail alike, the sweep stops with that one trace and runs nothing more."""
    with open_backend(InlineCluster(), make_order(paths)) as backend, pytest.raises(SweepStopped) as caught:
        reconcile(make_tasks("raising", seeds=9), backend)
    message = str(caught.value)
    assert "first 3 runs all failed with 'RuntimeError: the fake trainer raises'" in message
    assert message.count("Traceback") == 1 and "same command again" in message
    records = read_journals(paths, "small")
    assert len(records) == 3
    assert all(record.status is Status.FAILED and not record.is_settled for record in records)


def test_different_causes_do_not_stop(
    make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, reconcile: Reconcile
) -> None:
    """Failures of different causes are recorded, each tried three times, and the sweep goes on."""
    with open_backend(InlineCluster(), make_order(paths)) as backend:
        result = reconcile((*make_tasks("raising_apart", seeds=4), *make_tasks("steady")), backend)
    assert len(result.failed) == 4 and result.finished == 1


def test_a_success_rules_out_a_common_cause(
    make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, reconcile: Reconcile
) -> None:
    """Trials that fail alike after one has finished do not stop the others."""
    with open_backend(InlineCluster(), make_order(paths)) as backend:
        result = reconcile((*make_tasks("steady"), *make_tasks("raising", seeds=4)), backend)
    assert result.finished == 1 and len(result.failed) == 4


def test_a_failed_trial_is_tried_again_by_the_next_command(
    make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, reconcile: Reconcile
) -> None:
    """Whatever failed is owed to the next command, with all its attempts: its cause may have been mended."""
    tasks = make_tasks("raising")
    for command in (1, 2):
        with open_backend(InlineCluster(), make_order(paths)) as backend:
            assert reconcile(tasks, backend).failed == (tasks[0].trial.name,)
        (record,) = read_journals(paths, "small")
        assert record.attempts == command * MAX_ATTEMPTS


def test_deadly_trial_is_left(
    make_tasks: MakeTasks, reconcile: Reconcile, settled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial under which workers keep dying is not settled, but left to the next command with the reason."""
    monkeypatch.setattr("launcher.drive.retries.FIRST_PAUSE_S", 0.01)
    backend = ScriptedBackend(losing)
    result = reconcile(make_tasks(), backend)
    assert len(backend.submitted) == GIVE_UP_AFTER
    assert not settled
    assert result.left == (f"steady-e1-lr0.1-s0: {GIVE_UP_AFTER} workers died under it (killed)",)


def test_held_trial_is_not_started_twice(
    make_tasks: MakeTasks, reconcile: Reconcile, settled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that another process is training is waited for; what that process recorded settles it."""
    monkeypatch.setattr("launcher.drive.reconcile.HELD_WAIT_S", 0.0)
    monkeypatch.setattr("launcher.drive.reconcile.POLL_S", 0.0)
    (task,) = make_tasks()
    record = RunRecord(
        trial=task.trial,
        cost=task.cost,
        budget_core_hours=1.0,
        status=Status.FINISHED,
        outcome=end(task.trial.id).outcome,
        curve=(),
        attempts=1,
        code_version="test",
        device="cpu",
        started_unix_s=0.0,
        ended_unix_s=1.0,
    )
    looks = 0

    def known(trial_id: str) -> RunRecord | None:
        nonlocal looks
        looks += 1
        return record if looks >= 3 else None

    result = reconcile((task,), ScriptedBackend(holding), known=known)
    assert settled == [task.trial.id]
    assert result.finished == 0 and not result.left


def test_held_trial_is_taken_when_free(
    make_tasks: MakeTasks, reconcile: Reconcile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the other process is gone without a result, the trial runs here."""
    monkeypatch.setattr("launcher.drive.reconcile.HELD_WAIT_S", 0.0)
    monkeypatch.setattr("launcher.drive.reconcile.POLL_S", 0.0)
    assert reconcile(make_tasks(), ScriptedBackend(holding, holding, finishing)).finished == 1


def test_forever_held_trial_is_left(
    make_tasks: MakeTasks, reconcile: Reconcile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that stays held ends in a line for the user, not in a command that hangs."""
    monkeypatch.setattr("launcher.drive.reconcile.HELD_WAIT_S", 0.0)
    monkeypatch.setattr("launcher.drive.reconcile.POLL_S", 0.0)
    backend = ScriptedBackend(holding)
    result = reconcile(make_tasks(), backend)
    assert len(backend.submitted) == MAX_HELD_WAITS
    assert result.left == ("steady-e1-lr0.1-s0: another process is still writing its journal",)


def test_missing_data_stops(
    make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, reconcile: Reconcile
) -> None:
    """Missing data is the user's to mend, before anything is recorded."""
    with (
        open_backend(LocalCluster(workers=2), make_order(paths)) as backend,
        pytest.raises(StudyError, match="make data NAME=missing"),
    ):
        reconcile(make_tasks(data="missing", seeds=3), backend)
    assert not read_journals(paths, "small")


def test_worker_that_cannot_start_stops(
    make_tasks: MakeTasks,
    make_order: MakeOrder,
    paths: ProjectPaths,
    reconcile: Reconcile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that falls over before it is ready ends the sweep with the end of its log."""
    (tmp_path / "broken_trainer.py").write_text("raise OSError('no such accelerator')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        open_backend(LocalCluster(workers=1), make_order(paths, trainer="broken_trainer:train")) as backend,
        pytest.raises(SweepStopped, match="no such accelerator"),
    ):
        reconcile(make_tasks(), backend)


def test_unknown_trainer_is_refused(
    make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, reconcile: Reconcile
) -> None:
    """A trainer that does not exist is one message."""
    with (
        open_backend(LocalCluster(workers=1), make_order(paths, trainer="fake_trainer:trian")) as backend,
        pytest.raises(StudyError, match="write module:function"),
    ):
        reconcile(make_tasks(), backend)


def test_broken_back_end_stops(make_tasks: MakeTasks, reconcile: Reconcile) -> None:
    """A back end that can run nothing says why."""
    with pytest.raises(SweepStopped, match="no worker can be started: no cores"):
        reconcile(make_tasks(), ScriptedBackend(lambda _: (Broken(reason="no cores"),)))


def test_a_worker_that_died_after_the_last_line_of_its_journal_is_not_repeated(
    make_tasks: MakeTasks, make_order: MakeOrder, paths: ProjectPaths, reconcile: Reconcile
) -> None:
    """A trial whose journal is complete is settled, also when the worker could not tell so any more."""
    (task,) = make_tasks("steady")
    with open_backend(InlineCluster(), make_order(paths)) as backend:
        reconcile((task,), backend)
    (before,) = read_journals(paths, "small")
    lost = ScriptedBackend(lambda trial_id: [Lost(trial_id=trial_id, reason="killed")])
    reconcile((task,), lost, known=lambda trial_id: before)
    assert read_journals(paths, "small") == [before]

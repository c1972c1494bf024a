"""One list of behaviours that every back end shows."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.contract.backend import Backend, Ended, Event, Lost, Moved, Order, Refused, Started, Task
from launcher.drive.open_backend import open_backend
from launcher.settings.request import LocalCluster
from sweeps.record import Status
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

OpenAny = Callable[[Order], Backend]
MakeTasks = Callable[..., tuple[Task, ...]]
MakeOrder = Callable[..., Order]
Follow = Callable[..., list[Event]]

ODD_FOLDER = "a space, a 'quote\" ; echo foo,\na newline, über %41 $HOME"


def ended(events: list[Event]) -> list[Ended]:
    """Returns the ends among the events."""
    return [event for event in events if isinstance(event, Ended)]


def test_success(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A trial is started, moves, ends as finished, and its journal says the same as its events."""
    (task,) = make_tasks()
    backend = open_any(make_order(paths))
    backend.submit((task,))
    events = follow(backend)
    assert isinstance(events[0], Started) and events[0].is_compiling and events[0].worker
    assert [type(event) for event in events[1:-1]] == [Moved] * 6
    (end,) = ended(events)
    assert end.outcome.status is Status.FINISHED
    (record,) = read_journals(paths, "small")
    assert record.outcome == end.outcome and record.attempts == 1 and record.cost == task.cost
    assert record.trial == task.trial and record.budget_core_hours == 10.0 and record.code_version == "test"


def test_exception(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """An exception of the trainer ends the attempt as failed, with its traceback, and the next task runs."""
    backend = open_any(make_order(paths))
    backend.submit(make_tasks("raising"))
    (end,) = ended(follow(backend))
    assert end.outcome.status is Status.FAILED
    assert end.outcome.error is not None
    assert end.outcome.error.strip().endswith("RuntimeError: the fake trainer raises")
    backend.submit(make_tasks("steady"))
    assert ended(follow(backend))[0].outcome.status is Status.FINISHED


def test_divergence(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A diverged run ends as such, without a loss."""
    backend = open_any(make_order(paths))
    backend.submit(make_tasks("diverging"))
    (end,) = ended(follow(backend))
    assert end.outcome.status is Status.DIVERGED and end.outcome.val_loss is None


def test_resubmit(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A task that failed may be submitted again: its second attempt is journalled as such."""
    backend = open_any(make_order(paths))
    for _ in range(2):
        backend.submit(make_tasks("raising"))
        follow(backend)
    (record,) = read_journals(paths, "small")
    assert record.attempts == 2 and record.status is Status.FAILED


def test_cancel(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """Of a cancelled job nothing is heard any more, and other jobs run."""
    tasks = make_tasks(seeds=5)
    backend = open_any(make_order(paths))
    cancelled = backend.submit(tasks[:4])
    backend.submit(tasks[4:])
    backend.cancel(cancelled)
    events = follow(backend)
    events += backend.poll(1.0)
    assert {event.trial_id for event in ended(events)} == {tasks[4].trial.id}


def test_log_text(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A job's log holds what its own tasks printed and nothing of other jobs; prints do not disturb the events."""
    backend = open_any(make_order(paths))
    steady = backend.submit(make_tasks("steady", seeds=2))
    raising = backend.submit(make_tasks("raising"))
    follow(backend, ends=3)
    assert backend.logs(steady).count("hello from steady-e1-lr0.1-s") == 2
    assert "raising" not in backend.logs(steady)
    assert "RuntimeError: the fake trainer raises" in backend.logs(raising)


def test_odd_paths(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, tmp_path: Path, follow: Follow
) -> None:
    """Spaces, quotes and newlines in the project's path change nothing."""
    paths = ProjectPaths(root=tmp_path / ODD_FOLDER)
    backend = open_any(make_order(paths))
    job = backend.submit(make_tasks())
    assert ended(follow(backend))[0].outcome.status is Status.FINISHED
    assert "hello from steady" in backend.logs(job)
    assert len(read_journals(paths, "small")) == 1


def test_thousand_packs(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A thousand packs are taken; the few that are not cancelled run once each, the others leave no word."""
    tasks, kept = make_tasks(seeds=1000), 12
    backend = open_any(make_order(paths))
    jobs = [backend.submit((task,)) for task in tasks]
    assert len(set(jobs)) == 1000
    events = list(backend.poll(0.0))
    for job in jobs[kept:]:
        backend.cancel(job)
    events += follow(backend, ends=kept - len(ended(events)))
    counts = Counter(event.trial_id for event in ended(events))
    assert counts == {task.trial.id: 1 for task in tasks[:kept]}
    assert not ended(list(backend.poll(0.0)))


def test_out_of_memory(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A trial that does not fit into memory ends as such, and the next one runs."""
    backend = open_any(make_order(paths))
    backend.submit(make_tasks("greedy"))
    (end,) = ended(follow(backend))
    assert end.outcome.status is Status.OUT_OF_MEMORY and "MemoryError" in (end.outcome.error or "")
    backend.submit(make_tasks("steady"))
    assert ended(follow(backend))[0].outcome.status is Status.FINISHED


def test_time_out(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A trial past its limit saves and is lost; handed in again it goes on from there, to the same loss as ever."""
    (task,) = make_tasks("slow")
    backend = open_any(make_order(paths))
    backend.submit((dataclasses.replace(task, limit_s=1.0),))
    lost = follow(backend, until=lambda event: isinstance(event, Lost))[-1]
    assert isinstance(lost, Lost) and "past its time limit of 1 s" in lost.reason
    (record,) = read_journals(paths, "small")
    assert record.status is Status.KILLED and 0 < record.curve[-1].step < task.trial.steps
    backend.submit((task,))
    (end,) = ended(follow(backend))
    (record,) = read_journals(paths, "small")
    assert record.attempts == 2 and len(record.curve) == 6
    assert end.outcome.val_loss == record.curve[-1].train_loss


def test_kill_9(
    backend_name: str,
    open_any: OpenAny,
    make_order: MakeOrder,
    make_tasks: MakeTasks,
    paths: ProjectPaths,
    follow: Follow,
) -> None:
    """A process that dies under its trial loses that one only: told as lost, or begun again by the cluster itself."""
    if backend_name == "inline":
        pytest.skip("the process is that of the tests")
    deadly, others = make_tasks("deadly_once"), make_tasks("steady", seeds=2)
    backend = open_any(make_order(paths))
    backend.submit(deadly)
    backend.submit(others)
    losses: list[str] = []
    settled: set[str] = set()

    def is_over(event: Event) -> bool:
        if isinstance(event, Lost):
            losses.append(event.trial_id)
            backend.submit(deadly)
        if isinstance(event, Ended):
            settled.add(event.trial_id)
        return len(settled) == 3

    follow(backend, until=is_over)
    assert losses in ([], [deadly[0].trial.id])
    records = {record.trial.id: record for record in read_journals(paths, "small")}
    assert {record.status for record in records.values()} == {Status.FINISHED}
    assert [records[task.trial.id].attempts for task in (*deadly, *others)] == [2, 1, 1]


def test_missing_data_is_refused(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """Data that is not there is one message for the user and no attempt of any trial."""
    backend = open_any(make_order(paths))
    backend.submit(make_tasks(data="missing"))
    (event,) = follow(backend, until=lambda event: isinstance(event, Refused))
    assert isinstance(event, Refused) and "make data NAME=missing" in event.message
    assert not read_journals(paths, "small")


def test_second_task_of_a_program_is_warm(
    open_any: OpenAny, make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A worker compiles a program once: other seeds, rates and horizons of the size are warm."""
    backend = open_any(make_order(paths))
    started: dict[str, list[bool]] = {}
    for tasks in (make_tasks(seeds=3), make_tasks(epochs=2.0)):
        backend.submit(tasks)
        for event in follow(backend, ends=len(tasks)):
            if isinstance(event, Started):
                started.setdefault(event.worker, []).append(event.is_compiling)
    assert all(flags == [True] + [False] * (len(flags) - 1) for flags in started.values())


def test_close_is_harmless_when_repeated(open_any: OpenAny, make_order: MakeOrder, paths: ProjectPaths) -> None:
    """Closing twice does nothing."""
    backend = open_any(make_order(paths))
    backend.close()
    backend.close()


def test_killed_worker_is_replaced(
    make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths, follow: Follow
) -> None:
    """A worker that dies in the middle of a pack loses that trial only; a fresh one runs the rest and the retry."""
    deadly, others = make_tasks("deadly_once"), make_tasks("steady", seeds=3)
    with open_backend(LocalCluster(workers=1), make_order(paths)) as backend:
        backend.submit((*deadly, *others))
        events = follow(backend, until=lambda event: isinstance(event, Lost))
        assert events[-1] == Lost(trial_id=deadly[0].trial.id, reason="worker-0 was killed by signal 9")
        backend.submit(deadly)
        ends = 4 - len(ended(events))
        events += follow(backend, ends=ends)
    records = {record.trial.id: record for record in read_journals(paths, "small")}
    assert {record.status for record in records.values()} == {Status.FINISHED}
    assert records[deadly[0].trial.id].attempts == 2

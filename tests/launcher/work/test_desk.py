"""The desk: how attempts end, are journalled, and are told."""

import errno
from collections.abc import Callable, Sequence

import pytest

from launcher.contract.backend import Ended, Event, Held, Lost, Order, Paused, Started, Stop, Task
from launcher.work.desk import SEPARATE, Desk
from launcher.work.failures import is_disk_trouble, is_out_of_memory
from sweeps.record import Progress, Status
from tracking.journal import AttemptJournal, read_journals, read_record
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]
MakeOrder = Callable[..., Order]
Run = Callable[..., list[Event]]


@pytest.fixture
def run(make_order: MakeOrder, paths: ProjectPaths) -> Run:
    """Runs tasks at one desk and returns what it says."""

    def go(tasks: Sequence[Task], *, should_stop: Callable[[], Stop | None] = lambda: None) -> list[Event]:
        events: list[Event] = []
        desk = Desk(make_order(paths), name="desk")
        for task in tasks:
            desk.run(task, events.append, should_stop=should_stop)
        return events

    return go


@pytest.fixture
def run_pack(make_order: MakeOrder, paths: ProjectPaths) -> Run:
    """Runs tasks as one pack and returns what the desk says."""

    def go(tasks: Sequence[Task], *, should_stop: Callable[[], Stop | None] = lambda: None) -> list[Event]:
        events: list[Event] = []
        desk = Desk(make_order(paths, packing="vmap"), name="desk")
        desk.run_pack(tasks, events.append, mode=desk.packing(tasks), should_stop=should_stop)
        return events

    return go


def stop_after(polls: int, stop: Stop) -> Callable[[], Stop | None]:
    """Returns a question that is answered with yes from the given time on."""
    asked = 0

    def ask() -> Stop | None:
        nonlocal asked
        asked += 1
        return stop if asked >= polls else None

    return ask


def test_making_room_saves_and_goes_on(run: Run, make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """A trial that has to leave is told with the step it saved, and the next attempt repeats nothing."""
    (task,) = make_tasks()
    events = run((task,), should_stop=stop_after(2, Stop.MAKE_ROOM))
    (paused,) = [event for event in events if isinstance(event, Paused)]
    (record,) = read_journals(paths, "small")
    assert record.status is Status.KILLED and not record.is_settled
    assert run((task,))[-1].outcome.status is Status.FINISHED  # type: ignore[union-attr]
    (record,) = read_journals(paths, "small")
    assert (record.attempts, record.repeated_steps, len(record.curve)) == (2, 0, 6)
    assert paused.saved_step > 0


def test_an_outrun_trial_is_stopped_for_good(run: Run, make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """It ends as stopped, without a loss, its checkpoint kept for a grid that wants it whole."""
    (task,) = make_tasks()
    (end,) = [e for e in run((task,), should_stop=stop_after(2, Stop.OUTRUN)) if isinstance(e, Ended)]
    assert end.outcome.status is Status.STOPPED and end.outcome.val_loss is None
    (record,) = read_journals(paths, "small")
    assert record.status is Status.STOPPED and record.val_loss is None and not record.is_settled
    assert list(paths.checkpoint_dir("small", task.trial.id).iterdir())


@pytest.mark.parametrize("moment", ["progress", "end"])
def test_a_full_disk_is_no_fault_of_the_trial(
    run: Run, make_tasks: MakeTasks, paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """While nothing can be journalled the attempt is lost, not failed; with room again it ends well."""

    def full(self: AttemptJournal, said: Progress) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (task,) = make_tasks()
    with monkeypatch.context() as patch:
        patch.setattr(AttemptJournal, moment, full)
        events = run((task,))
    assert isinstance(events[-1], Lost) and "No space left" in events[-1].reason
    record = read_record(paths, "small", task.trial.id)
    assert record is not None and record.status is Status.KILLED
    assert isinstance(run((task,))[-1], Ended)


@pytest.mark.parametrize(
    ("error", "is_memory", "is_disk"),
    [
        (MemoryError("too much"), True, False),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes"), True, False),
        (ValueError("No space left on device"), False, True),
        (OSError(errno.EDQUOT, "quota"), False, True),
        (OSError(errno.ENOENT, "no such file"), False, False),
        (ValueError("shapes do not fit"), False, False),
    ],
)
def test_errors_are_sorted(error: Exception, is_memory: bool, is_disk: bool) -> None:
    """Memory, disk and the trial's own mistakes are told apart, also behind other exceptions."""
    assert is_out_of_memory(error) == is_memory and is_disk_trouble(error) == is_disk
    outer = KeyError("checkpoint")
    outer.__cause__ = error
    assert is_disk_trouble(outer) == is_disk


def test_members_of_a_pack_are_journalled_each_for_itself(
    run_pack: Run, make_tasks: MakeTasks, paths: ProjectPaths
) -> None:
    """All start, each has its own curve, end and no checkpoint left; the losses are those of separate runs."""
    tasks = make_tasks(seeds=3)
    events = run_pack(tasks)
    assert [event.trial_id for event in events[:3] if isinstance(event, Started)] == [task.trial.id for task in tasks]
    assert {event.trial_id for event in events if isinstance(event, Ended)} == {task.trial.id for task in tasks}
    records = read_journals(paths, "small")
    assert len(records) == 3
    assert {(record.status, record.attempts, len(record.curve)) for record in records} == {(Status.FINISHED, 1, 6)}
    assert not any(paths.checkpoint_dir("small", task.trial.id).exists() for task in tasks)
    assert (paths.data_dir / "calls.txt").read_text().count("pack of 3") == 1


def test_a_pack_that_makes_room_pauses_every_member(run_pack: Run, make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """Each is told with its saved step, and goes on from there."""
    tasks = make_tasks(seeds=2)
    events = run_pack(tasks, should_stop=lambda: Stop.MAKE_ROOM)
    assert sorted(event.trial_id for event in events if isinstance(event, Paused)) == sorted(t.trial.id for t in tasks)
    assert sum(isinstance(event, Ended) for event in run_pack(tasks)) == 2
    assert {(record.attempts, record.repeated_steps) for record in read_journals(paths, "small")} == {(2, 0)}


def test_a_pack_that_gives_out_goes_on_one_by_one(run_pack: Run, make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """What breaks the pack is no trial's fault: each is tried by itself, and ends as it would."""
    tasks = make_tasks("too_many", seeds=2)
    events = run_pack(tasks)
    assert [event.outcome.status for event in events if isinstance(event, Ended)] == [Status.FINISHED] * 2
    assert not [event for event in events if isinstance(event, Lost)]
    assert {record.attempts for record in read_journals(paths, "small")} == {2}


def test_a_program_whose_pack_gave_out_is_not_packed_again(
    make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths
) -> None:
    """The next pack of it is trained separately from the start; other programs are packed."""
    desk, tasks = Desk(make_order(paths, packing="vmap"), name="desk"), make_tasks("too_many", seeds=2)
    assert desk.packing(tasks) == "vmap"
    desk.run_pack(tasks, lambda event: None, mode="vmap")
    assert desk.packing(tasks) == SEPARATE and desk.packing(make_tasks(seeds=2)) == "vmap"
    assert desk.packing(tasks[:1]) == SEPARATE


def test_a_full_disk_loses_the_pack_and_fails_nobody(
    run_pack: Run, make_tasks: MakeTasks, paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every member that had not ended is lost, and ends well with room again."""

    def full(self: AttemptJournal, said: Progress) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tasks = make_tasks(seeds=2)
    with monkeypatch.context() as patch:
        patch.setattr(AttemptJournal, "progress", full)
        assert [type(event) for event in run_pack(tasks)] == [Started, Started, Lost, Lost]
    assert sum(isinstance(event, Ended) for event in run_pack(tasks)) == 2


def test_a_member_that_another_process_holds_is_left_to_it(
    run: Run, run_pack: Run, make_tasks: MakeTasks, paths: ProjectPaths
) -> None:
    """The others are trained."""
    tasks = make_tasks(seeds=3)
    run(tasks[:1])
    events = run_pack(tasks)
    assert [event.trial_id for event in events if isinstance(event, Held)] == [tasks[0].trial.id]
    assert len([event for event in events if isinstance(event, Ended)]) == 2


def test_a_trainer_without_packs_trains_separately(
    make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths
) -> None:
    """A trainer of the user's own need not know of packs."""
    desk = Desk(make_order(paths, trainer="json:dumps", packing="vmap"), name="desk")
    assert desk.packing(make_tasks(seeds=2)) == SEPARATE

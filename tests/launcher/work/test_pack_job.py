"""What a job of a cluster does with its pack, the first time and again."""

import dataclasses
from collections.abc import Callable

import pytest

from launcher.contract.backend import Ended, Order, Refused, Started, Stop, Task
from launcher.contract.batch_folder import Batch, Inbox, write_batch
from launcher.work.desk import Desk
from launcher.work.pack_job import run_pack
from sweeps.record import Status
from tracking.code_version import code_version
from tracking.journal import read_journals
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]
MakeOrder = Callable[..., Order]


@pytest.fixture
def order(make_order: MakeOrder, paths: ProjectPaths) -> Order:
    """What the batches carry."""
    return make_order(paths)


def job(batch: Batch, *, should_stop: Callable[[], Stop | None] = lambda: None) -> bool:
    """Runs the first pack of a batch as its job does."""
    return run_pack(
        batch.folder,
        0,
        open_desk=lambda hosts: Desk(batch.order(), name="job", hosts=hosts),
        worker="job",
        should_stop=should_stop,
    )


def test_a_job_that_is_started_again_says_what_is_settled_and_runs_the_rest(
    order: Order, make_tasks: MakeTasks, paths: ProjectPaths
) -> None:
    """A requeued job trains nothing twice, and its driver hears of all its trials."""
    tasks = make_tasks(seeds=3)
    batch = write_batch(paths.root, order, [tasks], cluster="slurm")
    asked = 0

    def stop() -> Stop | None:
        nonlocal asked
        asked += 1
        return Stop.MAKE_ROOM if asked == 7 else None  # in the second trial

    assert not job(batch, should_stop=stop)
    assert job(batch)
    ended = [event.trial_id for _, event in Inbox(batch).read() if isinstance(event, Ended)]
    assert ended == [tasks[0].trial.id] * 2 + [tasks[1].trial.id, tasks[2].trial.id]
    assert sorted(record.attempts for record in read_journals(paths, "small")) == [1, 1, 2]


def test_out_of_memory_is_tried_again_where_it_is_asked_for(
    order: Order, make_tasks: MakeTasks, paths: ProjectPaths
) -> None:
    """A trial that ran out of memory and is in a pack again was forgiven: it is trained once more."""
    for attempts in (1, 2):
        batch = write_batch(paths.root, order, [make_tasks("greedy")], cluster="slurm")
        assert job(batch)
        (record,) = read_journals(paths, "small")
        assert record.status is Status.OUT_OF_MEMORY and record.attempts == attempts


def test_a_job_refuses_other_code(order: Order, make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """A checkout that has moved on since the submission is told, and nothing is trained."""
    pinned = dataclasses.replace(order, is_code_pinned=True, code_version="0123456789ab")
    batch = write_batch(paths.root, pinned, [make_tasks()], cluster="slurm")
    assert job(batch)
    events = [event for _, event in Inbox(batch).read()]
    (refused,) = [event for event in events if isinstance(event, Refused)]
    assert "0123456789ab" in refused.message and "same command again" in refused.message
    assert not [event for event in events if isinstance(event, Started)] and not read_journals(paths, "small")


def test_a_job_runs_on_the_code_it_was_submitted_for(order: Order, make_tasks: MakeTasks, paths: ProjectPaths) -> None:
    """The same version of the checkout is no reason to refuse."""
    pinned = dataclasses.replace(order, is_code_pinned=True, code_version=code_version())
    assert job(write_batch(paths.root, pinned, [make_tasks()], cluster="slurm"))
    assert read_journals(paths, "small")[0].status is Status.FINISHED


def test_a_job_trains_its_pack_together_where_that_is_faster(
    make_order: MakeOrder, make_tasks: MakeTasks, paths: ProjectPaths
) -> None:
    """Asked to make room it is paused whole; started again, it goes on as a pack with all that is left."""
    order = make_order(paths, packing="vmap")
    batch = write_batch(paths.root, order, [make_tasks(seeds=3)], cluster="slurm")
    assert not job(batch, should_stop=lambda: Stop.MAKE_ROOM)
    assert job(batch)
    assert [record.status for record in read_journals(paths, "small")] == [Status.FINISHED] * 3
    assert (paths.data_dir / "calls.txt").read_text().count("pack of 3") == 2
    assert job(batch)
    assert (paths.data_dir / "calls.txt").read_text().count("pack of 3") == 2

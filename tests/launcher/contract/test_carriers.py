"""The books of back ends whose jobs write their events into batches."""

from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.contract.backend import Ended, Held, Lost, Order, Refused, Started, Task, TrunkGone
from launcher.contract.batch_folder import Batch, Outbox, write_batch
from launcher.contract.carriers import Carrier, Carriers
from launcher.contract.wire import Attached
from sweeps.record import Outcome, Status
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]


@pytest.fixture
def make_batch(make_order: Callable[..., Order], paths: ProjectPaths, tmp_path: Path) -> Callable[..., Batch]:
    """Writes a batch of the packs given."""
    return lambda *packs: write_batch(tmp_path / "batches", make_order(paths), packs, cluster="slurm")


def enter(books: Carriers[Carrier], batch: Batch, place: int, tasks: tuple[Task, ...]) -> Carrier:
    """Returns the carrier of a pack, on the books."""
    return books.enter(Carrier(batch=batch, place=place, owed={task.trial.id: task for task in tasks}))


def end(task: Task) -> Ended:
    """Returns a good end."""
    outcome = Outcome(
        status=Status.FINISHED, steps=1, val_loss=1.0, selection_loss=1.0, train_loss=1.0, wall_s=1.0, compile_s=0.0
    )
    return Ended(trial_id=task.trial.id, outcome=outcome)


def test_a_batch_closes_with_its_last_trial(make_batch: Callable[..., Batch], make_tasks: MakeTasks) -> None:
    """Ends take trials off the books, the last one of a batch closes it; a start alone is no event but is heard."""
    one, other = make_tasks(seeds=2)
    batch, books = make_batch((one,), (other,)), Carriers[Carrier]()
    carriers = [enter(books, batch, 0, (one,)), enter(books, batch, 1, (other,))]
    assert len(books) == 2 and books.of_trial(other.trial.id) is carriers[1] is books.at(batch.name, 1)
    with Outbox(batch, 0) as outbox:
        outbox.send(Attached(worker="w"))
    assert not books.read() and carriers[0].has_started and books.heard_s == carriers[0].heard_s > carriers[1].heard_s
    with Outbox(batch, 0) as outbox:
        outbox.send(Started(trial_id=one.trial.id, worker="w", is_compiling=False))
        outbox.send(end(one))
    assert [type(event) for event in books.read()] == [Started, Ended]
    assert carriers[0] not in books and not batch.is_closed and books.tasks() == [other]
    books.drop(carriers[1])
    books.drop(carriers[1])
    assert batch.is_closed and not books.tasks() and books.of_trial(other.trial.id) is None


@pytest.mark.parametrize("word", [Lost, TrunkGone, Held])
def test_a_trial_that_another_job_has_by_now_is_not_lost_with_the_first(
    make_batch: Callable[..., Batch], make_tasks: MakeTasks, word: type
) -> None:
    """A pack that tries again what it has lost before says nothing of the job that runs it now; a result counts."""
    task, rest = make_tasks(seeds=2)
    books = Carriers[Carrier]()
    first = enter(books, make_batch((task, rest)), 0, (task, rest))
    again = {"reason": "again"} if word is Lost else {}
    with Outbox(first.batch, 0) as outbox:
        outbox.send(Lost(trial_id=task.trial.id, reason="limit"))
        assert len(books.read()) == 1 and books.of_trial(task.trial.id) is None
        second = enter(books, make_batch((task,)), 0, (task,))
        outbox.send(word(trial_id=task.trial.id, **again))
        assert not books.read() and books.of_trial(task.trial.id) is second
        outbox.send(end(task))
        assert len(books.read()) == 1 and second in books


def test_a_job_that_refuses_is_over(make_batch: Callable[..., Batch], make_tasks: MakeTasks) -> None:
    """Its word is told, and its carrier is off the books."""
    books = Carriers[Carrier]()
    carrier = enter(books, make_batch(make_tasks()), 0, make_tasks())
    with Outbox(carrier.batch, 0) as outbox:
        outbox.send(Refused(message="no data"))
    assert books.read() == [Refused(message="no data")] and carrier not in books and carrier.batch.is_closed


def test_catching_up_tells_nothing(make_batch: Callable[..., Batch], make_tasks: MakeTasks) -> None:
    """What an earlier driver was told settles trials in silence, and is not read again."""
    one, other = make_tasks(seeds=2)
    books = Carriers[Carrier]()
    carrier = enter(books, make_batch((one, other)), 0, (one, other))
    with Outbox(carrier.batch, 0) as outbox:
        outbox.send(end(one))
    books.catch_up(carrier.batch)
    assert books.tasks() == [other] and not books.read()

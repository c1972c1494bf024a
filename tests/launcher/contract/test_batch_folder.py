"""Files between a driver and the jobs of a cluster: whole, torn, repeated, and on a full disk."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.contract.backend import Held, Lost, Order, Task
from launcher.contract.batch_folder import Inbox, Outbox, open_batches, write_batch
from launcher.contract.wire import Attached
from tracking.paths import ProjectPaths

MakeTasks = Callable[..., tuple[Task, ...]]
MakeOrder = Callable[..., Order]


@pytest.fixture
def order(make_order: MakeOrder, paths: ProjectPaths) -> Order:
    """What the batches carry."""
    return make_order(paths)


def test_what_goes_in_comes_out(tmp_path: Path, order: Order, make_tasks: MakeTasks) -> None:
    """A batch gives back its order and packs, one by one too; only open ones of a cluster are found."""
    packs = [make_tasks(seeds=2), make_tasks("other")]
    batch = write_batch(tmp_path, order, packs, cluster="slurm")
    assert batch.order() == order and batch.packs() == packs and batch.pack(1) == packs[1]
    with pytest.raises(IndexError):
        batch.pack(2)
    assert batch.job() is None
    batch.note_job("12")
    assert batch.job() == "12"
    (tmp_path / "half.new").mkdir()
    assert open_batches(tmp_path, cluster="slurm") == [batch] and not open_batches(tmp_path, cluster="ray")
    batch.close()
    assert not open_batches(tmp_path, cluster="slurm") and not open_batches(tmp_path / "none", cluster="slurm")


def test_events_are_read_once_and_in_order(tmp_path: Path, order: Order, make_tasks: MakeTasks) -> None:
    """Each look brings what is new; a pack that is finished is not looked at."""
    batch = write_batch(tmp_path, order, [make_tasks(), make_tasks("other")], cluster="slurm")
    inbox = Inbox(batch)
    assert not inbox.read()
    with Outbox(batch, 0) as outbox, Outbox(batch, 1) as other:
        outbox.send(Attached(worker="w"))
        outbox.send(Held(trial_id="a"))
        other.send(Held(trial_id="b"))
        assert sorted(inbox.read(), key=str) == sorted(
            [(0, Attached(worker="w")), (0, Held(trial_id="a")), (1, Held(trial_id="b"))], key=str
        )
        inbox.finish(1)
        outbox.send(Held(trial_id="c"))
        other.send(Held(trial_id="d"))
    assert inbox.read() == [(0, Held(trial_id="c"))] and not inbox.read()


def test_a_torn_line_costs_that_line_only(tmp_path: Path, order: Order, make_tasks: MakeTasks) -> None:
    """A job that died in the middle of a line is followed by one that begins a new line."""
    batch = write_batch(tmp_path, order, [make_tasks()], cluster="slurm")
    inbox = Inbox(batch)
    with Outbox(batch, 0) as outbox:
        outbox.send(Held(trial_id="a"))
    with (batch.events_dir / "0.jsonl").open("a") as file:
        file.write('{"kind":"Lo')
    assert inbox.read() == [(0, Held(trial_id="a"))]
    with Outbox(batch, 0) as outbox:
        outbox.send(Held(trial_id="b"))
    assert inbox.read() == [(0, Held(trial_id="b"))]


def test_a_full_disk_delays_events(
    tmp_path: Path, order: Order, make_tasks: MakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing can be written the trial goes on; then all its events appear, in order."""
    batch = write_batch(tmp_path, order, [make_tasks()], cluster="slurm")
    real_write, is_full = os.write, True

    def write(descriptor: int, data: bytes) -> int:
        if is_full:
            real_write(descriptor, data[:5])  # as much as still went in
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    monkeypatch.setattr("launcher.contract.batch_folder.os.write", write)
    sent = [Lost(trial_id=name, reason="x") for name in "abc"]
    with Outbox(batch, 0) as outbox:
        for event in sent:
            outbox.send(event)
        is_full = False
        outbox.flush(5.0)
    assert [event for _, event in Inbox(batch).read()] == sent

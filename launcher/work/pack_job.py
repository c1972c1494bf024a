"""What a job in a cluster does: runs the tasks of one pack and writes its events where the driver reads them."""

import functools
from collections.abc import Callable
from pathlib import Path

from launcher.contract.backend import Ended, Event, Order, Paused, Refused, ShouldStop, Task
from launcher.contract.batch_folder import Batch, Outbox
from launcher.contract.wire import Attached
from launcher.work.desk import SEPARATE, Desk
from launcher.work.hosts import Hosts
from sweeps.errors import StudyError
from tracking.code_version import UNVERSIONED, code_version
from tracking.journal import read_record

OpenDesk = Callable[[Hosts], Desk]
FLUSH_S = 60.0
"""A job that ends while the disk is full waits so long for its last events to be written."""


def run_pack(
    folder: Path,
    place: int,
    *,
    open_desk: OpenDesk,
    worker: str,
    hosts: Hosts | None = None,
    should_stop: ShouldStop = lambda: None,
) -> bool:
    """Returns whether every task was dealt with; False when the job was asked to make room before.

    Args:
        folder: the batch's.
        place: which of its packs.
        open_desk: makes the desk, or gives the one that stands there from an earlier pack.
        worker: who runs it, for people.
        hosts: the processes that run it together; only their leader writes.
        should_stop: asked at every step boundary.
    """
    batch, hosts = Batch(folder=folder), hosts or Hosts()
    if not hosts.is_leader:
        if hosts.leader_says(False):
            return True
        return _work(batch, place, open_desk(hosts), _silent, hosts, should_stop)
    with Outbox(batch, place) as outbox:
        outbox.send(Attached(worker=worker))
        stale = stale_code(batch.order())
        if hosts.leader_says(stale is not None) and stale is not None:
            outbox.send(Refused(message=stale))
            return True
        try:
            done = _work(batch, place, open_desk(hosts), outbox.send, hosts, should_stop)
        except StudyError as error:
            outbox.send(Refused(message=str(error)))
            done = True
        outbox.flush(FLUSH_S)
        return done


def _silent(event: Event) -> None:
    """Says nothing: the leader speaks for all."""


def _work(
    batch: Batch, place: int, desk: Desk, send: Callable[[Event], None], hosts: Hosts, should_stop: ShouldStop
) -> bool:
    is_refused = is_paused = False

    def relay(event: Event) -> None:
        nonlocal is_refused, is_paused
        is_refused, is_paused = is_refused or isinstance(event, Refused), is_paused or isinstance(event, Paused)
        send(event)

    order = batch.order()
    left: list[Task] = []
    for task in batch.pack(place):
        known = _settled(order, task) if hosts.is_leader else None
        if hosts.leader_says(known is not None):
            if known is not None:  # by an earlier start of this job, which may not have come to say so
                send(known)
            continue
        left.append(task)
    mode = desk.packing(left)
    if mode != SEPARATE:
        desk.run_pack(left, relay, mode=mode, should_stop=should_stop)
        return is_refused or not is_paused
    for task in left:
        desk.run(task, relay, should_stop=should_stop)
        if hosts.leader_says(is_refused):
            return True
        if hosts.leader_says(is_paused):
            return False
    return True


def _settled(order: Order, task: Task) -> Ended | None:
    record = read_record(order.paths, order.study, task.trial.id)
    # Not one that ran out of memory: where it is in a pack again, somebody has asked for another go.
    if record is None or record.outcome is None or not record.status.is_final:
        return None
    return Ended(trial_id=task.trial.id, outcome=record.outcome)


@functools.cache
def _own_version() -> str:
    """Returns the version of the code that this process runs: a warm one has imported it, whatever is edited since."""
    return code_version()


def stale_code(order: Order) -> str | None:
    """Returns what to tell where this process runs other code than the driver submitted the order for."""
    if not order.is_code_pinned or order.code_version == UNVERSIONED:
        return None
    here = _own_version()
    if here in (order.code_version, UNVERSIONED):
        return None
    return (
        f"the checkout holds version {here} now, but this job was submitted for {order.code_version}, and one study "
        "must not mix two unawares; type the same command again to submit what is left with the present version"
    )

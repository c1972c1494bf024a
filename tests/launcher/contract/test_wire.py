import math
from collections.abc import Callable

import pytest

from launcher.contract.backend import Broken, Ended, Event, Held, Lost, Moved, Order, Refused, Started, Task, TrunkGone
from launcher.contract.wire import (
    Ready,
    decode_event,
    decode_order,
    decode_task,
    encode_event,
    encode_order,
    encode_task,
)
from sweeps.certificate import faultless
from sweeps.record import CostClock, Outcome, Progress, Status
from tracking.paths import ProjectPaths

OUTCOME = Outcome(
    status=Status.FAILED,
    steps=3,
    val_loss=None,
    selection_loss=None,
    train_loss=0.1 + 0.2,
    wall_s=1.0,
    compile_s=2.0,
    error="Traceback\n  'ü' \"q\"\n",
    val_error=0.1 + 0.7,
    clock=CostClock(step_s=1 / 3),
    certificate=faultless(images=250, images_per_epoch=100),
    corrupt_images=1,
    cores=8,
    peak_memory_bytes=2**33,
)
EVENTS: tuple[Event | Ready, ...] = (
    Ready(device="cpu"),
    Started(trial_id="a", worker="worker-0", is_compiling=True),
    Moved(trial_id="a", progress=Progress(step=1, images=8, train_loss=1 / 3, val_loss=None, wall_s=0.5)),
    Ended(trial_id="a", outcome=OUTCOME),
    Lost(trial_id="a", reason="killed", saved_step=9, shared_steps=5),
    TrunkGone(trial_id="a"),
    Held(trial_id="a"),
    Refused(message="two\nlines"),
    Broken(reason="no"),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_survive(event: Event | Ready) -> None:
    """Every kind of event is one line and comes back as it was, to the last bit."""
    line = encode_event(event)
    assert "\n" not in line
    assert decode_event(line) == event


def test_status_comes_back_as_a_status() -> None:
    """A status is compared by identity elsewhere, so it must not come back as a text."""
    event = decode_event(encode_event(Ended(trial_id="a", outcome=OUTCOME)))
    assert isinstance(event, Ended) and event.outcome.status is Status.FAILED


def test_loss_that_is_not_a_number() -> None:
    """A NaN does not break the line."""
    moved = Moved(trial_id="a", progress=Progress(step=1, images=8, train_loss=math.nan, val_loss=None, wall_s=0.5))
    event = decode_event(encode_event(moved))
    assert isinstance(event, Moved) and math.isnan(event.progress.train_loss)


def test_orders_and_tasks_survive(
    make_order: Callable[..., Order], make_tasks: Callable[..., tuple[Task, ...]], paths: ProjectPaths
) -> None:
    """A worker reads the order and the task that the driver wrote, the trial's id included."""
    order, (task,) = make_order(paths), make_tasks()
    assert decode_order(encode_order(order)) == order
    assert decode_task(encode_task(task)) == task
    assert decode_task(encode_task(task)).trial.id == task.trial.id


@pytest.mark.parametrize("line", ["{}", '{"kind": "Cheer"}'])
def test_other_lines_are_refused(line: str) -> None:
    """What is no event is an error, not silence."""
    with pytest.raises(ValueError, match="not an event"):
        decode_event(line)

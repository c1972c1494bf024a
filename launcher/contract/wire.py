"""The line protocol between a driver and its workers: JSON lines, packs of tasks down, events up."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.contract.backend import (
    Broken,
    Ended,
    Event,
    Held,
    Lost,
    Moved,
    Order,
    Paused,
    Refused,
    Started,
    Task,
    TrunkGone,
)
from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.compute import ComputeSpec
from tracking.paths import ProjectPaths
from tracking.record_json import dump_line, outcome_fields, outcome_from, progress_from


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker has imported its trainer and waits for tasks."""

    device: str


@dataclass(frozen=True, kw_only=True)
class Attached:
    """A cluster has started, or started again, the job that runs a pack."""

    worker: str


Message = Event | Ready | Attached
"""All that may come up a wire."""

_FLAT: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Ready, Attached, Started, Paused, Lost, TrunkGone, Held, Refused, Broken)
}


def encode_order(order: Order) -> str:
    """Returns the order as one line of JSON."""
    fields = {field.name: getattr(order, field.name) for field in dataclasses.fields(order)}
    return json.dumps({**fields, "paths": str(order.paths.root), "compute": to_jsonable(order.compute)})


def decode_order(line: str) -> Order:
    """Returns the order that `encode_order` wrote."""
    fields: dict[str, Any] = json.loads(line)
    fields["paths"] = ProjectPaths(root=Path(fields["paths"]))
    fields["command"] = tuple(fields["command"])
    fields["compute"] = from_jsonable(ComputeSpec, fields["compute"])
    return Order(**fields)


def encode_task(task: Task) -> str:
    """Returns the task as one line of JSON."""
    return json.dumps(to_jsonable(task))


def decode_task(line: str) -> Task:
    """Returns the task that `encode_task` wrote."""
    return from_jsonable(Task, json.loads(line))


def encode_pack(tasks: Sequence[Task]) -> str:
    """Returns the tasks as one line of JSON."""
    return json.dumps([encode_task(task) for task in tasks])


def decode_pack(line: str) -> tuple[Task, ...]:
    """Returns the tasks that `encode_pack` wrote."""
    return tuple(decode_task(task) for task in json.loads(line))


def encode_event(event: Message) -> str:
    """Returns the event as one line of JSON."""
    if isinstance(event, Ended):
        fields: dict[str, Any] = {"trial_id": event.trial_id, "outcome": outcome_fields(event.outcome)}
    else:
        fields = to_jsonable(event)
    return dump_line({"kind": type(event).__name__, **fields})


def decode_event(line: str) -> Message:
    """Returns the event that `encode_event` wrote.

    Raises:
        ValueError: the line is not an event.
    """
    fields: dict[str, Any] = json.loads(line)
    kind = str(fields.pop("kind", ""))
    if kind == Moved.__name__:
        return Moved(trial_id=fields["trial_id"], progress=progress_from(fields["progress"]))
    if kind == Ended.__name__:
        return Ended(trial_id=fields["trial_id"], outcome=outcome_from(fields["outcome"]))
    if kind in _FLAT:
        return _FLAT[kind](**fields)
    raise ValueError(f"not an event of a worker: {line[:200]!r}")

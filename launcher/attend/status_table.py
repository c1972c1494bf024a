"""Where a study stands as people read it, in a few lines, and as programs read it, one JSON object."""

from collections.abc import Iterator
from typing import Any

from launcher.attend.study_state import STATES, StudyState
from launcher.show.durations import about
from sweeps.budget import format_core_hours
from sweeps.record import RunRecord

MAX_RUNNING = 20
"""Training runs that are shown one by one."""


def state_as_json(state: StudyState) -> dict[str, Any]:
    """Returns the state as JSON-ready data; `cells` counts runs, one for each model x epochs x learning rate x seed."""
    note = state.note
    return {
        "study": state.study,
        "cells": {name: state.counts.get(name, 0) for name in STATES},
        "spent_core_hours": state.spent_core_hours,
        "reserved_core_hours": state.reserved_core_hours,
        "total_core_hours": state.total_core_hours,
        "spend_cap_core_hours": note.spend_cap_core_hours if note else None,
        "seconds_left": note.eta_s if note and state.driver else None,
        "driver": state.driver,
        "cluster": note.cluster if note else None,
        "running": [_running_as_json(record) for record in state.running],
    }


def _running_as_json(record: RunRecord) -> dict[str, Any]:
    last = record.curve[-1] if record.curve else None
    return {
        "name": record.trial.name,
        "trial_id": record.trial.id,
        "step": last.step if last else 0,
        "steps": record.trial.steps,
        "train_loss": last.train_loss if last else None,
        "val_loss": last.val_loss if last else None,
        "attempts": record.attempts,
    }


def state_lines(state: StudyState) -> Iterator[str]:
    """Yields the state in lines: counts, core-hours, who drives it, what trains, and what to type."""
    note = state.note
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in state.counts.items())
    yield f"{state.study}: {counts or 'nothing recorded'}"
    cap = note.spend_cap_core_hours if note else None
    of_cap = "" if cap is None else f" of a cap of {format_core_hours(cap)}"
    total = "" if state.total_core_hours is None else f"; the plan comes to {format_core_hours(state.total_core_hours)}"
    yield (
        f"core-hours: {_core_hours(state.spent_core_hours)} spent, {_core_hours(state.reserved_core_hours)} reserved"
        f"{of_cap}{total}"
    )
    if state.driver is not None:
        left = "" if note is None or note.eta_s is None else f", {about(note.eta_s)} left"
        where = "" if note is None else f", cluster {note.cluster}"
        yield f"driven by {state.driver}{where}{left}"
        if note is not None and note.silence:
            yield f"the scheduler does not answer: {note.silence.splitlines()[0]}"
    elif state.is_moving:
        yield "no driver: what is queued or trains goes on; the same make sweep command attaches to it"
    else:
        yield "no driver: nothing is queued or trains"
    for record in state.running[:MAX_RUNNING]:
        yield f"  {_running_line(record)}"
    if len(state.running) > MAX_RUNNING:
        yield f"  ... and {len(state.running) - MAX_RUNNING:,} more"
    if any(state.counts.get(name) for name in ("failed", "out_of_memory")):
        yield "make retry gives what failed or ran out of memory another go"


def _running_line(record: RunRecord) -> str:
    if not record.curve:
        return f"{record.trial.name}  starting"
    last = record.curve[-1]
    loss = f"held-out loss {last.val_loss:.4g}" if last.val_loss is not None else f"train loss {last.train_loss:.4g}"
    return f"{record.trial.name}  {last.step / record.trial.steps:.0%}  {loss}"


def _core_hours(value: float) -> str:
    return format_core_hours(value) if value > 0.0 else "0"

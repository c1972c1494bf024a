"""Trials, progress, outcomes and records as JSON text and back, fast enough for ten thousand runs.

JSON has no NaN: a number that is not finite is written as null. It is read as None where a field may be missing, and
as NaN in the fields that are always a float.
"""

import dataclasses
import functools
import json
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sweeps.canonical import revive
from sweeps.certificate import certificate_from, certificate_text
from sweeps.cost import Cost
from sweeps.record import CostClock, Outcome, Progress, RunRecord, Status
from sweeps.trial import Trial

T = TypeVar("T")

PROGRESS_FIELDS = tuple(field.name for field in dataclasses.fields(Progress))


def dump_line(data: Mapping[str, Any]) -> str:
    """Returns `data` as one line of ASCII JSON; NaN and infinity in its top level or one level below become null."""
    return json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)


def _finite(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _finite_value(value) for name, value in data.items()}


def _finite_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return _finite(typing.cast("Mapping[str, Any]", value))
    return value


def float_or_none(value: Any) -> float | None:
    """Returns a number that may be missing."""
    return None if value is None else float(value)


def trial_from(fields: Mapping[str, Any]) -> Trial:
    """Returns the trial that canonical JSON was read into `fields` of.

    The shapes, data sets, schedules and recipes of a study are few: each is built once and shared.

    Raises:
        ValueError: a key is unknown or missing.
    """
    hints = _hints(Trial)
    ready: dict[str, Any] = {}
    for name, value in fields.items():
        hint = hints.get(name)
        if isinstance(value, dict):
            ready[name] = _part(hint, json.dumps(value))
        else:
            ready[name] = float_or_none(value) if hint is float else value
    return _build(Trial, ready)


def cost_from(fields: Mapping[str, Any]) -> Cost:
    """Returns the cost written as `fields`; raises ValueError where they do not fit."""
    return _build(Cost, _numbers(Cost, fields))


def outcome_from(fields: Mapping[str, Any]) -> Outcome:
    """Returns the outcome that `outcome_fields` made; raises ValueError where the fields do not fit.

    Outcomes from before there were clocks and certificates have neither.
    """
    clock = fields.get("clock")
    ready = {
        **_numbers(Outcome, fields),
        "status": Status(fields.get("status")),
        "clock": None if clock is None else _build(CostClock, _numbers(CostClock, clock)),
        "certificate": certificate_from(fields.get("certificate") or ""),
    }
    return _build(Outcome, ready)


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Returns an outcome ready for `dump_line`: the certificate as text, the clock by its parts."""
    clock = outcome.clock and dict(vars(outcome.clock))
    return {**_told(outcome), "clock": clock, "certificate": certificate_text(outcome.certificate)}


def progress_fields(progress: Progress) -> dict[str, Any]:
    """Returns a point ready for `dump_line`."""
    return _told(progress)


def _told(noun: Outcome | Progress) -> dict[str, Any]:
    """Returns the fields of a noun; steps that were taken over are told only where there are any."""
    fields = dict(vars(noun))
    if not noun.shared_steps:
        del fields["shared_steps"]
    return fields


def progress_from(fields: Mapping[str, Any]) -> Progress:
    """Returns the point written as `fields`; raises ValueError where they do not fit."""
    return _build(Progress, _numbers(Progress, fields))


def record_to_json(record: RunRecord, *, error_letters: int, epochs: int | None = None) -> str:
    """Returns a record without its trial and its curve.

    Args:
        record: what is written.
        error_letters: how much remains of an error's text, from its end.
        epochs: how many of the certificate's epochs remain; all by default.
    """
    fields = {name: value for name, value in vars(record).items() if name not in ("trial", "curve")}
    outcome = record.outcome and outcome_fields(
        dataclasses.replace(
            record.outcome,
            error=tail(record.outcome.error, error_letters),
            certificate=record.outcome.certificate[:epochs],
        )
    )
    return dump_line({**fields, "cost": vars(record.cost), "outcome": outcome})


def record_from(fields: Mapping[str, Any], *, trial: Trial, curve: Sequence[Progress] = ()) -> RunRecord:
    """Returns the record that `record_to_json` wrote; raises ValueError where the fields do not fit."""
    outcome = fields.get("outcome")
    ready = {
        **_numbers(RunRecord, fields),
        "trial": trial,
        "curve": tuple(curve),
        "status": Status(fields.get("status")),
        "cost": cost_from(fields.get("cost") or {}),
        "outcome": None if outcome is None else outcome_from(outcome),
    }
    if "tainted" in ready:  # what the mark was called before certificates existed
        ready["is_marked"] = bool(ready.pop("tainted"))
    return _build(RunRecord, ready)


def tail(text: str | None, letters: int) -> str | None:
    """Returns the end of a text, where a traceback says what happened."""
    return text if text is None or len(text) <= letters else f"[...]{text[len(text) - letters :]}"


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _float_names(cls: type[Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the fields that are always a float, and those that are a float or missing."""
    hints = _hints(cls)
    always = {name for name, hint in hints.items() if hint is float}
    maybe = {name for name, hint in hints.items() if float in typing.get_args(hint)}
    return frozenset(always), frozenset(maybe)


def _numbers(cls: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    always, maybe = _float_names(cls)
    ready = dict(fields)
    for name in always & ready.keys():
        ready[name] = math.nan if ready[name] is None else float(ready[name])
    for name in maybe & ready.keys():
        ready[name] = float_or_none(ready[name])
    return ready


@functools.lru_cache(maxsize=4096)
def _part(hint: Any, text: str) -> Any:
    return revive(hint, json.loads(text))


def _build(cls: type[T], fields: Mapping[str, Any]) -> T:
    try:
        return cls(**fields)
    except TypeError as error:
        raise ValueError(f"not a {cls.__name__}: {error}") from error

"""What a user's program may say in its journal: one JSON object a line, every key of it known."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sweeps.certificate import Certificate, EpochSamples


@dataclass(frozen=True, kw_only=True)
class EventKind:
    """The keys of one kind of line."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    example: str

    def in_words(self) -> str:
        """Returns the example, and what may be added to it."""
        return self.example + (f" (optional: {', '.join(self.optional)})" if self.optional else "")


EVENTS: Mapping[str, EventKind] = {
    "progress": EventKind(
        required=("step", "train_loss"),
        optional=("val_loss", "images"),
        example='{"event":"progress","step":10,"train_loss":2.3}',
    ),
    "ended": EventKind(
        required=("val_loss",),
        optional=("selection_loss", "train_loss", "sampling"),
        example='{"event":"ended","val_loss":1.9}',
    ),
    "diverged": EventKind(optional=("step",), example='{"event":"diverged"}'),
    "out_of_memory": EventKind(example='{"event":"out_of_memory"}'),
}
"""Every line that is allowed."""

_WHOLE = ("step", "images", "epoch")
_DIGEST = re.compile(r"[0-9a-f]{16}", re.IGNORECASE)
_SAMPLING = 'write `sampling` as [{"epoch":0,"images":1000,"digest":"0123456789abcdef"}, ...], an entry for each epoch'
_NOT_FINITE = re.compile(r"(?<=[:\s])([-+]?)(?:nan(?:\([^)]*\))?|inf(?:inity)?)(?=\s*[,}])", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ProgramEvent:
    """One line, checked; what it does not say is absent."""

    event: str
    """A key of EVENTS."""
    step: int | None = None
    images: int | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    selection_loss: float | None = None
    sampling: Certificate = ()

    @property
    def is_finite(self) -> bool:
        """Whether every loss it names is a finite number."""
        losses = (self.train_loss, self.val_loss, self.selection_loss)
        return all(loss is None or math.isfinite(loss) for loss in losses)


def read_event(line: str) -> ProgramEvent:
    """Returns the event of a line; losses that are no number are read as Python (NaN) and C (-nan, inf) write them.

    Raises:
        ValueError: the line is no event; says what is allowed.
    """
    fields = _object(line)
    kind = EVENTS.get(str(fields.get("event")))
    if kind is None:
        raise ValueError(f"its `event` is {fields.get('event')!r}; {_allowed()}")
    unknown = sorted(set(fields) - {"event", *kind.required, *kind.optional})
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no key of it; {_allowed()}")
    missing = [key for key in kind.required if fields.get(key) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing; {_allowed()}")
    told = {key: value for key, value in fields.items() if key not in ("event", "sampling") and value is not None}
    numbers = {key: _number(key, value) for key, value in told.items()}
    sampling = () if fields.get("sampling") is None else _certificate(fields["sampling"])
    return ProgramEvent(event=str(fields["event"]), sampling=sampling, **cast(dict[str, Any], numbers))


def _object(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError:
        try:  # printf writes nan and -inf, which are not JSON in any spelling
            fields = json.loads(_NOT_FINITE.sub(lambda found: "NaN", line))
        except ValueError:
            raise ValueError(f"it is not JSON, one object on a line of its own; {_allowed()}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"it is not a JSON object; {_allowed()}")
    return cast(dict[str, Any], fields)


def _certificate(entries: object) -> Certificate:
    if not isinstance(entries, list):
        raise ValueError(f"`sampling` is no list; {_SAMPLING}")
    return tuple(_epoch_samples(entry) for entry in cast(list[object], entries))


def _epoch_samples(entry: object) -> EpochSamples:
    if not isinstance(entry, dict) or set(cast(dict[str, object], entry)) != {"epoch", "images", "digest"}:
        raise ValueError(f"{entry!r} is no epoch; {_SAMPLING}")
    told = cast(dict[str, object], entry)
    if not isinstance(digest := told["digest"], str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"the digest {told['digest']!r} is not of sixteen hexadecimal digits; {_SAMPLING}")
    epoch, images = (int(_number(key, told[key])) for key in ("epoch", "images"))
    return EpochSamples(epoch=epoch, images=images, digest=digest.lower())


def _number(key: str, value: object) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{key}` is {value!r}; write a number")
    if key not in _WHOLE:
        return float(value)
    if not math.isfinite(value) or value != int(value) or value < 0:
        raise ValueError(f"`{key}` is {value!r}; write a whole number that counts")
    return int(value)


def _allowed() -> str:
    return "allowed are " + "; ".join(kind.in_words() for kind in EVENTS.values())

"""What a BUDGET is: the compute of the largest single run that a sweep may contain."""

import re
from dataclasses import dataclass

from sweeps.errors import StudyError

_SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([km]?)", re.IGNORECASE)

READING_TOLERANCE = 1.01
"""A cell fits when it costs at most this factor times the budget: figures and calibrations are read to a per cent."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The compute of the largest single run, in core-hours of the study's reference hardware."""

    core_hours: float
    """Core-hours of one run."""
    hardware: str
    """The hardware whose core-hours are counted, as named in conf/hardware."""

    @classmethod
    def parse(cls, text: str | float, *, hardware: str) -> "Budget":
        """Returns the budget that a person wrote as `400`, `0.4k`, `12.5k` or `110k`.

        Raises:
            StudyError: the text is empty, not a number of core-hours, or not above zero.
        """
        return cls(core_hours=parse_core_hours(text), hardware=hardware)

    def holds(self, core_hours: float) -> bool:
        """Returns whether a run of this cost fits into the budget."""
        return core_hours <= READING_TOLERANCE * self.core_hours

    def __str__(self) -> str:
        return format_core_hours(self.core_hours)


def parse_core_hours(text: str | float, *, what: str = "budget") -> float:
    """Returns core-hours from `400`, `0.4k`, `110k` or `1.1M`; else raises StudyError naming `what`."""
    words = str(text).strip()
    match = _PATTERN.fullmatch(words)
    core_hours = float(match[1]) * _SUFFIX[match[2].lower()] if match else 0.0
    if core_hours <= 0:
        got = f"{what} {words!r} not understood" if words else f"the {what} is empty"
        raise StudyError(f"{got}; write core-hours above zero as 400, 0.4k, 12.5k or 110k (try: make plan BUDGET=10k)")
    return core_hours


def format_core_hours(core_hours: float) -> str:
    """Returns core-hours as people write them: 400, 1.6k, 12.5k, 110k, 1.1M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if core_hours >= 0.9995 * limit:
            return (
                f"{core_hours / limit:.3g}{unit}" if core_hours < 999.5 * limit else f"{core_hours / limit:.0f}{unit}"
            )
    return f"{core_hours:.3g}"

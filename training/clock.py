"""The cost clock of a run: where its time goes, over all attempts, and what was lost between them."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

from sweeps.record import CostClock
from training.agreement import is_leader

_BEAT_EVERY_S = 2.0


class Stopwatch:
    """Adds up the parts of a run's cost; they exclude one another."""

    def __init__(self, clock: CostClock) -> None:
        self._parts = dataclasses.asdict(clock)

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Counts the time of the block as this part."""
        started = time.perf_counter()
        yield
        self.add(part, time.perf_counter() - started)

    def add(self, part: str, seconds: float) -> None:
        """Counts so many seconds as this part."""
        self._parts[part] += seconds

    @property
    def clock(self) -> CostClock:
        """What was counted so far."""
        return CostClock(**self._parts)

    @property
    def training_s(self) -> float:
        """Steps, and waiting for their images."""
        return self._parts["step_s"] + self._parts["input_wait_s"]


class Heartbeat:
    """A small file that says how much work an attempt has done, so that the next one knows what was lost with it."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / "heartbeat.json"
        self._beaten_s = 0.0

    def beat(self, clock: CostClock) -> None:
        """Notes the clock, every two seconds at most; not synced to disk, for a lost note costs no result."""
        now = time.monotonic()
        if self._file is None or not is_leader() or now - self._beaten_s < _BEAT_EVERY_S:
            return
        self._beaten_s = now
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(dataclasses.asdict(clock)))
        unfinished.replace(self._file)

    def lost_s(self, resumed: CostClock) -> float:
        """Returns the work that the last attempt had done beyond the checkpoint that this one resumes from [s]."""
        if self._file is None or not self._file.is_file():
            return 0.0
        try:
            last = CostClock(**json.loads(self._file.read_text()))
        except (ValueError, TypeError):  # torn by the kill
            return 0.0
        return max(0.0, last.total_s - resumed.total_s)

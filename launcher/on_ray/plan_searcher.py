"""The plan as Ray Tune's searcher: it suggests the next queued pack, and tells the driver which ones Tune is done with.

Imported by the process of the Tune loop only, for it loads Ray Tune.
"""

import re
import time
from collections import deque
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from launcher.on_ray.ray_tape import CANCELLED, News, Slip, Tape, is_marked

IDLE_S = 0.02
"""Between two looks at an empty queue while nothing runs."""

EXIT_DETAIL = re.compile(r"Worker exit detail: (.{1,200}?\.)( |$)")
LONGEST_CAUSE = 300


class PlanSearcher(Searcher):
    """Suggests packs in the order they were queued in."""

    def __init__(self, tape: Tape, batches_dir: Path, *, max_running: int | None) -> None:
        super().__init__()
        self._tape, self._batches_dir = tape, batches_dir
        self._max_running = max_running
        self._waiting: deque[Slip] = deque()
        self._running: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """Returns the next pack's config; None while there is none to be started, FINISHED when no more come.

        While nothing runs it waits here: Tune itself would sleep a whole second at a time.
        """
        if self._max_running is not None and len(self._running) >= self._max_running:
            return None
        slip = self._next()
        while slip is None and not self._running:
            if self._tape.is_closed:
                return Searcher.FINISHED
            time.sleep(IDLE_S)
            slip = self._next()
        if slip is None:
            return None
        self._running.add(trial_id)
        return vars(slip)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Notes that another pack may be started."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing: the plan and the journals are all the state there is."""

    def restore(self, checkpoint_path: str) -> None:
        """Restores nothing."""

    def _next(self) -> Slip | None:
        if not self._waiting:
            self._waiting.extend(self._tape.take())
        while self._waiting:
            slip = self._waiting.popleft()
            if not is_marked(self._batches_dir / slip.batch, slip.place, CANCELLED):
                return slip
        return None


class Gazette(Callback):
    """Tells the driver of every pack that Tune is done with."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tells of a pack that came to its end."""
        self._tell(trial, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tells of a pack that Tune has given up."""
        self._tell(trial, _cause(trial))

    def _tell(self, trial: Any, reason: str | None) -> None:
        self._tape.tell(News(batch=trial.config["batch"], place=trial.config["place"], reason=reason))


def _cause(trial: Any) -> str:
    """Returns in a line what Ray says of the last end of a trial's actor."""
    try:
        text = Path(trial.error_file).read_text(errors="replace").rpartition("Failure #")[2]
    except (OSError, TypeError):  # TypeError: there is none
        return "it does not say why"
    lines = [line.strip() for line in text.splitlines()[1:] if line.strip()]
    worker = EXIT_DETAIL.search(text)
    if worker is not None:
        return f"its actor died ({worker.group(1)})"
    if text.count("Traceback"):
        return lines[-1][:LONGEST_CAUSE]
    return (lines[0] if lines else "it does not say why")[:LONGEST_CAUSE]

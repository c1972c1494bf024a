"""Ray Tune's scheduler for packs: first come, first served; it keeps actors warm, and stops trials that are outrun.

Imported by the process of the Tune loop only, for it loads Ray Tune.
"""

import time
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from launcher.on_ray.asha_by_cell import AshaByCell
from launcher.on_ray.ray_tape import OUTRUN, mark
from launcher.on_ray.ray_trainable import HAS_FINISHED

KEEP_WARM_S = 60.0
"""An actor without work is kept for so long; after that it holds others up, and costs."""


class PackScheduler(FIFOScheduler):
    """Lets every trial run to its end, but for those that a race has decided against."""

    def __init__(self, batches_dir: Path, *, warm_actors: int, asha: AshaByCell | None) -> None:
        super().__init__()
        self._batches_dir, self._warm_actors, self._asha = batches_dir, warm_actors, asha
        self._cache: Any = None
        self._key: Any = None
        self._is_warm = False
        self._busy_s = time.monotonic()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Enters a trial."""
        self._keep_warm(tune_controller, trial)
        if self._asha is not None:
            self._asha.add(trial.config["cell"], trial.config["trial"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Returns that the trial goes on: one that is outrun is told so, and ends by itself, journalled as stopped."""
        config = trial.config
        if self._asha is not None and self._asha.is_outrun(config["cell"], config["trial"], result):
            mark(self._batches_dir / config["batch"], config["place"], OUTRUN)
        return TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Takes a trial out of its race; if it is started again, it is added again."""
        self._drop(trial)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Notes that an actor is free, and whether the trial still stands."""
        self._busy_s = time.monotonic()
        if not result.get(HAS_FINISHED):
            self._drop(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Does nothing: what waits is in no race yet."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leaves the choice to Tune, which starts what waits in its order; lets actors go that were idle for long."""
        if self._is_warm and time.monotonic() - self._busy_s > KEEP_WARM_S:
            self._is_warm = False
            self._cache.decrease_max(self._key, self._warm_actors)

    def _drop(self, trial: Any) -> None:
        if self._asha is not None:
            self._asha.drop(trial.config["cell"], trial.config["trial"])

    def _keep_warm(self, tune_controller: Any, trial: Any) -> None:
        """Has Tune keep actors that have nothing to do for a moment.

        Left alone, it keeps one for each trial that waits at the very moment another ends, and kills the others with
        all they have compiled. There is no setting for it; without this, packs only take longer.
        """
        self._busy_s = time.monotonic()
        controller: Any = getattr(tune_controller, "_tune_controller", None)
        self._cache, self._key = getattr(controller, "_actor_cache", None), trial.placement_group_factory
        if self._cache is not None and not self._is_warm:
            self._is_warm = True
            self._cache.increase_max(self._key, self._warm_actors)

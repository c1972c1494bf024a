"""How long a step of each model takes: what was timed in this sweep and earlier ones, and a guess for the rest."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from launcher.contract.backend import Task

# Standard deviations of log seconds a step. Timed here means: 700 runs of the scale model on two shared cores.
GUESS_SD = 3.0
"""Of the guess as a whole: it counts until anything was timed, on this machine's cores."""
OTHER_HARDWARE_SD = 10.0
"""Likewise where the guess knows no more than FLOPs: nothing is said of the time."""
SLOPE_SD = 0.2
"""Of the guess from one size of model to another e times as large."""
MODEL_SD = 0.15
"""Of one model beside others of its size."""
DRIFT_SD = 0.3
"""Of all earlier timings together: the machine has other things to do now."""
EARLIER_SD = 0.05
"""Of a model timed earlier."""
NOW_SD = 0.03
"""Of a model timed long in this sweep."""
BRIEF_SD = 0.25
"""Likewise for a second."""
FORGOTTEN = 0.7
"""What an earlier run of a sweep counts beside one that ended later."""
GUESSED_EXPONENT = 0.6
"""Time of a step over its FLOPs, where nothing else is known: larger models keep a device busier."""


def model_of(task: Task) -> Hashable:
    """Returns what decides how long a step of the task takes."""
    return task.trial.model, task.trial.batch_images


@dataclass(frozen=True, kw_only=True)
class Foreknowledge:
    """What is known of a sweep's time before it begins."""

    step_s: Mapping[Hashable, float] = field(default_factory=dict[Hashable, float])
    """Seconds a step, by `model_of`: of runs that were timed earlier, or calibrated."""
    guess_s: Callable[[Task], float | None] = lambda task: None
    """Seconds a step of any task, roughly; None: only FLOPs are known."""
    cold_compile_s: float | None = None
    """Compilation of a program that was never compiled here; None: unknown."""
    warm_compile_s: float | None = None
    """Likewise of one that is in the cache."""
    compiled: frozenset[Hashable] = frozenset()
    """`model_of` what is in the cache."""
    reached_steps: Mapping[str, int] = field(default_factory=dict[str, int])
    """Steps that earlier attempts have reported, by the ids of trials that go on from there."""


class Paces:
    """Seconds a step of every model: a Gaussian process over the logarithms, exact for a few dozen models."""

    def __init__(self, known: Foreknowledge) -> None:
        self._known = known
        self._guesses: dict[Hashable, tuple[float, float]] = {}
        """Logarithms of FLOPs and seconds of a step."""
        self._timed: dict[Hashable, tuple[float, float]] = {}
        """Steps and seconds of this sweep's own runs, those of long ago counting less."""
        self._is_guess_rough = False

    @property
    def is_known(self) -> bool:
        """Whether more is known than FLOPs: something was timed, now or earlier, or the devices can be guessed at."""
        is_guessed = bool(self._guesses) and not self._is_guess_rough
        return is_guessed or bool(self._timed) or any(model in self._known.step_s for model in self._guesses)

    def meet(self, task: Task) -> None:
        """Takes notice of a task's model."""
        model = model_of(task)
        if model in self._guesses:
            return
        log_flops = math.log(task.cost.flops / task.trial.steps)
        guess_s = self._known.guess_s(task)
        self._is_guess_rough |= guess_s is None
        self._guesses[model] = log_flops, GUESSED_EXPONENT * log_flops if guess_s is None else math.log(guess_s)

    def note(self, task: Task, steps: int, seconds: float) -> None:
        """Counts a run of this sweep, whole or as far as one that ended has got."""
        if steps > 0 and seconds > 0.0:
            steps_before, seconds_before = self._timed.get(model_of(task), (0.0, 0.0))
            self._timed[model_of(task)] = steps + FORGOTTEN * steps_before, seconds + FORGOTTEN * seconds_before

    def step_s(self, running: Mapping[Hashable, tuple[int, float]] | None = None) -> dict[Hashable, float]:
        """Returns the seconds a step of each model that was met.

        Args:
            running: steps and seconds of runs that have not ended, by model; they count beside those that have.
        """
        models = list(self._guesses)
        x = np.array([self._guesses[model][0] for model in models])
        guesses = np.array([self._guesses[model][1] for model in models])
        x = x - x.mean() if len(x) else x
        timed = self._timed_with(running or {})
        now = [(models.index(model), *timed[model]) for model in timed if model in self._guesses]
        earlier = [number for number, model in enumerate(models) if model in self._known.step_s]
        at = np.array([number for number, _, _ in now] + earlier, dtype=int)
        if not len(at):
            return dict(zip(models, np.exp(guesses).tolist(), strict=True))
        logs = np.log([seconds / steps for _, steps, seconds in now] + [self._known.step_s[models[n]] for n in earlier])
        noise = [NOW_SD**2 + BRIEF_SD**2 / (1.0 + seconds) for _, _, seconds in now] + [EARLIER_SD**2] * len(earlier)
        is_earlier = np.array([False] * len(now) + [True] * len(earlier))
        everywhere = self._covariance(x, x)
        among = everywhere[np.ix_(at, at)] + DRIFT_SD**2 * np.outer(is_earlier, is_earlier) + np.diag(noise)
        found = guesses + everywhere[:, at] @ np.linalg.solve(among, logs - guesses[at])
        return dict(zip(models, np.exp(found).tolist(), strict=True))

    def _timed_with(self, running: Mapping[Hashable, tuple[int, float]]) -> dict[Hashable, tuple[float, float]]:
        timed = dict(self._timed)
        for model, (steps, seconds) in running.items():
            if steps > 0 and seconds > 0.0:
                before = timed.get(model, (0.0, 0.0))
                timed[model] = before[0] + steps, before[1] + seconds
        return timed

    def _covariance(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        common = OTHER_HARDWARE_SD if self._is_guess_rough else GUESS_SD
        return common**2 + SLOPE_SD**2 * np.outer(x, y) + MODEL_SD**2 * np.eye(len(x))

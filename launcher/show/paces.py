"""How long a step of each model takes: what was timed in this sweep and earlier ones, and a guess for the rest."""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
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
DRIFT_SD = 0.2
"""Of all earlier timings together: another day, another cluster."""
LOAD_SD, LOAD_S = 0.35, 30.0
"""What else the machine has to do comes and goes: of all runs at one time, and how long it lasts [s]."""
EARLIER_SD = 0.05
"""Of a model timed earlier."""
NOW_SD = 0.03
"""Of a run of this sweep."""
BRIEF_SD = 0.25
"""Likewise of one that took a second."""
REMEMBERED = 6
"""Runs of each model that count: the latest."""
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


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Steps of one run of this sweep that were timed."""

    model: Hashable
    steps: int
    seconds: float
    until_s: float
    """When the last of them was done, by the sweep's clock."""

    @property
    def middle_s(self) -> float:
        """When half of them was done."""
        return self.until_s - self.seconds / 2

    @property
    def load_sd(self) -> float:
        """What passing load adds to its pace; over a long run that averages out."""
        return LOAD_SD * min(1.0, math.sqrt(2.0 * LOAD_S / self.seconds))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long steps take."""

    step_s: Mapping[Hashable, float]
    """Seconds a step of each model, passing load averaged out."""
    log_load: float = 0.0
    """What passing load adds at this moment to the logarithm; half of it will be gone in 0.7 x LOAD_S."""

    def loaded(self, left_s: float) -> float:
        """Returns how long work takes in truth that would take so long without passing load [s]."""
        if left_s <= 0.0:
            return left_s
        mean_load = self.log_load * LOAD_S / left_s * -math.expm1(-left_s / LOAD_S)
        return left_s * math.exp(mean_load)


class Paces:
    """Seconds a step of every model: a Gaussian process over the logarithms, exact for a few dozen models."""

    def __init__(self, known: Foreknowledge) -> None:
        self._known = known
        self._guesses: dict[Hashable, tuple[float, float]] = {}
        """Logarithms of FLOPs and seconds of a step."""
        self._timed: dict[Hashable, deque[Timed]] = {}
        """This sweep's own runs."""
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

    def note(self, timed: Timed) -> None:
        """Counts a run of this sweep that has ended."""
        if timed.steps > 0 and timed.seconds > 0.0:
            self._timed.setdefault(timed.model, deque(maxlen=REMEMBERED)).append(timed)

    def now(self, running: Iterable[Timed], now_s: float) -> "Pace":
        """Returns how long steps take.

        Args:
            running: runs that have not ended; they count beside those that have.
            now_s: by the sweep's clock.
        """
        models = list(self._guesses)
        x = np.array([self._guesses[model][0] for model in models])
        x = x - x.mean() if len(x) else x
        guesses = np.array([self._guesses[model][1] for model in models])
        timed = [one for runs in self._timed.values() for one in runs]
        timed += [one for one in running if one.steps > 0 and one.seconds > 0.0]
        earlier = [model for model in models if model in self._known.step_s]
        at = np.array([models.index(model) for model in (*(one.model for one in timed), *earlier)], dtype=int)
        if not len(at):
            return Pace(step_s=dict(zip(models, np.exp(guesses).tolist(), strict=True)))
        logs = np.log([*(one.seconds / one.steps for one in timed), *(self._known.step_s[model] for model in earlier)])
        everywhere = self._covariance(x, x)
        among = everywhere[np.ix_(at, at)] + _noise(timed, len(earlier))
        weights = np.linalg.solve(among, logs - guesses[at])
        found = np.exp(guesses + everywhere[:, at] @ weights)
        with_load = [LOAD_SD * one.load_sd * math.exp(-abs(now_s - one.middle_s) / LOAD_S) for one in timed]
        log_load = float(np.dot(with_load, weights[: len(timed)]))
        return Pace(step_s=dict(zip(models, found.tolist(), strict=True)), log_load=log_load)

    def _covariance(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        common = OTHER_HARDWARE_SD if self._is_guess_rough else GUESS_SD
        return common**2 + SLOPE_SD**2 * np.outer(x, y) + MODEL_SD**2 * np.eye(len(x))


def _noise(now: Sequence[Timed], earlier: int) -> NDArray[np.float64]:
    """Returns the covariance of what timings have besides their models' paces; this sweep's first."""
    count = len(now) + earlier
    found = np.zeros((count, count))
    middle = np.array([one.middle_s for one in now])
    load = np.array([one.load_sd for one in now])
    found[: len(now), : len(now)] = np.outer(load, load) * np.exp(-np.abs(np.subtract.outer(middle, middle)) / LOAD_S)
    found[len(now) :, len(now) :] = DRIFT_SD**2
    own = [NOW_SD**2 + BRIEF_SD**2 / (1.0 + one.seconds) for one in now] + [EARLIER_SD**2] * earlier
    return found + np.diag(own)

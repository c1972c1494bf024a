"""How true the time left is that a sweep shows: simulated sweeps of many shapes, asked at parts of their wall time.

The sweeps run on a virtual clock through the tally that feeds the display. Local ones hand out tasks by the local back
end's own rule, with compilations, a shared compile cache, uneven paces and a machine that has other things to do; those
of a cluster run on the rehearsals' simulated cluster, with queues and pre-emptions.
"""

import argparse
import contextlib
import dataclasses
import heapq
import itertools
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "benchmarks"), str(CHECKOUT)]

from result_file import Figure, write_result  # noqa: E402 -- found by the line above, however this file is called

from launcher.contract.backend import Ended, Event, Moved, Started, Task  # noqa: E402
from launcher.contract.program import program_of  # noqa: E402
from launcher.drive.expected_time import CORE_COMPILE_S, CORE_FLOPS_PER_S, CORE_STEP_S  # noqa: E402
from launcher.drive.reconcile import run  # noqa: E402
from launcher.drive.spending import SpendLedger  # noqa: E402
from launcher.drive.trunks import with_trunks  # noqa: E402
from launcher.on_this_machine.dispatch import Queued, choose  # noqa: E402
from launcher.rehearse.rehearsal import scaled_down  # noqa: E402
from launcher.rehearse.simulated_backend import SimulatedBackend  # noqa: E402
from launcher.rehearse.simulated_surroundings import surroundings_of  # noqa: E402
from launcher.settings.compose import compose  # noqa: E402
from launcher.settings.conditions import Conditions  # noqa: E402
from launcher.show.paces import Foreknowledge, model_of  # noqa: E402
from launcher.show.tally import Tally  # noqa: E402
from sweeps.curve import curve_steps  # noqa: E402
from sweeps.pricing import price_trial  # noqa: E402
from sweeps.record import Outcome, Progress, Status  # noqa: E402

ASKED_AT = (0.1, 0.25, 0.5)
"""Parts of the wall time."""
CLOSE = 0.2
"""An estimate of the time left is close where it is off by at most this part of it."""
MEASURED_STEP_S = {"f0": 7.3e-4, "f1": 9.3e-4, "f3": 1.0e-3, "f3p": 1.2e-3, "f7": 1.38e-3, "f7p": 1.57e-3}
"""Medians of 700 real runs of the scale model on two shared cores."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One kind of sweep on this machine."""

    name: str
    words: tuple[str, ...]
    """As make sweep takes them."""
    workers: int = 2
    is_known: bool = False
    """Whether earlier runs were timed: the paces are known to within the drift, and all programs lie in the cache."""
    compile_s: float = 10.0
    cached_s: float = 1.5
    lag_s: float = 0.25
    """What a run takes besides its steps and its compilation."""
    noise: float = 0.15
    """Of a run's pace, log sd."""
    steps_factor: int = 1
    """Runs are so many times as long as the scale model's."""
    failing: float = 0.0
    """Part of the runs that diverge after a third of their steps."""


SHAPES = (
    Shape(name="2k fresh", words=("budget=2k",)),
    Shape(name="3k fresh", words=("budget=3k",)),
    Shape(name="10k fresh", words=("budget=10k",)),
    Shape(name="30k fresh", words=("budget=30k",)),
    Shape(name="110k fresh", words=("budget=110k",)),
    Shape(name="3k known", words=("budget=3k",), is_known=True),
    Shape(name="10k known", words=("budget=10k",), is_known=True),
    Shape(name="110k known", words=("budget=110k",), is_known=True),
    Shape(name="10k 3 seeds", words=("budget=10k", "seeds=3")),
    Shape(name="10k one worker", words=("budget=10k",), workers=1),
    Shape(name="10k 16 workers", words=("budget=10k",), workers=16),
    Shape(name="110k 16 workers", words=("budget=110k",), workers=16),
    Shape(name="10k slow compile", words=("budget=10k",), compile_s=60.0, cached_s=8.0),
    Shape(name="10k long runs", words=("budget=10k",), compile_s=30.0, steps_factor=50),
    Shape(name="30k long, 8 workers", words=("budget=30k",), workers=8, compile_s=30.0, steps_factor=50),
    Shape(name="10k noisy", words=("budget=10k",), noise=0.5),
    Shape(name="10k diverging", words=("budget=10k",), failing=0.2),
    Shape(name="10k trunks", words=("budget=10k", "strategy=trunk")),
)


@dataclass(kw_only=True)
class Shown:
    """What a sweep has shown, and when it was over."""

    times_s: list[float]
    left_s: list[float | None]
    end_s: float

    def error(self, part: float) -> float | None:
        """Returns the relative error of the time left that was shown after this part; None: none was."""
        at_s = part * self.end_s
        places = [place for place, time_s in enumerate(self.times_s) if time_s <= at_s]
        left_s = self.left_s[places[-1]] if places else None
        if left_s is None:
            return None
        # The last look may be a little while ago.
        return (left_s - (at_s - self.times_s[places[-1]])) / (self.end_s - at_s) - 1.0

    @property
    def jumps(self) -> float:
        """How far the end that is shown moves within a tenth of the sweep, at most, as a part of the whole."""
        ends = [
            (time_s, time_s + left_s)
            for time_s, left_s in zip(self.times_s, self.left_s, strict=True)
            if left_s is not None and time_s >= ASKED_AT[0] * self.end_s
        ]
        span_s, most = 0.1 * self.end_s, 0.0
        for (time_s, end_s), (later_s, later_end_s) in itertools.combinations(ends[:: max(1, len(ends) // 200)], 2):
            if later_s - time_s <= span_s:
                most = max(most, abs(later_end_s - end_s) / self.end_s)
        return most


@dataclass
class Clock:
    """A clock that is moved by hand."""

    now_s: float = 0.0

    def __call__(self) -> float:
        """Returns the time [s]."""
        return self.now_s


def local_sweep(shape: Shape, seed: int) -> Shown:
    """Returns what a sweep on this machine's workers shows."""
    rng = np.random.default_rng([seed, 11])
    request = compose(list(shape.words))
    study = request.study
    machine = math.exp(rng.normal(0.0, 0.4))
    drift = math.exp(rng.normal(0.0, 0.2))
    paces = {name: step_s * machine * math.exp(rng.normal(0.0, 0.08)) for name, step_s in MEASURED_STEP_S.items()}
    packs = [
        tuple(Task(trial=trial, cost=price_trial(trial, study.hardware)) for trial in pack.trials)
        for pack in request.plan().packs()
    ]
    if shape.words[-1] == "strategy=trunk":
        packs = [tuple(pack) for pack in with_trunks(packs, lambda trunk: ())]
    tasks = {task.trial.id: task for pack in packs for task in pack}
    models = {model_of(task): task.trial.model for task in tasks.values()}
    known = Foreknowledge(
        step_s={key: paces[name] / drift / shape.steps_factor**0 for key, name in models.items()}
        if shape.is_known
        else {},
        guess_s=lambda task: CORE_STEP_S + task.cost.flops / task.trial.steps / CORE_FLOPS_PER_S,
        cold_compile_s=shape.compile_s if shape.is_known else CORE_COMPILE_S,
        compiled=frozenset(models) if shape.is_known else frozenset(),
    )
    clock = Clock()
    price = sum(task.cost.core_hours for task in tasks.values())
    tally = Tally(
        pending=tasks.values(), runs=len(tasks), core_hours=price, known=known, workers=shape.workers, clock=clock
    )
    pool = _Pool(shape, rng, paces, list(tasks.values()))
    return _watched(pool.events(), tally, clock)


def _watched(events: Iterator[tuple[float, Event]], tally: Tally, clock: Clock) -> Shown:
    """Returns what is shown, looked at a hundred times while the sweep grows threefold, on a clock that events move."""
    times_s: list[float] = []
    left_s: list[float | None] = []

    def look() -> None:
        if not times_s or clock.now_s - times_s[-1] >= max(0.5, 0.01 * clock.now_s):
            times_s.append(clock.now_s)
            left_s.append(tally.eta_s())

    for at_s, event in events:
        waits = max(1, min(40, math.ceil((at_s - clock.now_s) / 0.5)))
        for until_s in np.linspace(clock.now_s, at_s, waits + 1)[1:]:
            clock.now_s = float(until_s)
            look()
        tally.take(event)
        if isinstance(event, Ended):
            tally.settle(event.trial_id)
        look()
    return Shown(times_s=times_s, left_s=left_s, end_s=clock.now_s)


class _Pool:
    """Warm workers that take tasks by the local back end's rule."""

    def __init__(self, shape: Shape, rng: np.random.Generator, paces: dict[str, float], tasks: Sequence[Task]) -> None:
        self._shape, self._rng, self._paces = shape, rng, paces
        self._waiting = [
            Queued(tasks=(task,), job="job", program=program_of(task.trial)) for task in tasks if task.after is None
        ]
        self._held = {
            task.after: [other for other in tasks if other.after == task.after] for task in tasks if task.after
        }
        self._warm: list[set[str]] = [set() for _ in range(shape.workers)]
        self._compiled_s: dict[str, float] = {q.program: 0.0 for q in self._waiting} if shape.is_known else {}
        self._events: list[tuple[float, int, int, Event | None]] = []
        self._count = itertools.count()
        self._idle: list[int] = []

    def events(self) -> Iterator[tuple[float, Event]]:
        """Yields what happens, in order; a worker takes three seconds to start."""
        for worker in range(self._shape.workers):
            self._push(3.0 + 0.2 * worker, worker, None)
        while self._events:
            at_s, _, worker, event = heapq.heappop(self._events)
            if event is not None:
                yield at_s, event
            if isinstance(event, Ended):
                self._waiting += [
                    Queued(tasks=(task,), job="job", program=program_of(task.trial))
                    for task in self._held.pop(event.trial_id, ())
                ]
            if event is None or isinstance(event, Ended):
                self._idle.append(worker)
                for idle in list(self._idle):
                    self._hand_out(at_s, idle)

    def _hand_out(self, now_s: float, worker: int) -> None:
        compiling = {program for program, at_s in self._compiled_s.items() if at_s > now_s}
        place = choose(self._waiting, warm=self._warm[worker], compiling=compiling)
        if place is None:
            return
        self._idle.remove(worker)
        self._train(self._waiting.pop(place), now_s, worker)

    def _train(self, queued: Queued, now_s: float, worker: int) -> None:
        (task,), shape, trial = queued.tasks, self._shape, queued.tasks[0].trial
        is_new, compile_s = queued.program not in self._warm[worker], 0.0
        self._warm[worker].add(queued.program)
        if is_new:
            is_cached = self._compiled_s.get(queued.program, math.inf) <= now_s
            compile_s = (shape.cached_s if is_cached else shape.compile_s) * math.exp(self._rng.normal(0.0, 0.15))
            self._compiled_s.setdefault(queued.program, now_s + compile_s)
        self._push(now_s + 0.02, worker, Started(trial_id=trial.id, worker=f"w-{worker}", is_compiling=is_new))
        step_s = self._paces[trial.model] * math.exp(self._rng.normal(0.0, shape.noise)) * shape.steps_factor
        diverges = self._rng.random() < shape.failing
        last = max(task.shared_steps + 1, trial.steps // 3) if diverges else trial.steps
        begin_s = now_s + 0.02 + compile_s
        for step in curve_steps(trial.steps):
            if task.shared_steps < step <= last:
                wall_s = (step - task.shared_steps) * step_s
                progress = Progress(
                    step=step, images=step, train_loss=1.0, val_loss=None, wall_s=wall_s, shared_steps=task.shared_steps
                )
                self._push(begin_s + wall_s, worker, Moved(trial_id=trial.id, progress=progress))
        wall_s = (last - task.shared_steps) * step_s
        outcome = Outcome(
            status=Status.DIVERGED if diverges else Status.FINISHED,
            steps=last,
            val_loss=None,
            selection_loss=None,
            train_loss=None,
            wall_s=wall_s,
            compile_s=compile_s,
            shared_steps=task.shared_steps,
        )
        self._push(begin_s + wall_s + shape.lag_s, worker, Ended(trial_id=trial.id, outcome=outcome))

    def _push(self, at_s: float, worker: int, event: Event | None) -> None:
        heapq.heappush(self._events, (at_s, next(self._count), worker, event))


CLUSTERS = {
    "jft 60k, quiet": (("study=jft", "budget=60k"), Conditions(slots=16, preemptions_per_h=0.0, queue_wait_h=0.05)),
    "jft 60k, pre-empted": (("study=jft", "budget=60k"), Conditions(slots=16)),
    "jft 10k, few slots": (("study=jft", "budget=10k"), Conditions(slots=4)),
    "jft 110k, busy queue": (("study=jft", "budget=110k"), Conditions(slots=32, queue_wait_h=2.0)),
}
"""Sweeps on the rehearsals' simulated cluster."""


def cluster_sweep(name: str, seed: int) -> Shown:
    """Returns what a sweep on a simulated cluster shows."""
    words, conditions = CLUSTERS[name]
    conditions = dataclasses.replace(conditions, failures_per_run=0.0, out_of_memory_per_model=0.0)
    request = compose(list(words))
    study = scaled_down(request.study)
    backend = SimulatedBackend(losses=lambda trial: (1.0, 1.0), conditions=conditions, seed=seed)
    packs = [
        tuple(Task(trial=trial, cost=_timed(trial, study, conditions)) for trial in pack.trials)
        for pack in dataclasses.replace(request, study=study).plan().packs()
    ]
    tasks = [task for pack in packs for task in pack]
    known = Foreknowledge(guess_s=lambda task: 3600.0 * (task.cost.wall_hours or 0.0) / task.trial.steps)
    tally = Tally(
        pending=tasks,
        runs=len(tasks),
        core_hours=sum(task.cost.core_hours for task in tasks),
        known=known,
        clock=backend.clock.monotonic,
    )
    times_s: list[float] = []
    left_s: list[float | None] = []

    def look() -> None:
        if not times_s or backend.clock.now_s >= 1.005 * times_s[-1]:
            times_s.append(backend.clock.now_s)
            left_s.append(tally.eta_s())

    around = surroundings_of(backend, SpendLedger(None), tasks, on_turn=look)
    run(packs, backend, dataclasses.replace(around, tally=tally))
    return Shown(times_s=times_s, left_s=left_s, end_s=backend.clock.now_s)


def _timed(trial, study, conditions):
    cost = price_trial(trial, study.hardware)
    return dataclasses.replace(cost, wall_hours=cost.core_hours / conditions.cores_per_run)


def main(words: Sequence[str] | None = None) -> int:
    """Simulates all sweeps and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="sweeps of each shape")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    options = parser.parse_args(words)
    sweeps: dict[str, Callable[[int], Shown]] = {}
    for shape in SHAPES:
        sweeps[shape.name] = lambda seed, shape=shape: local_sweep(shape, seed)
    for name in CLUSTERS:
        sweeps[name] = lambda seed, name=name: cluster_sweep(name, seed)
    every: dict[float, list[float | None]] = {part: [] for part in ASKED_AT}
    jumps: list[float] = []
    figures: list[Figure] = []
    for name, sweep in sweeps.items():
        if options.only not in name:
            continue
        shown = [sweep(seed) for seed in range(options.seeds)]
        errors = {part: [one.error(part) for one in shown] for part in ASKED_AT}
        for part in ASKED_AT:
            every[part] += errors[part]
        jumps += [one.jumps for one in shown]
        tenth = errors[ASKED_AT[0]]
        bias = [100 * statistics.median([e for e in errors[part] if e is not None] or [math.nan]) for part in ASKED_AT]
        print(
            f"{name:<24} {statistics.median(one.end_s for one in shown):>9.0f} s   within 20 %: "
            + "  ".join(f"{100 * _close(errors[part]):>3.0f} %" for part in ASKED_AT)
            + "   median error: "
            + "  ".join(f"{one:+.0f} %" for one in bias)
            + f"   shown {sum(e is not None for e in tenth)}/{len(tenth)}"
            + f"   moves {100 * statistics.median(one.jumps for one in shown):.0f} %",
            flush=True,
        )
        key = name.replace(" ", "_").replace(",", "")
        figures.append(
            Figure(name=f"{key}_close_after_a_tenth", value=100 * _close(tenth), bar=None, unit="% of sweeps")
        )
    for part in ASKED_AT:
        figures.append(
            Figure(
                name=f"close_after_{100 * part:.0f}_percent",
                value=100 * _close(every[part]),
                bar=80.0 if part == ASKED_AT[0] else None,
                unit="% of sweeps within 20 %",
            )
        )
    figures.append(Figure(name="shown_end_moves", value=100 * statistics.median(jumps), bar=20.0, unit="% in a tenth"))
    if not options.only:
        write_result("eta", figures, command=f"make bench NAME=eta EXTRA='--seeds {options.seeds}'")
    return 0


def _close(errors: Sequence[float | None]) -> float:
    """Returns the part that is close; what was not shown is not."""
    return sum(error is not None and abs(error) <= CLOSE for error in errors) / len(errors)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())

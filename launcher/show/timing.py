"""When a sweep will be over: what its events say of paces, compilations and workers, and what is left, handed out."""

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from launcher.contract.backend import Ended, Event, Lost, Moved, Paused, Started, Task, TrunkGone
from launcher.show.makespan import Compiling, Job, Lane, makespan_s
from launcher.show.paces import Foreknowledge, Paces, Timed, model_of
from sweeps.record import Outcome, Progress

COMPILED_FROM_S = 0.5
"""A worker that took less before its first step had its program at hand."""
ONE_RUN_S = 0.3
"""What a run takes besides its steps (evaluation, checkpoints, journal), before that was seen; counts as one run."""
LONGER = 1.25
"""A compilation that has lasted longer than any known one will last so many times as long as it has so far."""
WHOLE_RUNS = 3
"""So many runs are thought to have done all their steps, besides those that were seen."""
CACHED_PART = 0.2
"""Of a compilation, what it takes to fetch the program from the cache, before that was seen."""
LONGEST_WAITS = 20.0
"""A cluster that trains less than this part of the time is not believed to go on like that."""


@dataclass(kw_only=True)
class _Attempt:
    """A trial that runs now, as seen from its driver."""

    task: Task
    worker: str
    is_compiling: bool
    is_cold: bool
    began_s: float
    first: Progress | None = None
    first_s: float = 0.0
    """When its first report came."""
    last: Progress | None = None
    last_s: float = 0.0

    @property
    def own_steps(self) -> int:
        """Steps between its first report and its last, for which the time is known."""
        return self.last.step - self.first.step if self.first is not None and self.last is not None else 0

    @property
    def own_s(self) -> float:
        return self.last.wall_s - self.first.wall_s if self.first is not None and self.last is not None else 0.0


@dataclass(kw_only=True)
class _Seen:
    """Sums over what was seen of one kind of thing [s], beside what was thought of it before."""

    seconds: list[float] = field(default_factory=list[float])

    def mean(self, before: float) -> float:
        """Returns the mean, the thought before counting once."""
        return (before + sum(self.seconds)) / (1 + len(self.seconds))


class Timing:
    """Takes a sweep's events and says how much longer what is owed will take."""

    def __init__(self, known: Foreknowledge, *, workers: int | None, clock: Callable[[], float]) -> None:
        """Begins to look.

        Args:
            known: what is known beforehand.
            workers: runs that are trained at the same time; None: as many as are seen.
            clock: [s].
        """
        self._known, self._workers, self._clock = known, workers, clock
        self._paces = Paces(known)
        self._attempts: dict[str, _Attempt] = {}
        self._reached = dict(known.reached_steps)
        self._warm: dict[str, set[Hashable]] = {}
        self._compiled: set[Hashable] = set(known.compiled)
        self._cold, self._cached, self._besides = _Seen(), _Seen(), _Seen()
        self._begun_s: float | None = None
        self._most_lanes = 0
        self._open: set[str] = set()
        """Ids of trials that are known and not over."""
        self._losses: dict[str, int] = {}
        """Trials that died, in that order: a cluster's queue has them behind all others."""
        self._done_s = 0.0
        """Time of trials that are over, without waits and repeated steps."""
        self._ended: list[float] = []
        """Part of its own steps that each trial did before it was over; those that diverge do a part."""
        self._there_s, self._looked_s = 0.0, 0.0
        """Time that all workers had while there was something for them to do; up to when."""

    def meet(self, tasks: Iterable[Task]) -> None:
        """Takes notice of what is to be run."""
        for task in tasks:
            self._paces.meet(task)
            self._open.add(task.trial.id)

    def take(self, event: Event, task: Task) -> None:
        """Takes an event of a task."""
        now_s = self._clock()
        self._look(now_s)
        match event:
            case Started():
                self._begin(event, task, now_s)
            case Moved():
                self._move(event.progress, self._attempt(task, now_s), now_s)
            case Ended():
                self._end(task, event.outcome, now_s)
            case Paused() | Lost():
                attempt = self._attempts.get(task.trial.id)
                reported = attempt.last.step if attempt is not None and attempt.last is not None else 0
                self._reached[task.trial.id] = event.saved_step or max(reported, self._reached.get(task.trial.id, 0))
                if attempt is not None and isinstance(event, Lost):
                    self._warm.pop(attempt.worker, None)  # it died
                    self._losses[task.trial.id] = max(self._losses.values(), default=0) + 1
                self._leave(task)
            case TrunkGone():
                self._leave(task)
            case _:
                pass

    def left_s(self, owed: Mapping[str, Task]) -> float | None:
        """Returns how much longer the owed trials take [s]; None where nothing is known of their paces yet."""
        running = self._running()
        if not running and not self._paces.is_known:
            return None
        now_s = self._clock()
        pace = self._paces.now(running, now_s)
        step_s = pace.step_s
        lanes = self._lanes(step_s, owed, now_s)
        jobs = [self._job(task, step_s) for trial_id, task in owed.items() if trial_id not in self._attempts]
        return self._waits(step_s, owed, now_s) * pace.loaded(makespan_s(lanes, jobs, self._compiling(now_s)))

    def _attempt(self, task: Task, now_s: float) -> _Attempt:
        """Returns what runs of a task; its start was not told where an earlier driver heard of it."""
        if task.trial.id not in self._attempts:
            self._begin(Started(trial_id=task.trial.id, worker=task.trial.id, is_compiling=False), task, now_s)
        return self._attempts[task.trial.id]

    def _begin(self, event: Started, task: Task, now_s: float) -> None:
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        self._paces.meet(task)
        model, cold = model_of(task), False
        if event.is_compiling:
            cold = model not in self._compiled
        self._warm.setdefault(event.worker, set()).add(model)
        self._attempts[task.trial.id] = _Attempt(
            task=task, worker=event.worker, is_compiling=event.is_compiling, is_cold=cold, began_s=now_s
        )
        self._most_lanes = max(self._most_lanes, len({attempt.worker for attempt in self._attempts.values()}))

    def _move(self, progress: Progress, attempt: _Attempt, now_s: float) -> None:
        self._compiled.add(model_of(attempt.task))
        if attempt.first is None:
            attempt.first, attempt.first_s = progress, now_s
        attempt.last, attempt.last_s = progress, now_s

    def _end(self, task: Task, outcome: Outcome, now_s: float) -> None:
        attempt = self._attempts.get(task.trial.id)
        self._open.discard(task.trial.id)
        if attempt is None:
            return
        self._done_s += outcome.wall_s + outcome.compile_s + self._besides.mean(ONE_RUN_S)
        reached = self._reached.pop(task.trial.id, 0)
        earlier_steps = max(reached, outcome.shared_steps)
        self._ended.append((outcome.steps - outcome.shared_steps) / max(1, task.trial.steps - outcome.shared_steps))
        if reached == 0:
            own = outcome.steps - earlier_steps, outcome.wall_s
        else:  # its wall time is that of all attempts
            own = attempt.own_steps, attempt.own_s
        self._paces.note(Timed(model=model_of(task), steps=own[0], seconds=own[1], until_s=now_s))
        if attempt.is_compiling:
            self._compiled.add(model_of(task))
            seen = self._cold if attempt.is_cold and outcome.compile_s >= COMPILED_FROM_S else self._cached
            seen.seconds.append(outcome.compile_s)
        if reached == 0 and self._shares(attempt) == 1:
            besides_s = now_s - attempt.began_s - outcome.wall_s - outcome.compile_s
            self._besides.seconds.append(max(0.0, besides_s))
        self._leave(task)

    def _leave(self, task: Task) -> None:
        self._attempts.pop(task.trial.id, None)

    def _look(self, now_s: float) -> None:
        """Counts the time of workers since the last look."""
        if self._begun_s is not None:
            workers = min(self._most_lanes, len(self._open))
            self._there_s += workers * (now_s - self._looked_s)
        self._looked_s = now_s

    def _shares(self, attempt: _Attempt) -> int:
        """Returns how many attempts its worker is at: members of a pack are."""
        return sum(other.worker == attempt.worker for other in self._attempts.values())

    def _running(self) -> list[Timed]:
        """Returns what those that run have told of their paces."""
        return [
            Timed(model=model_of(one.task), steps=one.own_steps, seconds=one.own_s, until_s=one.last_s)
            for one in self._attempts.values()
            if one.own_steps > 0
        ]

    def _left_steps(self, task: Task) -> int:
        begins = max(task.shared_steps, self._reached.get(task.trial.id, 0))
        return max(0, task.trial.steps - begins)

    def _job(self, task: Task, step_s: Mapping[Hashable, float]) -> Job:
        part = (sum(self._ended) + WHOLE_RUNS) / (len(self._ended) + WHOLE_RUNS)
        seconds = part * self._left_steps(task) * step_s[model_of(task)] + self._besides.mean(ONE_RUN_S)
        is_behind = task.trial.id in self._losses
        return Job(
            name=task.trial.id,
            program=model_of(task),
            train_s=seconds,
            rank=-self._losses[task.trial.id] if is_behind and self._workers is None else task.cost.core_hours,
            after=task.after,
        )

    def _lanes(self, step_s: Mapping[Hashable, float], owed: Mapping[str, Task], now_s: float) -> list[Lane]:
        """Returns every worker, those that are at nothing too."""
        busy: dict[str, float] = {}
        names: dict[str, list[str]] = {}
        for attempt in self._attempts.values():
            if attempt.task.trial.id in owed:
                left_s = self._attempt_left_s(attempt, step_s[model_of(attempt.task)], now_s)
                busy[attempt.worker] = busy.get(attempt.worker, 0.0) + left_s
                names.setdefault(attempt.worker, []).append(attempt.task.trial.id)
        lanes = [
            Lane(free_s=left_s, warm=frozenset(self._warm.get(worker, ())), at=tuple(names[worker]))
            for worker, left_s in busy.items()
        ]
        idle = [worker for worker in self._warm if worker not in busy] if self._workers is not None else []
        wanted = max(1, len(lanes), self._workers or self._most_lanes)
        lanes += [Lane(warm=frozenset(self._warm[worker])) for worker in idle[: wanted - len(lanes)]]
        return lanes + [Lane()] * (wanted - len(lanes))

    def _attempt_left_s(self, attempt: _Attempt, step_s: float, now_s: float) -> float:
        besides_s = self._besides.mean(ONE_RUN_S)
        if attempt.last is None:
            full_s = self._left_steps(attempt.task) * step_s + besides_s
            if attempt.is_compiling:
                full_s += self._compiling_s(attempt)
            return max(0.1 * full_s, full_s - (now_s - attempt.began_s))
        left_s = (attempt.task.trial.steps - attempt.last.step) * step_s + besides_s
        # Reports come at ever longer distances: what was trained since the last one is not told.
        return max(0.1 * left_s, left_s - (now_s - attempt.last_s) / max(1, self._shares(attempt)))

    def _compiling_s(self, attempt: _Attempt) -> float:
        cold_s, warm_s = self._compile_times()
        return cold_s if attempt.is_cold else warm_s

    def _compile_times(self) -> tuple[float, float]:
        """Returns what a compilation is taken to last: of a program that is new here, and of one in the cache."""
        underway = [self._clock() - a.began_s for a in self._attempts.values() if a.is_compiling and a.last is None]
        through = [a.first_s - a.began_s for a in self._attempts.values() if a.is_compiling and a.last is not None]
        known = [*self._cold.seconds, *(seconds for seconds in through if seconds >= COMPILED_FROM_S)]
        before = self._known.cold_compile_s
        cold_s = statistics.fmean(known) if known else max([*(LONGER * one for one in underway), before or 0.0])
        warm_s = self._cached.mean(
            self._known.warm_compile_s if self._known.warm_compile_s is not None else 0.2 * cold_s
        )
        return cold_s, warm_s

    def _compiling(self, now_s: float) -> Compiling:
        cold_s, warm_s = self._compile_times()
        compiled_s: dict[Hashable, float] = dict.fromkeys(self._compiled, 0.0)
        for attempt in self._attempts.values():
            model, end_s = model_of(attempt.task), max(1.0, cold_s - (now_s - attempt.began_s))
            if attempt.is_cold and model not in self._compiled:
                compiled_s[model] = min(end_s, compiled_s.get(model, end_s))
        return Compiling(cold_s=cold_s, warm_s=warm_s, compiled_s=compiled_s)

    def _waits(self, step_s: Mapping[Hashable, float], owed: Mapping[str, Task], now_s: float) -> float:
        """Returns by how much work is slower than its paces: a cluster lets it wait, and repeats what was lost."""
        self._look(now_s)
        if self._workers is not None:
            return 1.0
        done_s = self._done_s
        for trial_id, task in owed.items():
            attempt = self._attempts.get(trial_id)
            step = attempt.last.step if attempt and attempt.last else self._reached.get(trial_id, task.shared_steps)
            done_s += (step - task.shared_steps) * step_s[model_of(task)]
            if attempt is not None:  # what it has not reported yet
                since_s = now_s - (attempt.last_s if attempt.last else attempt.began_s)
                done_s += since_s / self._shares(attempt)
        return min(LONGEST_WAITS, max(1.0, self._there_s / done_s)) if done_s > 0.0 else 1.0

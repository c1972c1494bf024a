"""When everything will have been trained: what is left, handed out to the workers as they come free."""

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

WARM_ADVANTAGE = 2.0
"""A job whose program the worker has compiled wins over one up to this many times as dear, as it does locally."""
MOST_JOBS = 4000
"""Of more, the time is that of work spread evenly."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that is still to be begun."""

    name: str
    program: Hashable
    train_s: float
    """What it takes, compiling excluded."""
    rank: float = 0.0
    """The larger come first."""
    after: str | None = None
    """The job that has to be over before this one begins; absent, or none of these: it may begin at once."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A worker."""

    free_s: float = 0.0
    """When what it is at will be over; 0: now."""
    warm: frozenset[Hashable] = frozenset()
    """Programs that it has compiled."""
    at: tuple[str, ...] = ()
    """Names of the jobs it is at."""


@dataclass(frozen=True, kw_only=True)
class Compiling:
    """What a program costs a worker that meets it newly [s]."""

    cold_s: float = 0.0
    """Where no worker has compiled it yet."""
    warm_s: float = 0.0
    """Where one has."""
    compiled_s: Mapping[Hashable, float] = field(default_factory=dict[Hashable, float])
    """When programs are there for all workers; 0: now."""


def makespan_s(lanes: Sequence[Lane], jobs: Sequence[Job], compiling: Compiling | None = None) -> float:
    """Returns when the last job is over [s from now].

    A worker that comes free takes the job of the highest rank; one whose program it has compiled counts twice, and one
    that another worker compiles at the moment comes last.

    Raises:
        ValueError: there are jobs and no lanes.
    """
    if jobs and not lanes:
        raise ValueError("jobs need a lane")
    compiling = compiling or Compiling()
    last_s = max((lane.free_s for lane in lanes), default=0.0)
    if len(jobs) > MOST_JOBS:
        cold = len({job.program for job in jobs} - compiling.compiled_s.keys())
        work_s = sum(job.train_s for job in jobs) + cold * compiling.cold_s + sum(lane.free_s for lane in lanes)
        return max(last_s, work_s / len(lanes))
    return _HandingOut(lanes, jobs, compiling).last_end_s() if jobs else last_s


class _HandingOut:
    """The jobs that may begin, by program, and those that wait for another."""

    def __init__(self, lanes: Sequence[Lane], jobs: Sequence[Job], compiling: Compiling) -> None:
        self._compiling, self._warm = compiling, [set(lane.warm) for lane in lanes]
        self._compiled_s = dict(compiling.compiled_s)
        self._free = [(lane.free_s, number) for number, lane in enumerate(lanes)]
        heapq.heapify(self._free)
        self._ends = [(lane.free_s, name) for lane in lanes for name in lane.at]
        heapq.heapify(self._ends)
        self._last_s = max(lane.free_s for lane in lanes)
        names = {job.name for job in jobs} | {name for lane in lanes for name in lane.at}
        self._held: dict[str, list[Job]] = defaultdict(list)
        self._open: dict[Hashable, deque[Job]] = {}
        self._left = len(jobs)
        for job in sorted(jobs, key=lambda job: -job.rank):
            if job.after is not None and job.after in names:
                self._held[job.after].append(job)
            else:
                self._open.setdefault(job.program, deque()).append(job)

    def last_end_s(self) -> float:
        """Returns when the last job is over, all having been handed out."""
        while self._left:
            now_s, lane = heapq.heappop(self._free)
            while self._ends and self._ends[0][0] <= now_s:
                for job in self._held.pop(heapq.heappop(self._ends)[1], ()):
                    self._insert(job)
            program = self._choice(now_s, self._warm[lane])
            if program is not None:
                self._begin(self._take(program), now_s, lane)
            elif self._ends:  # the rest waits for what runs
                heapq.heappush(self._free, (self._ends[0][0], lane))
            else:  # jobs that wait for one another
                break
        return self._last_s

    def _insert(self, job: Job) -> None:
        queue = self._open.setdefault(job.program, deque())
        place = next((number for number, other in enumerate(queue) if other.rank < job.rank), len(queue))
        queue.insert(place, job)

    def _choice(self, now_s: float, warm: set[Hashable]) -> Hashable | None:
        def rank(program: Hashable) -> tuple[bool, float]:
            is_warm = program in warm
            is_compiled_now = self._compiled_s.get(program, 0.0) > now_s
            return is_warm or not is_compiled_now, self._open[program][0].rank * (WARM_ADVANTAGE if is_warm else 1.0)

        return max(self._open, key=rank, default=None)

    def _take(self, program: Hashable) -> Job:
        job = self._open[program].popleft()
        if not self._open[program]:
            del self._open[program]
        self._left -= 1
        return job

    def _begin(self, job: Job, now_s: float, lane: int) -> None:
        end_s = now_s + job.train_s
        if job.program not in self._warm[lane]:
            is_cold = self._compiled_s.get(job.program, math.inf) > now_s
            compile_s = self._compiling.cold_s if is_cold else self._compiling.warm_s
            self._warm[lane].add(job.program)
            end_s += compile_s
            if is_cold:
                self._compiled_s.setdefault(job.program, now_s + compile_s)
        heapq.heappush(self._free, (end_s, lane))
        heapq.heappush(self._ends, (end_s, job.name))
        self._last_s = max(self._last_s, end_s)

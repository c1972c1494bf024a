"""A time left that does not jump about: it runs down by the clock, and is led gently to what is newly estimated."""

import math
import time
from collections.abc import Callable

FOLLOWED_OVER = 0.1
"""A new estimate is followed within this part of the time left, or of the time since the first, ..."""
LEAST_FOLLOWED_S, MOST_FOLLOWED_S = 2.0, 300.0
"""... but neither faster nor slower than this."""
LEAST_PAUSE_S = 0.5
PAUSE_PER_EFFORT = 50.0
"""Nothing is estimated anew for so many times as long as the last estimate took."""


class Calm:
    """Shows estimates of the time left."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end_s: float | None = None
        """When it will be over, as shown."""
        self._first_s = 0.0
        """When an end was first shown."""
        self._asked_s = -math.inf
        self._pause_s = LEAST_PAUSE_S

    def forget(self) -> None:
        """Begins anew: what is to be done has changed."""
        self._end_s, self._asked_s = None, -math.inf

    def shown_s(self, estimate: Callable[[], float | None]) -> float | None:
        """Returns the seconds left to be shown now; `estimate` is asked seldom, since it may be dear."""
        now_s = self._clock()
        if now_s - self._asked_s >= self._pause_s:
            began_s = time.perf_counter()
            left_s = estimate()
            self._pause_s = max(LEAST_PAUSE_S, PAUSE_PER_EFFORT * (time.perf_counter() - began_s))
            if left_s is not None:
                self._follow(now_s + left_s, now_s)
            self._asked_s = now_s
        return None if self._end_s is None else max(0.0, self._end_s - now_s)

    def _follow(self, end_s: float, now_s: float) -> None:
        if self._end_s is None:
            self._end_s, self._first_s = end_s, now_s
            return
        known_for_s = min(end_s - now_s, now_s - self._first_s)
        span_s = min(MOST_FOLLOWED_S, max(LEAST_FOLLOWED_S, FOLLOWED_OVER * known_for_s))
        self._end_s += (end_s - self._end_s) * -math.expm1(-(now_s - self._asked_s) / span_s)

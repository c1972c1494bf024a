"""Steps one after the other: what keeps the devices busy without piling images up on them."""

import time
from typing import Any

import jax
import numpy as np

from training.feed import Dispatches
from training.step import Horizon, TrainState


def take_steps(
    advance: Any, state: TrainState, feed: Dispatches, horizon: Horizon, *, first: int, count: int
) -> tuple[TrainState, float]:
    """Returns the state after `count` steps from step `first` on, still being computed, and the wait for images.

    The wait is the time in which the devices had nothing left to do [s], an upper bound. One batch is on the devices
    and one on its way, no more.

    Args:
        advance: the compiled step of step.Programs.
    """
    waited, fetching = 0.0, time.perf_counter()
    for dispatch in feed.dispatches(first, count):
        is_idle: Any = state.loss_sum.is_ready  # pyright: ignore[reportAttributeAccessIssue]
        if is_idle():
            waited += time.perf_counter() - fetching
        jax.block_until_ready(state.loss_sum)
        state = advance(state, dispatch.arrays, horizon, dispatch.indices, np.int32(dispatch.count))
        fetching = time.perf_counter()
    return state, waited

"""A simulated cluster with everything around it, and studies that are trained there."""

from launcher.contract.backend import Event, Task
from launcher.rehearse.simulated_backend import SimulatedBackend
from launcher.rehearse.world import World
from launcher.settings.conditions import Conditions
from strategy.field import Field
from sweeps.pricing import price_trial


def backend_of(field: Field, seed: int, conditions: Conditions) -> SimulatedBackend:
    """Returns a cluster in the world of a seed."""
    return SimulatedBackend(losses=World.drawn(field, seed).losses, conditions=conditions, seed=seed)


def tasks_of(field: Field, *, seed: int = 0) -> list[Task]:
    """Returns a task for each cell at each of the study's rates."""
    trials = [field.trial(cell, int(rate), seed) for cell in range(len(field.cells)) for rate in field.asked_rates]
    return [Task(trial=trial, cost=price_trial(trial, field.study.hardware)) for trial in trials]


def drain(backend: SimulatedBackend, polls: int = 100_000) -> list[tuple[float, Event]]:
    """Returns all events with the virtual time at which they came [s]."""
    found: list[tuple[float, Event]] = []
    idle = 0
    for _ in range(polls):
        events = backend.poll(1.0)
        found += [(backend.clock.monotonic(), event) for event in events]
        idle = 0 if events else idle + 1
        if idle > 3 and not backend.underway():
            break
    return found

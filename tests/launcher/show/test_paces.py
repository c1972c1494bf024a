"""Seconds a step: what was timed is believed, and the rest is told from it."""

from collections.abc import Hashable, Mapping

import pytest

from launcher.contract.backend import Task
from launcher.settings.compose import compose
from launcher.show.paces import LOAD_S, Foreknowledge, Paces, Timed, model_of
from sweeps.pricing import price_trial


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    """A run of each model of the scale study."""
    study = compose(["budget=110k"]).study
    found: dict[str, Task] = {}
    for pack in compose(["budget=110k"]).plan().packs():
        task = Task(trial=pack.trials[0], cost=price_trial(pack.trials[0], study.hardware))
        found[task.trial.model] = task
    return found


def met(tasks: dict[str, Task], known: Foreknowledge | None = None) -> Paces:
    """Returns paces that have met all models."""
    paces = Paces(known or Foreknowledge())
    for task in tasks.values():
        paces.meet(task)
    return paces


def timed(task: Task, steps: int, seconds: float, until_s: float = 0.0) -> Timed:
    """Returns so many steps of a task's model that took so long."""
    return Timed(model=model_of(task), steps=steps, seconds=seconds, until_s=until_s)


def step_s_of(paces: Paces) -> Mapping[Hashable, float]:
    """Returns seconds a step, long after what was timed."""
    return paces.now((), 1e9).step_s


def test_nothing_is_known_of_flops_alone(tasks: dict[str, Task]) -> None:
    """Until something is timed, or can be guessed, no time is known."""
    paces = met(tasks)
    assert not paces.is_known
    paces.note(timed(tasks["f0"], 100, 1.0))
    assert paces.is_known
    assert met(tasks, Foreknowledge(guess_s=lambda task: 0.1)).is_known
    assert met(tasks, Foreknowledge(step_s={model_of(tasks["f3"]): 0.1})).is_known


@pytest.mark.parametrize("guess_s", [None, 1e-3])
def test_what_was_timed_long_is_believed(tasks: dict[str, Task], guess_s: float | None) -> None:
    """Whatever was guessed."""
    paces = met(tasks, Foreknowledge(guess_s=lambda task: guess_s))
    for number in range(6):
        paces.note(timed(tasks["f3"], 1_000_000, 50_000.0, until_s=1e5 * number))
        paces.note(timed(tasks["f0"], 1_000_000, 10_000.0, until_s=1e5 * number))
    found = step_s_of(paces)
    assert found[model_of(tasks["f3"])] == pytest.approx(0.05, rel=0.05)
    assert found[model_of(tasks["f0"])] == pytest.approx(0.01, rel=0.05)


def test_a_slow_machine_is_slow_for_all_models(tasks: dict[str, Task]) -> None:
    """One model that takes four times as long as guessed makes the others take about as much longer."""
    paces = met(tasks, Foreknowledge(guess_s=lambda task: 1e-3))
    paces.note(timed(tasks["f7p"], 100_000, 400.0))
    for model, step_s in step_s_of(paces).items():
        assert 2.5e-3 < step_s < 6e-3, model


def test_larger_models_are_thought_to_be_slower(tasks: dict[str, Task]) -> None:
    """Where only one was timed and nothing is known of the devices."""
    paces = met(tasks)
    paces.note(timed(tasks["f3"], 10_000, 10.0))
    found = step_s_of(paces)
    steps = [found[model_of(tasks[name])] for name in ("f0", "f1", "f3", "f3p", "f7", "f7p")]
    assert steps == sorted(steps)


def test_earlier_sweeps_count_until_this_one_is_timed(tasks: dict[str, Task]) -> None:
    """A machine that is busier than last time moves the models that have not run yet, too."""
    earlier = {model_of(task): 1e-3 * (1 + 0.2 * number) for number, task in enumerate(tasks.values())}
    paces = met(tasks, Foreknowledge(step_s=earlier, guess_s=lambda task: 1e-3))
    assert step_s_of(paces) == {model: pytest.approx(step_s, rel=0.1) for model, step_s in earlier.items()}
    first = next(iter(tasks.values()))
    for number in range(6):  # an hour of runs that all take longer
        paces.note(timed(first, 400_000, 600.0, until_s=600.0 * number))
    found = step_s_of(paces)
    for model, step_s in earlier.items():
        assert 1.2 * step_s < found[model] < 1.6 * step_s


def test_load_passes(tasks: dict[str, Task]) -> None:
    """A short time of slowness is believed less than the earlier sweeps, and one long after another counts again."""
    earlier = {model_of(task): 1e-3 for task in tasks.values()}
    slow, slow_twice = (met(tasks, Foreknowledge(step_s=earlier, guess_s=lambda task: 1e-3)) for _ in range(2))
    slow.note(timed(tasks["f7p"], 5000, 15.0, until_s=15.0))
    slow_twice.note(timed(tasks["f7p"], 5000, 15.0, until_s=15.0))
    slow_twice.note(timed(tasks["f7p"], 5000, 15.0, until_s=20 * LOAD_S))
    once, twice = (step_s_of(paces)[model_of(tasks["f0"])] for paces in (slow, slow_twice))
    assert 1e-3 < once < twice < 2.5e-3
    pace = slow.now((), 16.0)
    assert pace.loaded(5.0) > 1.3 * 5.0  # it is still there
    assert pace.loaded(100 * LOAD_S) < 1.02 * 100 * LOAD_S
    assert pace.loaded(0.0) == 0.0


def test_what_runs_counts(tasks: dict[str, Task]) -> None:
    """A run that has not ended says how fast it is."""
    paces = met(tasks)
    found = paces.now([timed(tasks["f1"], 1000, 5.0)], 0.0).step_s
    assert found[model_of(tasks["f1"])] == pytest.approx(5e-3, rel=0.05)
    paces.note(timed(tasks["f1"], 0, 1.0))  # nothing of its own
    assert not paces.is_known

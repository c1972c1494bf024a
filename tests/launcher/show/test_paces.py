"""Seconds a step: what was timed is believed, and the rest is told from it."""

import dataclasses

import pytest

from launcher.contract.backend import Task
from launcher.settings.compose import compose
from launcher.show.paces import Foreknowledge, Paces, model_of
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


def test_nothing_is_known_of_flops_alone(tasks: dict[str, Task]) -> None:
    """Until something is timed, or can be guessed, no time is known."""
    paces = met(tasks)
    assert not paces.is_known
    paces.note(tasks["f0"], 100, 1.0)
    assert paces.is_known
    assert met(tasks, Foreknowledge(guess_s=lambda task: 0.1)).is_known
    assert met(tasks, Foreknowledge(step_s={model_of(tasks["f3"]): 0.1})).is_known


@pytest.mark.parametrize("guess_s", [None, 1e-3])
def test_what_was_timed_long_is_believed(tasks: dict[str, Task], guess_s: float | None) -> None:
    """Whatever was guessed."""
    paces = met(tasks, Foreknowledge(guess_s=lambda task: guess_s))
    paces.note(tasks["f3"], 10_000, 500.0)
    paces.note(tasks["f0"], 10_000, 100.0)
    found = paces.step_s()
    assert found[model_of(tasks["f3"])] == pytest.approx(0.05, rel=0.05)
    assert found[model_of(tasks["f0"])] == pytest.approx(0.01, rel=0.05)


def test_a_slow_machine_is_slow_for_all_models(tasks: dict[str, Task]) -> None:
    """One model that takes four times as long as guessed makes the others take about as much longer."""
    paces = met(tasks, Foreknowledge(guess_s=lambda task: 1e-3))
    paces.note(tasks["f7p"], 100_000, 400.0)
    for model, step_s in paces.step_s().items():
        assert 2.5e-3 < step_s < 6e-3, model


def test_larger_models_are_thought_to_be_slower(tasks: dict[str, Task]) -> None:
    """Where only one was timed and nothing is known of the devices."""
    paces = met(tasks)
    paces.note(tasks["f3"], 10_000, 10.0)
    found = paces.step_s()
    steps = [found[model_of(tasks[name])] for name in ("f0", "f1", "f3", "f3p", "f7", "f7p")]
    assert steps == sorted(steps)


def test_earlier_sweeps_count_until_this_one_is_timed(tasks: dict[str, Task]) -> None:
    """A machine that is busier than last time moves the models that have not run yet, too."""
    earlier = {model_of(task): 1e-3 * (1 + 0.2 * number) for number, task in enumerate(tasks.values())}
    paces = met(tasks, Foreknowledge(step_s=earlier, guess_s=lambda task: 1e-3))
    assert paces.step_s() == {model: pytest.approx(step_s, rel=0.1) for model, step_s in earlier.items()}
    first = next(iter(tasks.values()))
    paces.note(first, 100_000, 150.0)
    found = paces.step_s()
    for model, step_s in earlier.items():
        assert 1.2 * step_s < found[model] < 1.6 * step_s


def test_what_runs_counts(tasks: dict[str, Task]) -> None:
    """A run that has not ended says how fast it is."""
    paces = met(tasks)
    found = paces.step_s({model_of(tasks["f1"]): (1000, 5.0)})
    assert found[model_of(tasks["f1"])] == pytest.approx(5e-3, rel=0.05)
    again = dataclasses.replace(tasks["f1"], shared_steps=3)
    paces.note(again, 0, 1.0)  # nothing of its own
    assert not paces.is_known

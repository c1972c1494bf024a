"""Packs: every member is what it would be by itself, whatever becomes of the others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.certificate import fault
from sweeps.compute import ComputeSpec
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import Trial
from tests.training.small_nets import TRIAL, changed
from tests.training.small_pool import TOKENS
from training import loop, pack_loop
from training.compilation import pack_programs_of
from training.pack_step import arranged
from training.weights import weights_file

EAGER = ComputeSpec(checkpoint_every_s=1e-9)
MODES = ("vmap", "scan")
VIT = changed(TRIAL, family="vit", shape=TOKENS)
"""Compiles in a third of the time of the other."""
ACCURACY = 1e-5
"""Relative: what 128 steps make of sums in another order; measured: 4e-7 for vmap, 0 for scan."""


class Killed(Exception):
    """Stands for the moment in which a process dies."""


class Watched:
    """Trains a pack and keeps all that it says."""

    def __init__(
        self,
        trials: Sequence[Trial],
        *,
        mode: str = "vmap",
        folder: Path | None = None,
        weights_dir: Path | None = None,
        on_report: Callable[[int, Progress], None] = lambda place, point: None,
        should_stop: Callable[[], bool] = lambda: False,
        least_start_steps: Sequence[int] = (),
    ) -> None:
        self.curves: list[list[Progress]] = [[] for _ in trials]
        self.ended: list[tuple[int, Outcome]] = []

        def report_of(place: int) -> Callable[[Progress], None]:
            def report(point: Progress) -> None:
                self.curves[place].append(point)
                on_report(place, point)

            return report

        def end_of(place: int) -> Callable[[Outcome], None]:
            return lambda outcome: self.ended.append((place, outcome))

        self.outcomes = pack_loop.train_pack(
            trials,
            mode=mode,
            data_dir=Path(),
            checkpoint_dirs=[None if folder is None else folder / trial.id for trial in trials],
            reports=[report_of(place) for place in range(len(trials))],
            ends=[end_of(place) for place in range(len(trials))],
            should_stop=should_stop,
            compute=EAGER,
            weights_dir=weights_dir,
            least_start_steps=least_start_steps,
        )


def alone(trial: Trial, **settings: Path | None) -> tuple[Outcome, list[Progress]]:
    """Returns the outcome and curve of a run by itself."""
    points: list[Progress] = []
    checkpoint_dir = settings.pop("checkpoint_dir", None)
    outcome = loop.train(
        trial, data_dir=Path(), checkpoint_dir=checkpoint_dir, report=points.append, compute=EAGER, **settings
    )
    return outcome, points


def assert_same(outcome: Outcome, expected: Outcome) -> None:
    """All that a run is compared by agrees to float accuracy, and what it saw exactly."""
    assert outcome.status is expected.status is Status.FINISHED
    for name in ("val_loss", "selection_loss", "train_loss"):
        assert getattr(outcome, name) == pytest.approx(getattr(expected, name), rel=ACCURACY), name
    assert outcome.certificate == expected.certificate and outcome.steps == expected.steps


def members(trial: Trial, seeds: tuple[int, ...] = (0, 1)) -> list[Trial]:
    """Returns three rates of each seed, the seeds mixed."""
    return [changed(trial, peak_lr=rate, seed=seed) for rate in (0.02, 0.05, 0.1) for seed in seeds]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trial", [TRIAL, VIT], ids=["nfnet", "vit"])
def test_a_pack_gives_what_separate_runs_give(mode: str, trial: Trial, tmp_path: Path) -> None:
    """Losses, curves, certificates and final weights of rates and seeds, for nets of either kind."""
    trials = members(trial)
    pack = Watched(trials, mode=mode, weights_dir=tmp_path / "pack")
    assert sorted(place for place, _ in pack.ended) == list(range(len(trials)))
    for place, member in enumerate(trials):
        expected, points = alone(member, weights_dir=tmp_path / "alone")
        assert_same(pack.outcomes[place], expected)
        assert [point.step for point in pack.curves[place]] == [point.step for point in points]
        ours, theirs = ([point.train_loss for point in curve] for curve in (pack.curves[place], points))
        assert ours == pytest.approx(theirs, rel=ACCURACY)
        kept, single = (
            np.load(weights_file(tmp_path / name, member.id), allow_pickle=False) for name in ("pack", "alone")
        )
        assert all(np.allclose(kept[name], single[name], rtol=1e-3, atol=1e-5) for name in single.files)
        assert fault(pack.outcomes[place].certificate, images=member.images, images_per_epoch=1024) is None


def test_all_packs_of_a_shape_run_on_one_compiled_program() -> None:
    """Other rates, another seed and another length compile nothing."""
    trials = members(VIT, seeds=(0,))
    _, programs = pack_programs_of(VIT, arranged(trials)[1], "vmap", Path(), EAGER)
    Watched(trials)
    Watched([changed(trial, peak_lr=2 * trial.peak_lr, seed=5, epochs=0.5) for trial in trials])
    compiled: list[Any] = [programs.advance, programs.evaluate]
    assert [program._cache_size() for program in compiled] == [1, 1]


def test_unequal_numbers_of_rates_pack_too() -> None:
    """Two rates of one seed and one of another: each is what it is by itself."""
    trials = [VIT, changed(VIT, peak_lr=0.05), changed(VIT, seed=1)]
    for outcome, trial in zip(Watched(trials).outcomes, trials, strict=True):
        assert_same(outcome, alone(trial)[0])


@pytest.mark.parametrize("mode", MODES)
def test_a_member_that_diverges_ends_at_once_and_harms_no_other(mode: str, tmp_path: Path) -> None:
    """Its end is told while the others go on, and they end as they would without it."""
    trials = [changed(VIT, peak_lr=rate) for rate in (0.05, 1e30, 0.1)]
    pack = Watched(trials, mode=mode, folder=tmp_path)
    assert [outcome.status for outcome in pack.outcomes] == [Status.FINISHED, Status.DIVERGED, Status.FINISHED]
    assert next(place for place, _ in pack.ended) == 1
    by_itself, points = alone(trials[1])
    assert pack.outcomes[1].steps == by_itself.steps and pack.outcomes[1].val_loss is None
    assert len(pack.curves[1]) == len(points)
    for place in (0, 2):
        assert_same(pack.outcomes[place], alone(trials[place])[0])


def test_a_killed_pack_resumes_as_a_pack(tmp_path: Path) -> None:
    """It goes on from the common step to the very numbers of an unbroken pack."""
    trials = members(VIT, seeds=(0,))

    def die(place: int, point: Progress) -> None:
        if point.step > 60:
            raise Killed

    with pytest.raises(Killed):
        Watched(trials, folder=tmp_path, on_report=die)
    resumed, unbroken = Watched(trials, folder=tmp_path), Watched(trials)
    for again, expected in zip(resumed.outcomes, unbroken.outcomes, strict=True):
        assert (again.val_loss, again.train_loss) == (expected.val_loss, expected.train_loss)
        assert again.certificate == expected.certificate
    assert resumed.curves[0][0].step > 30


def test_checkpoints_of_a_pack_are_those_of_runs(tmp_path: Path) -> None:
    """A run by itself goes on from its member's checkpoint; then the others are out of step and go on by themselves."""
    trials = members(VIT, seeds=(0,))
    asked: list[int] = []

    def stop_once() -> bool:
        asked.append(0)
        return len(asked) == 5

    stopped = Watched(trials, folder=tmp_path, should_stop=stop_once)
    steps = {outcome.steps for outcome in stopped.outcomes}
    assert {outcome.status for outcome in stopped.outcomes} == {Status.KILLED}
    assert len(steps) == 1 and all((tmp_path / trial.id / str(*steps)).is_dir() for trial in trials)
    run_alone, points = alone(trials[0], checkpoint_dir=tmp_path / trials[0].id)
    assert points[0].step > steps.pop()
    assert_same(run_alone, alone(trials[0])[0])
    for outcome, trial in zip(Watched(trials, folder=tmp_path).outcomes, trials, strict=True):
        assert_same(outcome, alone(trial)[0])


def test_a_member_that_may_not_begin_so_early_trains_nothing() -> None:
    """The others are trained."""
    trials = members(VIT, seeds=(0,))
    outcomes = Watched(trials, least_start_steps=[0, 10, 0]).outcomes
    assert [outcome.status for outcome in outcomes] == [Status.FINISHED, Status.KILLED, Status.FINISHED]
    assert outcomes[1].steps == 0


def test_the_time_of_a_pack_is_divided_among_its_members() -> None:
    """Together the members' clocks count no more than went by."""
    import time

    trials = members(VIT, seeds=(0,))
    Watched(trials)
    started = time.perf_counter()
    pack = Watched(trials)
    went_by = time.perf_counter() - started
    clocks = [outcome.clock for outcome in pack.outcomes]
    assert sum(clock.total_s for clock in clocks if clock is not None) <= went_by
    assert len({outcome.wall_s for outcome in pack.outcomes}) == 1 and pack.outcomes[0].wall_s > 0

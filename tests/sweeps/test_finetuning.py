"""Fine-tuning: which checkpoints are carried on, and the trials that do it."""

import dataclasses
from collections.abc import Callable

import pytest

from sweeps.budget import Budget
from sweeps.errors import StudyError
from sweeps.finetuning import FinetuneSpec, best_runs, finetuning_study
from sweeps.grid import Grid
from sweeps.plan import make_plan
from sweeps.pricing import price_trial
from sweeps.record import Outcome, RunRecord, Status
from sweeps.study import FamilySettings, Study
from sweeps.trial import RecipeSpec, Trial

StudyMaker = Callable[..., Study]
RecordMaker = Callable[..., RunRecord]
ALL = Budget(core_hours=1e9, hardware="toy")


def _finished(make_record: RecordMaker, trial: Trial, selection_loss: float | None) -> RunRecord:
    outcome = Outcome(
        status=Status.FINISHED, steps=trial.steps, val_loss=1.0, selection_loss=selection_loss, train_loss=1.0,
        wall_s=1.0, compile_s=0.0,
    )  # fmt: skip
    return dataclasses.replace(make_record(trial, steps=trial.steps), outcome=outcome)


def _records(study: Study, make_record: RecordMaker, loss: Callable[[Trial], float | None]) -> list[RunRecord]:
    grid = Grid(study=study)
    return [_finished(make_record, trial, loss(trial)) for trial in map(grid.trial, range(len(grid)))]


def _spec(study: Study, **changes: object) -> FinetuneSpec:
    spec = FinetuneSpec(
        data=dataclasses.replace(study.data, name="fashion_mnist", classes=4, images_per_epoch=640),
        schedule=study.schedule,
        recipe=RecipeSpec(),
        epochs=2.0,
        batch_images=16,
        peak_lrs=(0.01, 0.02, 0.04),
    )
    return dataclasses.replace(spec, **changes)


def test_the_best_rate_of_each_cell(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """One run a cell: at the rate that is best over seeds, the seed with the least selection loss."""
    study = make_study(seeds=(0, 1))
    losses = {(0.1, 0): 2.0, (0.1, 1): 1.0, (0.2, 0): 1.3, (0.2, 1): 1.2}
    records = _records(study, make_record, lambda trial: losses[trial.peak_lr, trial.seed])
    chosen = best_runs(study, ALL, records)
    assert [(run.trial.model, run.trial.epochs) for run in chosen] == [
        ("w4", 0.25), ("w8", 0.25), ("w4", 1.0), ("w8", 1.0),
    ]  # fmt: skip
    assert {(run.trial.peak_lr, run.trial.seed) for run in chosen} == {(0.2, 1)}
    costs = [run.cost.core_hours for run in chosen]
    assert costs == sorted(costs)
    both = best_runs(study, ALL, records, rates_per_cell=2)
    assert {(run.trial.peak_lr, run.trial.seed) for run in both} == {(0.2, 1), (0.1, 1)}
    assert len(both) == 8


def test_only_what_can_be_trusted(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """Runs that did not finish, have no selection loss, cost too much or are of another recipe are passed over."""
    study = make_study()
    records = _records(study, make_record, lambda trial: None if trial.epochs == 1.0 else 1.0)
    assert {run.trial.epochs for run in best_runs(study, ALL, records)} == {0.25}
    diverged = [dataclasses.replace(record, status=Status.DIVERGED) for record in records]
    assert best_runs(study, ALL, diverged) == ()
    other = dataclasses.replace(study, recipe=RecipeSpec(weight_decay=1e-4))
    assert best_runs(other, ALL, records) == ()
    cheapest = min(record.cost.core_hours for record in records)
    assert len(best_runs(study, Budget(core_hours=cheapest, hardware="toy"), records)) == 1


def test_trials_start_from_their_trunks(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """Each trunk is tried with each rate and seed; its trials are found again and are no trials from scratch."""
    study = make_study()
    trunks = best_runs(study, ALL, _records(study, make_record, lambda trial: trial.peak_lr))
    tuned = finetuning_study(study, _spec(study, seeds=(0, 1)), trunks)
    grid = Grid(study=tuned)
    trials = [grid.trial(index) for index in range(len(grid))]
    assert tuned.name == "toy_on_fashion_mnist"
    assert len({trial.id for trial in trials}) == len(trunks) * 3 * 2
    assert {trial.trunk_id for trial in trials} == {trunk.trial.id for trunk in trunks}
    shapes = {trunk.trial.id: trunk.trial.shape for trunk in trunks}
    for index, trial in enumerate(trials):
        assert grid.find(trial) == index
        assert trial.shape == shapes[trial.trunk_id or ""]
        assert (trial.data.classes, trial.steps) == (4, 80)
        assert grid.find(dataclasses.replace(trial, trunk_id=None)) is None
    plan = make_plan(tuned, ALL)
    assert sorted(cell.trunk_id or "" for cell in plan.cells) == sorted(3 * [trunk.trial.id for trunk in trunks])


def test_a_trunk_is_part_of_the_identity_and_absent_changes_nothing(make_study: StudyMaker) -> None:
    """Trials without a trunk keep the identities they had before picks knew trunks."""
    trial = Grid(study=make_study()).trial(0)
    assert trial.trunk_id is None
    assert dataclasses.replace(trial, trunk_id="0" * 16).id != trial.id


def test_sharpness_costs_a_second_gradient(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """With a sam_radius a run costs twice as much, in the plan as trial by trial."""
    study = make_study()
    trunks = best_runs(study, ALL, _records(study, make_record, lambda trial: 1.0))
    plain, sharp = (
        Grid(study=finetuning_study(study, _spec(study, recipe=RecipeSpec(sam_radius=radius)), trunks))
        for radius in (0.0, 0.05)
    )
    assert list(sharp.columns.core_hours) == [2 * cost for cost in plain.columns.core_hours]
    assert list(sharp.columns.flops) == [2 * flops for flops in plain.columns.flops]
    costs = [price_trial(sharp.trial(index), study.hardware).core_hours for index in range(len(sharp))]
    assert costs == list(sharp.columns.core_hours)


def test_channels_must_agree(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """A network that sees three channels is not fed one."""
    study = make_study()
    trunks = best_runs(study, ALL, _records(study, make_record, lambda trial: 1.0))
    spec = _spec(study)
    with pytest.raises(StudyError, match="see 3 channels, but fashion_mnist has 1"):
        finetuning_study(study, dataclasses.replace(spec, data=dataclasses.replace(spec.data, channels=1)), trunks)
    with pytest.raises(StudyError, match="no checkpoint to fine-tune"):
        finetuning_study(study, spec, ())


def test_each_family_is_carried_on_by_its_own_recipe(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """Of several families the best runs of each recipe count; fine-tuned they all have the one of the spec."""
    adamw = RecipeSpec(optimiser="adamw")
    plain = make_study(epochs=(1.0,))
    first, second = plain.models
    renamed = dataclasses.replace(second, family="vit")
    own = FamilySettings(family="vit", recipe=adamw, peak_lrs=(0.01, 0.02))
    study = dataclasses.replace(plain, models=(first, renamed), families=(own,))
    records = _records(study, make_record, lambda trial: trial.peak_lr)
    strangers = _records(plain, make_record, lambda trial: 1e-6)  # of the second model by the wrong recipe
    chosen = best_runs(study, ALL, [*records, *strangers[2:]])
    assert [(run.trial.model, run.trial.peak_lr) for run in chosen] == [("w4", 0.1), ("w8", 0.01)]
    grid = Grid(study=finetuning_study(study, _spec(study), chosen))
    assert {grid.trial(index).recipe for index in range(len(grid))} == {RecipeSpec()}
    assert len(grid) == 2 * 3

"""A trial's identity is all of it and nothing else; it survives JSON."""

import dataclasses
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.canonical import canonical_json, from_jsonable, short_hash, to_jsonable
from sweeps.grid import Grid
from sweeps.record import RunRecord, Status
from sweeps.study import Study
from sweeps.trial import Trial

StudyMaker = Callable[..., Study]
RecordMaker = Callable[..., RunRecord]
FINITE = st.floats(1e-6, 1e3)


@given(epochs=FINITE, peak_lr=FINITE, seed=st.integers(0, 99))
def test_trial_to_json_and_back(make_study: StudyMaker, epochs: float, peak_lr: float, seed: int) -> None:
    """A trial read back from its canonical JSON is the same trial with the same id."""
    trial = Grid(study=make_study(epochs=(epochs,), peak_lrs=(peak_lr,), seeds=(seed,))).trial(0)
    again = from_jsonable(Trial, json.loads(canonical_json(trial)))
    assert again == trial
    assert again.id == trial.id


def test_id_does_not_depend_on_the_order_of_keys(make_study: StudyMaker) -> None:
    """Shuffled keys, in the trial and inside it, give the same id."""
    trial = Grid(study=make_study()).trial(0)
    data = to_jsonable(trial)
    shuffled = {key: data[key] for key in sorted(data, reverse=True)}
    shuffled["data"] = dict(reversed(shuffled["data"].items()))
    assert from_jsonable(Trial, shuffled).id == trial.id


def test_whole_numbers_from_json_hash_as_floats(make_study: StudyMaker) -> None:
    """Epochs written 1 and 1.0 are one trial."""
    data = to_jsonable(Grid(study=make_study(epochs=(1.0,))).trial(0))
    assert from_jsonable(Trial, data | {"epochs": 1}).id == from_jsonable(Trial, data | {"epochs": 1.0}).id


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Trial)])
def test_every_field_is_part_of_the_id(make_study: StudyMaker, field: str) -> None:
    """Changing any field of a trial changes its id."""
    grid = Grid(study=make_study())
    trial = grid.trial(0)
    other = Grid(study=make_study(widths=(16,), epochs=(3.0,), batch_images=(8,), peak_lrs=(0.7,), seeds=(5,))).trial(0)
    replacements = {
        "family": "vit",
        "data": dataclasses.replace(trial.data, classes=11),
        "schedule": dataclasses.replace(trial.schedule, warmup_steps=3),
        "recipe": dataclasses.replace(trial.recipe, momentum=0.5),
        "trunk_id": "0123456789abcdef",
        "program": "python train.py",
    }
    changed = dataclasses.replace(trial, **{field: replacements.get(field, getattr(other, field))})
    assert changed.id != trial.id


@pytest.mark.parametrize(
    ("change", "message"), [({"colour": "red"}, "has no field colour; it has"), ({"seed": None}, "incomplete Trial")]
)
def test_foreign_json_is_refused(make_study: StudyMaker, change: dict[str, object], message: str) -> None:
    """A key too many or too few is an error, not a guess."""
    data = to_jsonable(Grid(study=make_study()).trial(0)) | change
    if change == {"seed": None}:
        del data["seed"]
    with pytest.raises(ValueError, match=message):
        from_jsonable(Trial, data)


def test_numbers_that_are_none_have_no_id(make_study: StudyMaker) -> None:
    """NaN has no canonical JSON, so that no two trials share an id by accident."""
    trial = dataclasses.replace(Grid(study=make_study()).trial(0), peak_lr=float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        short_hash(trial)


def test_name_and_size(make_study: StudyMaker) -> None:
    """The alias names the cell; steps are whole batches, at least one."""
    trial = Grid(study=make_study(epochs=(0.25, 0.001), peak_lrs=(0.8,))).trial(0)
    assert trial.name == "w4-e0.25-lr0.8-s0"
    assert (trial.steps, trial.images) == (8, 256)
    assert dataclasses.replace(trial, epochs=0.001).steps == 1


def test_records_survive_json(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """A record read back from JSON is the same record, curve, outcome and missing numbers included."""
    record = make_record(Grid(study=make_study()).trial(0), Status.KILLED, steps=3, curve_step=2)
    again = from_jsonable(RunRecord, json.loads(canonical_json(record)))
    assert again == record
    assert again.status is Status.KILLED


@pytest.mark.parametrize("status", list(Status))
def test_a_loss_belongs_to_finished_runs_only(make_study: StudyMaker, make_record: RecordMaker, status: Status) -> None:
    """A record reports its outcome's loss when it finished, and none otherwise."""
    record = make_record(Grid(study=make_study()).trial(0), status, steps=8)
    assert record.outcome is not None
    record = dataclasses.replace(record, outcome=dataclasses.replace(record.outcome, val_loss=0.5))
    assert record.val_loss == (0.5 if status is Status.FINISHED else None)

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.canonical import canonical_json, from_jsonable
from sweeps.record import RunRecord
from sweeps.trial import Trial
from tracking.record_json import (
    cost_from,
    dump_line,
    outcome_from,
    progress_from,
    record_from,
    record_to_json,
    tail,
    trial_from,
)


@given(data=st.data())
def test_a_record_comes_back(made: Any, data: st.DataObject) -> None:
    """Record to JSON to record changes nothing."""
    record: RunRecord = data.draw(made.records())
    text = record_to_json(record, error_letters=100)
    trial = trial_from(json.loads(canonical_json(record.trial)))
    back = record_from(json.loads(text), trial=trial, curve=record.curve)
    assert back == record
    assert back.trial.id == record.trial.id


def test_records_from_before_certificates_are_read(made: Any) -> None:
    """What they do not hold is missing; a mark stays; a finished one is tainted for want of a certificate."""
    record: RunRecord = made.record()
    fields = json.loads(record_to_json(record, error_letters=100))
    for name in ("val_error", "clock", "certificate", "corrupt_images", "cores", "peak_memory_bytes"):
        del fields["outcome"][name]
    del fields["is_marked"]
    old = record_from({**fields, "tainted": False}, trial=record.trial, curve=record.curve)
    assert old == dataclasses.replace(record, outcome=made.outcome(certificate=()))
    assert (old.tainted, old.taint) == (True, "it has no sampling certificate")
    assert record_from({**fields, "tainted": True}, trial=record.trial).is_marked


def test_trials_come_back_as_elsewhere(made: Any) -> None:
    """The fast way to a trial leads where the plain one does, also from 2 in place of 2.0."""
    fields = json.loads(canonical_json(made.trial))
    assert trial_from(fields) == from_jsonable(Trial, fields) == made.trial
    whole = trial_from({**fields, "epochs": 2})
    assert whole.id == made.trial.id


@pytest.mark.parametrize("change", [{"colour": "red"}, {"data": {"name": "x"}}, {"shape": {"depth": 3}}])
def test_unknown_trials_are_refused(made: Any, change: dict[str, Any]) -> None:
    """A trial with a field that nobody knows, or without one, is no trial."""
    with pytest.raises(
        ValueError, match=r"not a Trial|incomplete DataSpec|the fields depth are those of none of these: "
    ):
        trial_from({**json.loads(canonical_json(made.trial)), **change})


@pytest.mark.parametrize(
    ("build", "fields"),
    [(cost_from, {}), (outcome_from, {"status": "finished"}), (progress_from, {"step": 1}), (outcome_from, {})],
)
def test_incomplete_nouns_are_refused(build: Any, fields: dict[str, Any]) -> None:
    """A noun that lacks a field is refused with a ValueError, whatever it lacks."""
    with pytest.raises(ValueError, match="not a"):
        build(fields)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_line_holds_no_constant_of_javascript(value: float) -> None:
    """Numbers that are none are null, also one level down, and a line is one line."""
    line = dump_line({"a": value, "b": {"c": value}, "d": "two\nlines é", "e": 1.5})
    assert json.loads(line) == {"a": None, "b": {"c": None}, "d": "two\nlines é", "e": 1.5}
    assert "\n" not in line
    assert line.isascii()


def test_of_a_long_error_the_end_remains() -> None:
    """The end of a traceback says what happened."""
    assert tail("0123456789", 4) == "[...]6789"
    assert tail("0123456789", 0) == "[...]"
    assert tail("0123", 4) == "0123"
    assert tail(None, 4) is None

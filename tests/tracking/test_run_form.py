import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.certificate import EpochSamples, certificate_from
from sweeps.record import CostClock, RunRecord, Status
from tracking.run_form import MAX_POINTS, MAX_TAG_LETTERS, RunForm, digest, run_form, thin_curve


def latest(form: RunForm) -> dict[str, float]:
    """What MLflow shows of each metric: the value at the last step, of those the latest."""
    order = sorted(form.metrics, key=lambda metric: (metric.step, metric.unix_ms, metric.value))
    return {metric.key: metric.value for metric in order}


def test_params_bear_the_names_of_the_trial(made: Any) -> None:
    """Params are what a researcher filters by, as plain numbers."""
    params = run_form("s", made.record()).params
    assert {**params, "params": ""} == {
        "model": "f3",
        "family": "nfnet",
        "epochs": "2",
        "peak_lr": "0.8",
        "seed": "0",
        "batch_images": "32",
        "data": "parts",
        "schedule": "cosine",
        "steps": "200",
        "images": "6400",
        "params": "",
    }
    assert int(params["params"]) == made.trial.shape.params(channels=3, classes=10)


def test_final_metrics_are_the_outcome(made: Any) -> None:
    """What MLflow shows last of a run is its outcome, and its price for a run that went to the end."""
    shown = latest(run_form("s", made.record()))
    assert shown.pop("images") == 6400
    assert shown == {
        "val_loss": 1.5,
        "selection_loss": 1.25,
        "train_loss": 1.75,
        "wall_s": 2.5,
        "compile_s": 4.0,
        "steps_per_s": 80.0,
        "core_hours": made.cost.core_hours,
        "flops": made.cost.flops,
        "log10_core_hours": pytest.approx(math.log10(made.cost.core_hours)),
        "log10_val_loss": pytest.approx(math.log10(1.5)),
    }


def test_curves_have_their_axes(made: Any) -> None:
    """At every step of a loss there are core-hours, FLOPs, images and seconds to draw it over."""
    form = run_form("s", made.record(outcome=None, status=Status.KILLED, ended_unix_s=None))
    steps = {
        key: {m.step for m in form.metrics if m.key == key} for key in ("train_loss", "core_hours", "flops", "images")
    }
    assert set(map(frozenset, steps.values())) == {frozenset(range(25, 201, 25))}
    half = {m.key: m.value for m in form.metrics if m.step == 100}
    assert (half["core_hours"], half["flops"], half["images"]) == (400.0, 2e12, 3200.0)
    assert {m.step for m in form.metrics if m.key == "val_loss"} == {50, 100, 150, 200}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status.RUNNING, "RUNNING"),
        (Status.FINISHED, "FINISHED"),
        (Status.DIVERGED, "FAILED"),
        (Status.FAILED, "FAILED"),
        (Status.KILLED, "KILLED"),
    ],
)
def test_status_is_shown_as_mlflow_says_it(made: Any, status: Status, shown: str) -> None:
    """Each status has one of MLflow's, and its own name in a tag; only ended runs have an end."""
    form = run_form("s", made.record(status=status))
    assert (form.status, form.tags["loglog.status"]) == (shown, status.value)
    assert (form.end_unix_ms is None) == (status in (Status.RUNNING, Status.KILLED))
    assert form.start_unix_ms == 1_700_000_000_000


def test_missing_numbers_are_not_logged(made: Any) -> None:
    """A loss that is missing or no number is no metric, never 0; a missing budget is no tag."""
    record = made.record(
        status=Status.DIVERGED,
        curve=(made.progress(50, train_loss=math.nan, val_loss=math.inf),),
        outcome=made.outcome(Status.DIVERGED, steps=50, wall_s=0.0),
        budget_core_hours=None,
    )
    form = run_form("s", record)
    assert not {m.key for m in form.metrics} & {"train_loss", "val_loss", "selection_loss", "steps_per_s"}
    assert all(math.isfinite(m.value) for m in form.metrics)
    assert "loglog.budget_core_hours" not in form.tags


def test_long_errors_fit_into_a_tag(made: Any) -> None:
    """MLflow cuts tags where they are too long, JSON or not; an error is cut before, at its beginning."""
    for error in ("x" * 50_000 + "the cause", "\U0001f4a5" * 50_000 + "the cause"):
        record = made.record(status=Status.FAILED, outcome=made.outcome(Status.FAILED, error=error))
        text = run_form("s", record).tags["loglog.record"]
        assert len(text) <= MAX_TAG_LETTERS
        assert "the cause" in text


def test_an_endless_certificate_fits_into_a_tag(made: Any) -> None:
    """Of a thousand epochs that all differ the first remain: still a faulty certificate; a thousand alike all do."""
    odd = tuple(EpochSamples(epoch=i, images=i, digest=f"{i:016x}") for i in range(1000))
    tags = run_form("s", made.record(outcome=made.outcome(certificate=odd))).tags
    kept = certificate_from(json.loads(tags["loglog.record"])["outcome"]["certificate"])
    assert 100 < len(kept) < 1000 and kept == odd[: len(kept)]
    assert len(tags["loglog.sampling"]) < MAX_TAG_LETTERS
    alike = tuple(EpochSamples(epoch=i, images=7, digest="f" * 16) for i in range(1000))
    tags = run_form("s", made.record(outcome=made.outcome(certificate=alike))).tags
    assert tags["loglog.sampling"] == "0-999:7:ffffffffffffffff"
    assert certificate_from(json.loads(tags["loglog.record"])["outcome"]["certificate"]) == alike


def test_where_the_time_went_is_shown(made: Any) -> None:
    """The clock's parts, what they come to in core-hours, the error and the memory."""
    clock = CostClock(compile_s=60.0, input_wait_s=30.0, step_s=600.0, evaluation_s=20.0, checkpoint_s=9.0, lost_s=1.0)
    outcome = made.outcome(val_error=0.25, clock=clock, cores=10, peak_memory_bytes=2**30, corrupt_images=3)
    shown = latest(run_form("s", made.record(outcome=outcome)))
    assert {key: value for key, value in shown.items() if key.startswith("cost_")} == {
        "cost_compile_s": 60.0,
        "cost_input_wait_s": 30.0,
        "cost_step_s": 600.0,
        "cost_evaluation_s": 20.0,
        "cost_checkpoint_s": 9.0,
        "cost_lost_s": 1.0,
    }
    assert shown["core_hours_billed"] == pytest.approx(2.0)
    assert (shown["val_error"], shown["peak_memory_bytes"], shown["corrupt_images"]) == (0.25, 2**30, 3.0)


def test_steps_taken_over_are_shown(made: Any) -> None:
    """Speed is that of the run's own steps; a run that took none over says nothing of it, so old digests stay."""
    shared = latest(run_form("s", made.record(outcome=made.outcome(shared_steps=150))))
    plain = run_form("s", made.record())
    assert shared["shared_steps"] == 150.0
    assert shared["steps_per_s"] == pytest.approx(0.25 * latest(plain)["steps_per_s"])
    assert "shared_steps" not in latest(plain) and "shared_steps" not in str(plain.tags)


def test_a_taint_is_shown_with_its_reason(made: Any) -> None:
    """A run without a certificate is tainted and says why; one that a person marked, and a clean one, have one word."""
    no_certificate = made.record(outcome=made.outcome(certificate=()))
    assert run_form("s", no_certificate).tags["loglog.tainted"] == "true: it has no sampling certificate"
    assert run_form("s", made.record(is_marked=True)).tags["loglog.tainted"] == "true"
    assert run_form("s", made.record()).tags["loglog.tainted"] == "false"
    assert run_form("s", made.record(status=Status.FAILED)).tags["loglog.tainted"] == "false"


@given(
    steps=st.integers(1, 100_000).flatmap(
        lambda last: st.tuples(st.just(last), st.sets(st.integers(0, last), max_size=3), st.integers(1, 300))
    ),
    reached=st.floats(0, 1),
)
def test_curves_are_thinned_for_good(made: Any, steps: tuple[int, set[int], int], reached: float) -> None:
    """At most 200 points in order with the first and the last; what is kept of a beginning is kept of the whole."""
    last, extra, every = steps
    trial = dataclasses.replace(made.trial, epochs=last / 100)
    curve = tuple(made.progress(step) for step in sorted({*range(0, last + 1, every), *extra, last}))
    thin = thin_curve(curve, trial=trial, with_last=True)
    assert len(thin) == min(len(thin), MAX_POINTS)
    assert (thin[0], thin[-1]) == (curve[0], curve[-1])
    assert [point.step for point in thin] == sorted({point.step for point in thin})
    begun = curve[: max(1, round(reached * len(curve)))]
    if len(begun) > MAX_POINTS:
        assert set(thin_curve(begun, trial=trial, with_last=False)) <= set(thin)


def test_the_digest_tells_records_apart(made: Any) -> None:
    """Any change of a record, or of its study, changes the digest; nothing else does."""
    record: RunRecord = made.record()
    others = [
        made.record(1),
        made.record(attempts=2),
        made.record(status=Status.KILLED),
        made.record(is_marked=True),
        made.record(budget_core_hours=None),
        made.record(curve=record.curve[:-1]),
        made.record(outcome=made.outcome(val_loss=1.5000001)),
    ]
    digests = [digest("s", record), digest("t", record), *(digest("s", other) for other in others)]
    assert len(set(digests)) == len(digests)
    assert digest("s", made.record()) == digests[0]

"""The page of what loglog writes into MLflow: every param, metric and tag, as the form of a run has them."""

import dataclasses

from field_docs import field_docs, sentence, table

from sweeps.certificate import faultless
from sweeps.cost import Cost
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import CostClock, Outcome, Progress, RunRecord, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from tracking.run_form import RunForm, run_form

PARAMS = {
    "epochs": "Passes over the data set's `images_per_epoch`.",
    "peak_lr": "Peak learning rate.",
    "batch_images": "Images of an optimiser step.",
    "data": "Name of the data set.",
    "schedule": "Name of the schedule: cosine, wsd, constant.",
    "params": "Parameters of the model with this data set's classes.",
}
METRICS = {
    "images": "Training images seen so far.",
    "core_hours": "What the steps so far cost at the plan's price [core-hours of the study's hardware].",
    "flops": "Training FLOPs of the steps so far.",
    "log10_core_hours": "Logarithm of core_hours where a held-out loss was measured: MLflow's axes are linear.",
    "log10_val_loss": "Logarithm of the last val_loss.",
    "steps_per_s": "Steps trained in this run, by wall_s.",
}
TAGS = {
    "loglog.trial_id": "Sixteen hexadecimal digits: the hash of everything that defines the trial.",
    "loglog.trial": "The trial itself, as canonical JSON.",
    "loglog.record": "The record without trial and curve, as JSON: what fits read.",
    "loglog.digest": "What changes when the record does; a run without it is completed by the next ingestion.",
    "loglog.study": "The study's name.",
    "loglog.status": "running, finished, diverged, out_of_memory, stopped, failed or killed.",
    "loglog.tainted": "false, or `true: ` and what is wrong; a person may write into it.",
    "loglog.sampling": "The certificate: epochs, samples in each of them, hash.",
    "loglog.attempts": "How often it was begun.",
    "loglog.device": "What it ran on, as JAX names it.",
    "loglog.budget_core_hours": "The BUDGET of the sweep that launched it.",
    "loglog.code_version": "The commit that trained it.",
}


def page() -> list[str]:
    """Returns the lines of the page."""
    known = {**field_docs(Trial), **field_docs(Outcome), **field_docs(RunRecord), **field_docs(Progress)}
    known |= {f"cost_{name}": text for name, text in _clock_docs().items()}
    form = _form(is_finished=True)
    curve = {point.key for point in _form(is_finished=False).metrics}
    metrics = list(dict.fromkeys(point.key for point in form.metrics))
    lines = [
        "# What is written into MLflow", "",
        "One run a trial, in the experiment with the study's name; [tracking](../tracking.md) says how it gets there.",
        "A number that nobody measured is no metric, never 0.", "",
        "## Params", "",
        *table(("param", "meaning"), [(f"`{key}`", _meaning(key, PARAMS, known)) for key in form.params]), "",
        "## Metrics", "",
        "*Curve*: logged at each point of the curve and at the end, over optimiser steps; *end*: once.", "",
    ]  # fmt: skip
    rows = [(f"`{key}`", "curve" if key in curve else "end", _meaning(key, METRICS, known)) for key in metrics]
    lines += table(("metric", "when", "meaning"), rows)
    lines += ["", "## Tags", ""]
    tags = {key: key.removeprefix("loglog.") for key in form.tags}
    return lines + table(
        ("tag", "meaning"), [(f"`{key}`", TAGS.get(key) or _meaning(tags[key], {}, known)) for key in tags]
    )


def _meaning(key: str, said_here: dict[str, str], known: dict[str, str]) -> str:
    text = said_here.get(key) or known.get(key)
    if not text:
        raise SystemExit(f"docs/reference/mlflow_page.py does not say what {key} is that tracking/run_form.py writes")
    return sentence(text)


def _clock_docs() -> dict[str, str]:
    """Returns what each part of the cost clock is [s]."""
    docs = {"compile_s": "compilation", "step_s": "training steps", "evaluation_s": "held-out losses"} | field_docs(
        CostClock
    )
    return {
        item.name: f"Part of what the run was billed for [s]: {docs[item.name]}"
        for item in dataclasses.fields(CostClock)
    }


def _form(*, is_finished: bool) -> RunForm:
    """Returns the form of a run that has everything a run can have."""
    data = DataSpec(
        name="parts", image_px=16, channels=3, classes=10, images_per_epoch=64, held_out_images=8, selection_images=8
    )
    trial = Trial(
        model="f0", family="nfnet", shape=NFNetShape(stage_depths=(1,) * 4, stage_widths=(8,) * 4, group_width=8),
        data=data, epochs=1.0, batch_images=8, peak_lr=0.1, schedule=ScheduleSpec(name="cosine", warmup_steps=1),
        recipe=RecipeSpec(), seed=0,
    )  # fmt: skip
    points = (
        Progress(step=step, images=8 * step, train_loss=1.0, val_loss=1.1, wall_s=0.1 * step, shared_steps=1)
        for step in (2, 4)
    )
    outcome = Outcome(
        status=Status.FINISHED, steps=8, val_loss=1.0, selection_loss=1.0, train_loss=1.0, wall_s=1.0, compile_s=1.0,
        val_error=0.5, clock=CostClock(step_s=1.0), certificate=faultless(images=64, images_per_epoch=64),
        peak_memory_bytes=1, shared_steps=1,
    )  # fmt: skip
    record = RunRecord(
        trial=trial, cost=Cost(flops=1e9, core_hours=100.0, wall_hours=None, relative_spread=0.0),
        budget_core_hours=400.0, status=Status.FINISHED if is_finished else Status.RUNNING,
        outcome=outcome if is_finished else None, curve=tuple(points), attempts=1, code_version="abc", device="cpu",
        started_unix_s=1.7e9, ended_unix_s=1.7e9 + 2.0 if is_finished else None,
    )  # fmt: skip
    return run_form("scale_model", record)

"""Fits the law of 10,000 recorded runs from runs.sqlite, intervals and JSON included: seconds after imports."""

import contextlib
import io
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

import numpy as np
from result_file import Figure, write_result

from analysis.fit_scaling import main as fit
from analysis.report import report_text  # noqa: F401  # imported before the clock starts
from sweeps.certificate import faultless
from sweeps.cost import Cost
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Outcome, RunRecord, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from tracking.paths import ROOT_VARIABLE, ProjectPaths
from tracking.store import ingest

STUDY = "ten_thousand"
MODELS, EPOCHS, RATES, SEEDS = 20, 56, (0.05, 0.1, 0.2), 3
DATA = DataSpec(
    name="parts",
    image_px=16,
    channels=3,
    classes=64,
    images_per_epoch=8192,
    held_out_images=4096,
    selection_images=4096,
)


def records() -> Iterator[RunRecord]:
    """Yields 20 models x 56 epochs x 3 rates x 3 seeds = 10,080 finished runs near L = 6 C^-0.1, with 1 % noise."""
    rng = np.random.default_rng(0)
    for index in range(MODELS):
        per_epoch = 1600.0 * 1.15**index
        shape = NFNetShape(stage_depths=(1, 1, 1, 1), stage_widths=(8 + index, 16, 32, 32), stem_widths=(4, 4, 8, 8))
        for step in range(EPOCHS):
            epochs = 0.25 * 1.065**step
            hours = per_epoch * epochs
            best = 6.0 * hours**-0.1 * math.exp(0.01 * math.log(epochs / 2.0) ** 2)
            for rate in RATES:
                tuned = best * math.exp(0.02 * math.log2(rate / 0.11) ** 2)
                for seed in range(SEEDS):
                    losses = tuned * np.exp(0.01 * rng.normal(size=2))
                    trial = Trial(
                        model=f"m{index:02d}", family="nfnet", shape=shape, data=DATA, epochs=epochs, batch_images=32,
                        peak_lr=rate, schedule=ScheduleSpec(name="cosine", warmup_steps=20), recipe=RecipeSpec(),
                        seed=seed,
                    )  # fmt: skip
                    yield finished(trial, hours, float(losses[0]), float(losses[1]))


def finished(trial: Trial, core_hours: float, val_loss: float, selection_loss: float) -> RunRecord:
    """Returns the record of a run that ended well, without a curve."""
    outcome = Outcome(
        status=Status.FINISHED, steps=trial.steps, val_loss=val_loss, selection_loss=selection_loss,
        train_loss=val_loss, wall_s=1.0, compile_s=0.0,
        certificate=faultless(images=trial.images, images_per_epoch=trial.data.images_per_epoch),
    )  # fmt: skip
    return RunRecord(
        trial=trial,
        cost=Cost(flops=3.6e6 * core_hours, core_hours=core_hours, wall_hours=None, relative_spread=0.0),
        budget_core_hours=1e6,
        status=Status.FINISHED,
        outcome=outcome,
        curve=(),
        attempts=1,
        code_version="benchmark",
        device="cpu",
        started_unix_s=1.7e9,
        ended_unix_s=1.7e9 + 1,
    )


def main() -> None:
    """Measures, prints and writes benchmarks/results/fit_10k_runs.json."""
    with tempfile.TemporaryDirectory(prefix="loglog-bench-") as folder:
        os.environ[ROOT_VARIABLE] = folder
        start_s = time.perf_counter()
        written = ingest(ProjectPaths(root=Path(folder)), STUDY, records())
        ingest_s = time.perf_counter() - start_s
        start_s = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = fit(["--json", "--study", STUDY, "--out", folder])
        with_figures_s = time.perf_counter() - start_s
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = fit(["--json", "--study", STUDY, "--out", folder])
        fit_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    law = json.loads(printed.getvalue())["law"]
    assert code == 0 and law["interval"]["method"] == "seeds"
    write_result(
        "fit_10k_runs",
        [
            Figure(name="fit_seconds", value=fit_s, bar=5.0, unit="s"),
            Figure(name="fit_cpu_seconds", value=cpu_s, bar=None, unit="s"),
            Figure(
                name="fit_seconds_first_time", value=with_figures_s, bar=None, unit="s, matplotlib's import included"
            ),
            Figure(name="runs", value=written, bar=10_000, unit="runs"),
            Figure(name="resamples", value=law["interval"]["resamples"], bar=4000, unit="resamples"),
            Figure(name="ingest_seconds", value=ingest_s, bar=None, unit="s"),
        ],
        command="make bench NAME=fit_10k_runs",
    )


if __name__ == "__main__":
    main()

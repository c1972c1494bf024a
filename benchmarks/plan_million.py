"""Plans a grid of 1,000,000 cells: seconds and peak memory, cold, in a process of its own."""

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from result_file import Figure, write_result

from sweeps.budget import Budget
from sweeps.hardware import Hardware
from sweeps.nfnet_shape import NFNetShape
from sweeps.plan import Plan, make_plan
from sweeps.study import Model, Study
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec

MODELS, EPOCHS, BATCHES = 1000, 100, 10
BUDGET_CORE_HOURS = 50_000.0
SPEND_CAP_CORE_HOURS = 1e9


def million_cells() -> Study:
    """Returns a study of 1000 models x 100 epochs x 10 batches, each with three learning rates: 3,000,000 trials."""
    return Study(
        name="million",
        title="A grid of a million cells",
        models=tuple(
            Model(
                name=f"m{index}",
                family="nfnet",
                shape=NFNetShape(
                    stage_depths=(1 + index % 8, 2, 6, 3), stage_widths=(128 + index, 512, 1536, 1536 + 2 * index)
                ),
            )
            for index in range(MODELS)
        ),
        epochs=tuple(0.1 * (step + 1) for step in range(EPOCHS)),
        batch_images=tuple(256 * (step + 1) for step in range(BATCHES)),
        peak_lrs=(0.4, 0.8, 1.6),
        seeds=(0,),
        data=DataSpec(
            name="jft4b",
            image_px=224,
            channels=3,
            classes=30_000,
            images_per_epoch=4_000_000_000,
            held_out_images=130_000,
            selection_images=0,
        ),
        schedule=ScheduleSpec(name="cosine", warmup_steps=5000),
        recipe=RecipeSpec(),
        hardware=Hardware(name="tpu_v4", peak_flops_per_s_per_core=137.5e12, assumed_mfu=0.33),
    )


def plan_and_read(study: Study) -> Plan:
    """Returns the plan after asking it for everything a table shows: total, first and last cells and cuts."""
    plan = make_plan(
        study,
        Budget(core_hours=BUDGET_CORE_HOURS, hardware=study.hardware.name),
        spend_cap_core_hours=SPEND_CAP_CORE_HOURS,
    )
    assert len(plan.cells) + len(plan.cuts) == MODELS * EPOCHS * BATCHES
    assert plan.total.core_hours <= SPEND_CAP_CORE_HOURS
    for rows in (plan.cells, plan.cuts):
        assert rows[0] and rows[-1]
    assert next(plan.trials()).id
    return plan


def main() -> None:
    """Measures, prints and writes benchmarks/results/plan_million.json."""
    study = million_cells()
    start_s = time.perf_counter()
    plan = plan_and_read(study)
    seconds = time.perf_counter() - start_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak * (1 if sys.platform == "darwin" else 1024) / 1e9  # macOS counts bytes, Linux kibibytes
    write_result(
        "plan_million",
        [
            Figure(name="plan_seconds", value=seconds, bar=10.0, unit="s"),
            Figure(name="peak_memory", value=peak_gb, bar=2.0, unit="GB"),
            Figure(name="cells", value=len(plan.cells) + len(plan.cuts), bar=None, unit="cells"),
            Figure(name="cells_within", value=len(plan.cells), bar=None, unit="cells"),
        ],
        command="make bench NAME=plan_million",
    )


if __name__ == "__main__":
    main()

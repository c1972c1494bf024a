"""A plan in print: aligned, within 100 columns, in pipes and without colour; and as JSON."""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from launcher.settings.compose import compose
from launcher.show.plan_table import MAX_CUTS, MAX_ROWS, TABLE_WIDTH, plan_as_json, print_plan
from sweeps.budget import format_core_hours
from sweeps.plan import Plan, make_plan
from sweeps.pricing import Rule, learned_efficiency

REFERENCE = Path(__file__).parents[3] / "sweeps" / "reference" / "jft4b_nfnet_loss.csv"
NAMES = {"F0": "f0", "F1": "f1", "F3": "f3", "F3+": "f3p", "F7": "f7", "F7+": "f7p"}


def plan_of(*words: str) -> Plan:
    """Returns the plan of these overrides, without records."""
    request = compose(words)
    return make_plan(request.study, request.budget, spend_cap_core_hours=request.spend_cap_core_hours)


def printed(plan: Plan, *, encoding: str = "utf-8") -> list[str]:
    """Returns the lines that a pipe of this encoding receives."""
    bytes_out = io.BytesIO()
    stream = io.TextIOWrapper(bytes_out, encoding=encoding, write_through=True)
    print_plan(plan, Console(file=stream, width=TABLE_WIDTH, highlight=False))
    return bytes_out.getvalue().decode(encoding).splitlines()


def test_reference_study_prices_within_five_per_cent() -> None:
    """The 36 cells of the reference study cost what the paper's figure says, to 5 %."""
    cells = {
        (cell["model"], cell["epochs"]): cell for cell in plan_as_json(plan_of("study=jft", "budget=110k"))["cells"]
    }
    with REFERENCE.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(cells) == 36
    for row in rows:
        cell = cells[NAMES[row["model"]], float(row["epochs"])]
        assert cell["core_hours"] == pytest.approx(float(row["core_hours"]), rel=0.05)


@pytest.mark.parametrize(
    ("study", "budget", "cells"),
    [
        ("jft", "0.4k", 1),
        ("jft", "10k", 21),
        ("jft", "110k", 36),
        ("scale_model", "0.4k", 1),
        ("scale_model", "10k", 21),
        ("scale_model", "110k", 36),
    ],
)
def test_cells_within_the_reference_budgets(study: str, budget: str, cells: int) -> None:
    """0.4k holds F0 x 0.25 epochs, 10k holds 21 cells and 110k all 36, in the reference study and its scale model."""
    plan = plan_of(f"study={study}", f"budget={budget}")
    assert (len(plan.cells), len(plan.cuts)) == (cells, 36 - cells)


def test_json_holds_what_the_manual_promises() -> None:
    """The object has the promised keys, one entry a run whose costs add up to the total, one entry a cut cell."""
    answer = json.loads(json.dumps(plan_as_json(plan_of("study=jft", "budget=10k", "seeds=2"))))
    assert set(answer) == {
        "budget_core_hours",
        "total_core_hours",
        "trained_core_hours",
        "total_flops",
        "cells",
        "cuts",
    }
    cell_keys = {"model", "family", "epochs", "peak_lr", "images", "params", "flops", "core_hours"}
    assert all(set(cell) == cell_keys for cell in answer["cells"])
    assert all(set(cut) == {"model", "epochs", "reason"} for cut in answer["cuts"])
    assert len(answer["cells"]) == 21 * 3 * 2
    assert answer["budget_core_hours"] == 10_000
    assert answer["total_core_hours"] == pytest.approx(sum(cell["core_hours"] for cell in answer["cells"]))
    assert answer["trained_core_hours"] == answer["total_core_hours"], "runs of a cosine share nothing"
    assert answer["total_flops"] == pytest.approx(sum(cell["flops"] for cell in answer["cells"]))
    assert {cut["reason"] for cut in answer["cuts"]} == {"above the budget of 10k"}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    "words",
    [
        ("study=jft", "budget=110k", "hardware.price_per_core_hour=1.61"),
        ("study=jft", "budget=10k", "spend=100k", "study.batch_images=[4096,2048]"),
        ("study=jft", "budget=10k", "model=nfnet/f4"),
        ("budget=10k",),
        ("study=fashion_mnist", "budget=1k", "seeds=3"),
    ],
)
def test_tables_fit_and_survive_pipes(words: tuple[str, ...], encoding: str) -> None:
    """No line is wider than 100 columns or broken, none holds a colour code, and plain ASCII will do."""
    lines = printed(plan_of(*words), encoding=encoding)
    assert max(map(len, lines)) <= TABLE_WIDTH
    assert not any("\x1b" in line for line in lines)
    plan = plan_of(*words)
    rows = [line for line in lines if re.match(r"[| ]*f\d\w*-e", line)]
    cuts = Counter(cut.reason for cut in plan.cuts).values()
    assert len(rows) == len(plan.cells) + sum(min(MAX_CUTS, count) for count in cuts)


def test_cumulative_column_ends_at_the_total() -> None:
    """The last cell's cumulative core-hours are the plan's total."""
    plan = plan_of("budget=1k", "study.peak_lrs=[0.1]", "seeds=1")
    lines = printed(plan)
    last = next(line for line in reversed(lines) if "defined" in line)
    assert last.split()[5] == format_core_hours(plan.total.core_hours)
    assert any(
        "total: 3 cells, 3 runs" in line and f"{format_core_hours(plan.total.core_hours)} core-hours" in line
        for line in lines
    )


def test_units_are_said() -> None:
    """A scale model says what its core-hour is, a fallback price says what it assumes, money says its rate."""
    assert any(
        line.startswith("scale model, 1 core-hour = ") and line.endswith(" FLOPs")
        for line in printed(plan_of("budget=1k"))
    )
    assumed = printed(plan_of("study=jft", "budget=10k", "model=nfnet/f4"))
    assert "assumed MFU: tpu_v4 has no throughput for f4 at 224 px; priced at 137.5 TFLOP/s x 33 %" in assumed
    assert any(line.rstrip().endswith("assumed MFU") for line in assumed)
    priced = printed(plan_of("study=jft", "budget=0.4k", "hardware.price_per_core_hour=2"))
    assert "price: 2,415 USD at 2 a core-hour" in priced


def test_what_is_really_trained_is_said() -> None:
    """Where the schedule lets runs share steps, the plan says how many do and what is left to be trained."""
    plan = plan_of("budget=110k", "schedule=wsd", "seeds=1", "hardware.price_per_core_hour=1")
    answer = plan_as_json(plan)
    assert answer["trained_core_hours"] == pytest.approx(9.55 / 15.75 * answer["total_core_hours"], rel=1e-3)
    shared, priced = (next(line for line in printed(plan) if word in line) for word in ("take over", "price: "))
    assert shared == (
        f"90 of 108 runs take over the steps of a shorter one: {format_core_hours(plan.trained_core_hours)} core-hours "
        f"to be trained, 60.6 % of {format_core_hours(plan.total.core_hours)}"
    )
    assert priced.startswith(f"price: {plan.trained_core_hours:,.0f} USD")
    assert not any("take over" in line for line in printed(plan_of("budget=110k")))


def test_cuts_say_why() -> None:
    """Cells above the budget and past the spend cap are listed with their own reason."""
    lines = printed(plan_of("budget=10k", "spend=50k", "seeds=1"))
    above = [line.split() for line in lines if line.rstrip().endswith("above the budget of 10k")]
    past = [line.split() for line in lines if line.rstrip().endswith("past the spend cap of 50k")]
    assert [words[4] for words in (*above[:-1], *past[:-1])] == ["cut"] * 2 * MAX_CUTS
    assert [words[:3] for words in (above[-1], past[-1])] == [["...", "12", "more"], ["...", "8", "more"]]
    assert "spent so far: 0 core-hours, of a cap of 50k; 0 runs done" in lines


def test_long_plans_are_shortened() -> None:
    """A plan of thousands of cells shows the first hundred and says how many more there are."""
    epochs = ",".join(str(round(0.01 * step, 2)) for step in range(1, 301))
    plan = plan_of("budget=10k", f"study.epochs=[{epochs}]")
    lines = printed(plan)
    assert len(lines) < MAX_ROWS + 20
    assert any(line.strip() == f"... {len(plan.cells) - MAX_ROWS:,} more" for line in lines)


COMPILED_F4 = (
    "hardware.compiled=[{model: f4, family: nfnet, image_px: 224, batch_images_per_core: 64, flops: 1e12, "
    "traffic_bytes: 1e10, memory_bytes: 2e10, floor_s: 0.4, fits: false, source: a compiler}]"
)


def test_a_compiled_floor_says_what_it_rests_on() -> None:
    """A model that was compiled only is priced by its floor, and the plan says the efficiency and its error."""
    words = ("study=jft", "budget=110k", "model=nfnet/f4", COMPILED_F4)
    plan = plan_of(*words, "hardware.assumed_efficiency=0.5", "hardware.efficiency_spread=0.08")
    cell = plan.cells[0]
    assert cell.rule is Rule.COMPILED
    assert cell.cost.core_hours == pytest.approx(cell.images * 0.4 / 64 / 0.5 / 3600)
    lines = printed(plan)
    assert any("only a compiled step of f4; floor / 0.50 (+- 8 % where both are known)" in line for line in lines)
    assert max(map(len, lines)) <= TABLE_WIDTH
    without = printed(plan_of(*words, "hardware.assumed_efficiency=null"))
    assert any(line.rstrip().endswith("assumed MFU") for line in without)


def test_rules_stand_side_by_side() -> None:
    """Measured, floor and assumed prices of an epoch in one table, how far they lie apart, and what is too large."""
    words = ("study=jft", "budget=110k", "study.models=[nfnet/f0,nfnet/f4]", COMPILED_F4)
    lines = printed(plan_of(*words, "hardware.assumed_efficiency=0.5"))
    head = next(line for line in lines if "core-hours an epoch" in line)
    assert all(words in head for words in ("measured", "floor / 0.50", "33 % MFU", "memory a core"))
    f0, f4 = (next(line for line in lines if re.match(rf"[| ]*{name} ", line)) for name in ("f0", "f4"))
    assert "1.61k" in f0 and "(-13 %)" in f0
    assert "13.9k" in f4 and "18.6 GiB at 64, does not fit" in f4


def test_a_scale_model_has_nothing_to_compare() -> None:
    """Where core-hours are FLOPs by another name there is no second table."""
    assert not any("core-hours an epoch" in line for line in printed(plan_of("budget=1k")))


def test_the_assumed_efficiency_is_that_of_the_committed_figures() -> None:
    """What tpu_v4 assumes of a compiled floor is what its six measured models reach of theirs, with their spread."""
    study = plan_of("study=jft", "budget=110k").study
    learned = learned_efficiency(study.hardware, study.data)
    said = study.hardware.assumed_efficiency, study.hardware.efficiency_spread
    assert said == ((None, None) if learned is None else pytest.approx(learned, rel=1e-3))


def test_families_are_told_with_their_recipes() -> None:
    """A line a family in a study that gives them recipes and rates of their own, in their order; none in others."""
    own = ("study.families.vit.peak_lrs=[0.5,1,2]", "study.families.vit.lr_params_exponent=0")
    lines = printed(plan_of("study=families", "budget=1k", *own))
    start = next(number for number, line in enumerate(lines) if line.startswith("nfnet: "))
    assert lines[start + 1] == "vit: adamw, learning rates 0.5, 1, 2"
    assert re.fullmatch(r"hybrid: adamw, learning rates [\d., ]+ \(hyb_f0\) to [\d., ]+", lines[start + 3])
    assert [line.split(":")[0] for line in lines[start : start + 4]] == ["nfnet", "vit", "separable", "hybrid"]
    assert not [line for line in printed(plan_of("study=scale_model", "budget=1k")) if "learning rates" in line]


def test_json_gives_each_run_its_family_s_rate() -> None:
    """Runs of one model, one for each seed and each rate of its family."""
    cells = plan_as_json(plan_of("study=families", "budget=400"))["cells"]
    rates = {cell["model"]: {one["peak_lr"] for one in cells if one["model"] == cell["model"]} for cell in cells}
    study = plan_of("study=families", "budget=400").study
    assert rates == {model.name: set(study.peak_lrs_of(model)) for model in study.models if model.name in rates}
    assert len(rates) >= 4

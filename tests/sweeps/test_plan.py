"""What a budget holds: nested, never above it, never past the spend cap, and a pure function."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.budget import READING_TOLERANCE, Budget, parse_core_hours
from sweeps.errors import StudyError
from sweeps.grid import Grid
from sweeps.plan import Plan, make_plan
from sweeps.record import RunRecord, Status
from sweeps.spent import core_hours_spent
from sweeps.study import Study
from sweeps.trial import Trial

StudyMaker = Callable[..., Study]
RecordMaker = Callable[..., RunRecord]

CORE_HOURS = st.floats(1.0, 2000.0)
EPOCHS = (0.25, 0.5, 1.0, 2.0)
ALL = 1e9


def plan_of(study: Study, core_hours: float, **options: object) -> Plan:
    """Returns the plan of a study within so many core-hours."""
    return make_plan(study, Budget(core_hours=core_hours, hardware="toy"), **options)  # pyright: ignore[reportArgumentType]


def ids(trials: object) -> list[str]:
    """Returns the ids of trials in their order."""
    return [trial.id for trial in trials]  # pyright: ignore


@given(small=CORE_HOURS, large=CORE_HOURS)
def test_budgets_are_nested(make_study: StudyMaker, small: float, large: float) -> None:
    """A larger budget only adds cells; none is above 1.01 x budget, and what is cut is."""
    small, large = sorted((small, large))
    study = make_study(epochs=EPOCHS)
    plan, wider = plan_of(study, small), plan_of(study, large)
    assert set(ids(plan.trials())) <= set(ids(wider.trials()))
    assert all(cell.cost.core_hours <= READING_TOLERANCE * small for cell in plan.cells)
    assert all(cut.cell.cost.core_hours > READING_TOLERANCE * small for cut in plan.cuts)
    assert len(plan.cells) + len(plan.cuts) == plan.grid.cell_count


@given(core_hours=CORE_HOURS)
def test_a_plan_adds_up(make_study: StudyMaker, core_hours: float) -> None:
    """Trials come cheapest first, each once, and the total is the sum of their prices."""
    plan = plan_of(make_study(epochs=EPOCHS, seeds=(0, 1)), core_hours)
    prices = [plan.cost(trial) for trial in plan.trials()]
    assert len(set(ids(plan.trials()))) == len(prices) == 4 * len(plan.cells)
    assert [cost.core_hours for cost in prices] == sorted(cost.core_hours for cost in prices)
    assert plan.total.core_hours == pytest.approx(math.fsum(cost.core_hours for cost in prices))
    assert plan.total.flops == pytest.approx(math.fsum(cost.flops for cost in prices))


def test_tolerance_is_one_per_cent(make_study: StudyMaker) -> None:
    """A cell at 1.009 x budget fits, one at 1.011 does not."""
    study = make_study(widths=(8,), epochs=(1.0,))
    cost = float(Grid(study=study).columns.core_hours[0])
    assert len(plan_of(study, cost / 1.009).cells) == 1
    assert [cut.reason for cut in plan_of(study, cost / 1.011).cuts] == [
        f"above the budget of {Budget(core_hours=cost / 1.011, hardware='toy')}"
    ]


STATUSES = st.sampled_from([Status.FINISHED, Status.DIVERGED, Status.FAILED, Status.KILLED, Status.RUNNING])


@given(data=st.data(), cap=st.floats(0.0, 4000.0))
def test_spend_cap_is_never_passed(
    make_study: StudyMaker, make_record: RecordMaker, data: st.DataObject, cap: float
) -> None:
    """What is still to be launched, plus what all other records used, stays within the cap or nothing is launched."""
    study = make_study(epochs=EPOCHS)
    grid = Grid(study=study)
    records: list[RunRecord] = []
    for index in data.draw(st.sets(st.integers(0, len(grid) - 1), max_size=8)):
        trial = grid.trial(index)
        steps = data.draw(st.none() | st.integers(0, trial.steps))
        records.append(make_record(trial, data.draw(STATUSES), steps=steps, attempts=data.draw(st.integers(1, 4))))
    plan = plan_of(study, 500.0, records=records, spend_cap_core_hours=cap)
    launched = {trial.id: plan.cost(trial).core_hours for trial in plan.pending()}
    used = [core_hours_spent(record) for record in records if record.trial.id not in launched]
    if launched:
        assert math.fsum([*launched.values(), *used]) <= cap * (1 + 1e-9)
    assert all(cut.reason.startswith(("above the budget of", "past the spend cap of")) for cut in plan.cuts)
    assert plan.spent_core_hours == pytest.approx(math.fsum(map(core_hours_spent, records)))


def test_cells_past_the_spend_cap_say_so(make_study: StudyMaker) -> None:
    """A cap that holds the two cheapest cells keeps those, whole, and cuts the rest with that reason."""
    study = make_study(epochs=EPOCHS)
    cells = plan_of(study, ALL).cells
    cap = sum(cell.runs * cell.cost.core_hours for cell in cells[:2])
    plan = plan_of(study, ALL, spend_cap_core_hours=cap)
    assert [cell.name for cell in plan.cells] == [cell.name for cell in cells[:2]]
    assert {cut.reason[:18] for cut in plan.cuts} == {"past the spend cap"}


def test_a_finished_sweep_needs_nothing_more(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """With every run settled nothing is pending, and a cap that is used up cuts no finished cell."""
    study = make_study()
    whole = plan_of(study, ALL)
    records = [make_record(trial, steps=trial.steps) for trial in whole.trials()]
    plan = plan_of(study, ALL, records=records, spend_cap_core_hours=1.0)
    assert plan.pending() == ()
    assert plan.packs() == ()
    assert len(plan.cells) == len(whole.cells)
    assert plan.spent_core_hours == pytest.approx(whole.total.core_hours)


@pytest.mark.parametrize(
    ("status", "attempts", "is_pending"),
    [
        (Status.FINISHED, 1, False),
        (Status.DIVERGED, 1, False),
        (Status.FAILED, 3, True),
        (Status.KILLED, 1, True),
        (Status.RUNNING, 1, True),
    ],
)
def test_only_settled_runs_leave_the_plan(
    make_study: StudyMaker, make_record: RecordMaker, status: Status, attempts: int, is_pending: bool
) -> None:
    """Finished and diverged runs are done; killed, running and failed ones are launched again."""
    study = make_study()
    trial = Grid(study=study).trial(3)
    plan = plan_of(study, ALL, records=[make_record(trial, status, steps=1, attempts=attempts)])
    assert (trial in plan.pending()) is is_pending
    assert sum(cell.settled_runs for cell in plan.cells) == (0 if is_pending else 1)


@pytest.mark.parametrize(
    ("steps", "curve_step", "part"),
    [(16, None, 0.5), (None, 8, 0.25), (8, 16, 0.5), (None, None, 1.0), (99, None, 1.0)],
)
def test_core_hours_spent(
    make_study: StudyMaker, make_record: RecordMaker, steps: int | None, curve_step: int | None, part: float
) -> None:
    """A run has used its price by its steps: the outcome's or the curve's, all of it where neither is known."""
    trial = Grid(study=make_study(epochs=(1.024,))).trial(0)
    assert trial.steps == 32
    record = make_record(trial, Status.KILLED, steps=steps, curve_step=curve_step)
    assert core_hours_spent(record) == pytest.approx(part * record.cost.core_hours)


def test_an_interrupted_sweep_is_affordable_again(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """A cap that was just enough is just enough after a kill: a resumed run is not paid twice."""
    study = make_study()
    cap = plan_of(study, ALL).total.core_hours * (1 + 1e-9)
    trials = list(plan_of(study, ALL).trials())
    records = [make_record(trials[0], steps=trials[0].steps), make_record(trials[1], Status.RUNNING)]
    records.append(make_record(trials[5], Status.KILLED, steps=1))
    plan = plan_of(study, ALL, records=records, spend_cap_core_hours=cap)
    assert len(plan.cuts) == 0
    assert ids(plan.pending()) == ids(trials[1:])


def test_packs_hold_the_pending_trials_dearest_first(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """Packs share model, epochs and batch, hold each pending trial once, and begin with the dearest."""
    study = make_study(epochs=EPOCHS, batch_images=(16, 32), seeds=(0, 1))
    done = next(plan_of(study, ALL).trials())
    plan = plan_of(study, ALL, records=[make_record(done, steps=done.steps)])
    packs = plan.packs()
    prices = [plan.cost(pack.trials[0]).core_hours for pack in packs]
    assert prices == sorted(prices, reverse=True)
    for pack in packs:
        assert len({(trial.model, trial.epochs, trial.batch_images) for trial in pack.trials}) == 1
    packed = [trial for pack in packs for trial in pack.trials]
    assert sorted(ids(packed)) == sorted(ids(plan.pending()))
    assert done not in packed


def test_the_same_inputs_give_the_same_plan(make_study: StudyMaker, make_record: RecordMaker) -> None:
    """Planning twice, with records in any order, gives the same trials in the same order."""
    study = make_study(epochs=EPOCHS)
    trials: list[Trial] = list(plan_of(study, ALL).trials())
    records = [make_record(trial, steps=trial.steps) for trial in trials[::3]]
    first = plan_of(study, 300.0, records=records, spend_cap_core_hours=2000.0)
    second = plan_of(make_study(epochs=EPOCHS), 300.0, records=records[::-1], spend_cap_core_hours=2000.0)
    assert first.pending() == second.pending()
    assert first.packs() == second.packs()


def test_rows_are_a_sequence(make_study: StudyMaker) -> None:
    """Cells can be counted, sliced and indexed from the end without being made."""
    cells = plan_of(make_study(epochs=EPOCHS), ALL).cells
    assert [cell.name for cell in cells[1:3]] == [cells[1].name, cells[2].name]
    assert cells[-1].name == list(cells)[-1].name == "w8-e2"


def test_a_budget_below_every_cell_is_refused(make_study: StudyMaker) -> None:
    """A budget that holds no cell is an error whose advice holds one."""
    study = make_study()
    with pytest.raises(StudyError, match=r"holds no cell of study toy; the cheapest, w4-e0.25") as refused:
        plan_of(study, 0.001).require_cells()
    advised = str(refused.value).rsplit("BUDGET=", 1)[1].rstrip(")")
    plan = make_plan(study, Budget.parse(advised, hardware="toy"))
    assert plan.require_cells() is plan


def test_a_spend_cap_below_the_cheapest_cell_says_what_it_costs(make_study: StudyMaker) -> None:
    """A cap that holds nothing is an error with a cap that holds something, and that one does."""
    study = make_study()
    with pytest.raises(StudyError, match="the spend cap holds no cell") as caught:
        plan_of(study, ALL, spend_cap_core_hours=1e-6).require_cells()
    wanted = parse_core_hours(str(caught.value).split("SPEND=")[1].rstrip(")"))
    assert len(plan_of(study, ALL, spend_cap_core_hours=wanted).require_cells().cells) >= 1

"""Which trials a budget holds, what they cost, and what was cut: a pure function of study, budget and records."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

import numpy as np

from sweeps.budget import READING_TOLERANCE, Budget, format_core_hours
from sweeps.cost import Cost
from sweeps.errors import StudyError
from sweeps.grid import Grid, Ints
from sweeps.pricing import Rule, price_trial
from sweeps.record import RunRecord
from sweeps.spent import GridRecords
from sweeps.study import Model, Study
from sweeps.trial import Trial

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model x epochs x batch of the plan, and what one run there costs."""

    model: Model
    epochs: float
    batch_images: int
    peak_lrs: tuple[float, ...]
    """Learning rates it is run with."""
    steps: int
    images: int
    """Training images of one run."""
    params: int
    cost: Cost
    """Of one run."""
    rule: Rule
    """How the core-hours were found."""
    runs: int
    """Learning rates x seeds."""
    settled_runs: int
    """Runs that need no further attempt."""
    trunk_id: str | None = None
    """The trial whose final weights its runs start from, if any."""

    @property
    def name(self) -> str:
        """The cell for people, f3-e2."""
        return f"{self.model.name}-e{self.epochs:g}"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A cell that the plan leaves out."""

    cell: Cell
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Trials of one model, epochs and batch: they share one compiled program and are launched as one job."""

    trials: tuple[Trial, ...]


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row], Generic[Row]):
    """A sequence whose items are made when asked for, so that a million of them take no memory."""

    numbers: Ints
    make: Callable[[int], Row]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "Rows[Row]": ...
    def __getitem__(self, index: int | slice) -> "Row | Rows[Row]":
        if isinstance(index, slice):
            return Rows(self.numbers[index], self.make)
        return self.make(int(self.numbers[index]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a budget buys. Cells run from cheap to dear; cell numbers are those of the grid."""

    grid: Grid
    budget: Budget
    spend_cap_core_hours: float | None
    """Hard cap on all runs of the study together; absent: none."""
    spent_core_hours: float
    """What the records given have used, by the price of their steps."""
    kept: Ints
    """Numbers of the cells within the budget and the spend cap, cheapest first."""
    cut: Ints
    """Numbers of the cells left out, cheapest first."""
    settled: frozenset[int]
    """Numbers of the grid's trials that need no further attempt."""

    @property
    def study(self) -> Study:
        """What is asked."""
        return self.grid.study

    @property
    def cells(self) -> Rows[Cell]:
        """The cells to be run, cheapest first."""
        return Rows(self.kept, self._cell)

    @property
    def cuts(self) -> Rows[Cut]:
        """The cells left out, cheapest first, each with its reason."""
        return Rows(self.cut, self._cut)

    @functools.cached_property
    def total(self) -> Cost:
        """The cost of every run in the plan, settled or not.

        Its spread takes the errors of all models as one common error, which is the cautious reading.
        """
        columns, runs = self.grid.columns, self.grid.runs_per_cell
        core_hours = columns.core_hours[self.kept]
        spreads = np.array([rate.relative_spread for rate in self.grid.rates])[columns.model[self.kept]]
        total = float(core_hours.sum())
        return Cost(
            flops=float(columns.flops[self.kept].sum()) * runs,
            core_hours=total * runs,
            wall_hours=None,
            relative_spread=float((core_hours * spreads).sum()) / total if total else 0.0,
        )

    @functools.cached_property
    def trained_core_hours(self) -> float:
        """What every run in the plan costs where longer ones take over the steps of shorter ones; at most the total."""
        return float(self.grid.trained_core_hours[self.kept].sum()) * self.grid.runs_per_cell

    @functools.cached_property
    def sharing_runs(self) -> int:
        """Runs that take over steps of a shorter one."""
        return int(np.count_nonzero(self.grid.predecessors[self.kept] >= 0)) * self.grid.runs_per_cell

    def trials(self) -> Iterator[Trial]:
        """Yields every trial of the plan, cheapest cell first; learning rates and seeds included."""
        return (self.grid.trial(index) for cell in self.kept for index in self.grid.cell_trials(int(cell)))

    def pending(self) -> tuple[Trial, ...]:
        """Returns the trials of the plan that still need a run, cheapest cell first."""
        return tuple(trial for cell in self.kept for trial in self._pending_of(int(cell)))

    def packs(self) -> tuple[Pack, ...]:
        """Returns the pending trials, one pack for each cell that has any, dearest first."""
        packs = (Pack(trials=self._pending_of(int(cell))) for cell in self.kept[::-1])
        return tuple(pack for pack in packs if pack.trials)

    def cost(self, trial: Trial) -> Cost:
        """Returns the price of one trial, from its start."""
        return price_trial(trial, self.study.hardware)

    def require_cells(self) -> "Plan":
        """Returns this plan; raises StudyError where the budget or the spend cap holds no cell at all."""
        cheapest = self._cell(int(np.argmin(self.grid.columns.core_hours)))
        again = "the same words with" if self.study.picks else f"make plan STUDY={self.study.name}"
        if not self.budget.holds(cheapest.cost.core_hours):
            # Rounded up to two digits, so that the budget named really holds the cell.
            enough = format_core_hours(_rounded_up(cheapest.cost.core_hours / READING_TOLERANCE))
            raise StudyError(
                f"a budget of {self.budget} core-hours holds no cell of study {self.study.name}; the cheapest, "
                f"{cheapest.name}, costs {format_core_hours(cheapest.cost.core_hours)} "
                f"(try: {again} BUDGET={enough})"
            )
        if not len(self.kept):
            needed = cheapest.cost.core_hours * cheapest.runs
            raise StudyError(
                f"the spend cap holds no cell of study {self.study.name}: the cheapest, {cheapest.name}, costs "
                f"{format_core_hours(needed)} core-hours with its {cheapest.runs} runs "
                f"(try: {again} BUDGET={self.budget} SPEND={format_core_hours(_rounded_up(needed))})"
            )
        return self

    def _pending_of(self, cell: int) -> tuple[Trial, ...]:
        return tuple(self.grid.trial(index) for index in self.grid.cell_trials(cell) if index not in self.settled)

    def _cell(self, number: int) -> Cell:
        columns = self.grid.columns
        model = int(columns.model[number])
        rate = self.grid.rates[model]
        images = int(columns.images[number])
        return Cell(
            model=self.study.models[model],
            epochs=float(columns.epochs[number]),
            batch_images=int(columns.batch_images[number]),
            peak_lrs=self.grid.peak_lrs(number),
            steps=int(columns.steps[number]),
            images=images,
            params=rate.params,
            cost=rate.cost(images),
            rule=rate.rule,
            runs=self.grid.runs_per_cell,
            settled_runs=sum(index in self.settled for index in self.grid.cell_trials(number)),
            trunk_id=self.grid.trunk_id(number),
        )

    def _cut(self, number: int) -> Cut:
        cell = self._cell(number)
        if not self.budget.holds(cell.cost.core_hours):
            return Cut(cell=cell, reason=f"above the budget of {self.budget}")
        cap = format_core_hours(self.spend_cap_core_hours or 0.0)
        return Cut(cell=cell, reason=f"past the spend cap of {cap}")


def make_plan(
    study: Study,
    budget: Budget,
    *,
    records: Iterable[RunRecord] = (),
    spend_cap_core_hours: float | None = None,
    accepts_stopped: bool = False,
) -> Plan:
    """Returns the plan of a study: every cell whose run costs at most 1.01 x budget, cheapest first.

    With a spend cap, the price of everything still to be launched plus what `records` have used never exceeds it:
    cells are reserved whole, from cheap to dear, and the first that does not fit ends the plan. A cell whose runs are
    all settled needs nothing more and stays. An unfinished run counts with its full price, of which a resumed run has
    part behind it; where the schedule lets runs share steps, with the price of those that no shorter run does. With
    `accepts_stopped` runs that were ended early, behind others of their cell, are done.

    Raises:
        StudyError: an axis of the study is unusable, or its hardware cannot price a model.
    """
    grid = Grid(study=study)
    ledger = GridRecords.read(grid, records, accepts_stopped=accepts_stopped)
    core_hours = grid.columns.core_hours
    order = np.argsort(core_hours, kind="stable")
    fits = core_hours[order] <= READING_TOLERANCE * budget.core_hours
    within, keeps = order[fits], order[fits]
    if spend_cap_core_hours is not None:
        owed = ledger.owed_core_hours(grid, within)
        affordable = ledger.spent_core_hours + np.cumsum(owed) <= spend_cap_core_hours
        keeps = within[affordable | (ledger.pending_runs(grid, within) == 0)]
    is_kept = np.zeros(grid.cell_count, dtype=bool)
    is_kept[keeps] = True
    return Plan(
        grid=grid,
        budget=budget,
        spend_cap_core_hours=spend_cap_core_hours,
        spent_core_hours=ledger.spent_core_hours,
        kept=keeps,
        cut=order[~is_kept[order]],
        settled=ledger.settled,
    )


def packs_of(trials: Iterable[Trial], study: Study) -> tuple[Pack, ...]:
    """Returns trials as packs of one model, epochs and batch, the dearest runs first."""
    packs: dict[tuple[str, float, int], list[Trial]] = {}
    for trial in trials:
        packs.setdefault((trial.model, trial.epochs, trial.batch_images), []).append(trial)
    found = [Pack(trials=tuple(pack)) for pack in packs.values()]
    return tuple(sorted(found, key=lambda pack: -price_trial(pack.trials[0], study.hardware).core_hours))


def _rounded_up(core_hours: float) -> float:
    step = 10.0 ** (np.floor(np.log10(core_hours)) - 1)
    return float(np.ceil(core_hours / step) * step)

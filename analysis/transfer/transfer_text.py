"""A transfer fit on the terminal: the law of error, and what each budget buys by loss and by error."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.report.report_text import WIDTH
from analysis.transfer.checkpoint import Checkpoint
from analysis.transfer.transfer_fit import TransferFit
from sweeps.budget import format_core_hours


def print_transfer(result: TransferFit, written: Sequence[Path] = (), *, console: Console | None = None) -> None:
    """Prints the law, the table of contests, its sentence, what was set aside and where the files are."""
    console = console or Console(width=WIDTH, highlight=False)
    console.print(Text(f"{result.title}: {len(result.checkpoints)} checkpoints", style="bold"))
    for line in law_lines(result):
        console.print(Text(line))
    console.print()
    console.print(contest_table(result))
    console.print(Text(f"{result.sentence[:1].upper()}{result.sentence[1:]}."))
    if result.edges:
        noun = "checkpoint has its" if result.edges == 1 else "checkpoints have their"
        console.print(Text(f"{result.edges} {noun} best fine-tuning rate at the edge of the rates tried."))
    for item in result.set_aside:
        console.print(Text(f"set aside: {item.count} {item.reason}", style="dim"))
    for path in written:
        console.print(Text(str(path), style="dim"))


def law_lines(result: TransferFit) -> list[str]:
    """Returns the law of error against pre-training compute, or why there is none."""
    if result.law is None:
        reason = result.refused.reason if result.refused else "nothing was fitted"
        return [f"no law of error: {reason}"]
    fit = result.law.fit
    a, b = fit.parameters["a"], fit.parameters["b"]
    bounds = "" if b.low is None or b.high is None else f" ({fit.level:.0%} interval {-b.high:.4f} to {-b.low:.4f})"
    return [
        f"error = {a.value:.4g} C^{-b.value:.4f} % [C in pre-training core-hours], slope {-b.value:.4f}{bounds}",
        f"r2 {fit.r2:.4f} over {len(result.law.frontier)} frontier cells of {len(result.law.cells)}",
    ]


def contest_table(result: TransferFit) -> Table:
    """Returns, for each budget, the checkpoint with the least pre-training loss and the one with the least error."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("budget", justify="right")
    for heading in ("least loss", "its error", "least error", "its error"):
        table.add_column(heading, justify="right" if heading.startswith("its") else "left")
    table.add_column("")
    for contest in result.contests:
        remark = "same" if not contest.differs else f"{contest.excess:.2g} points better"
        remark += ", within noise" if contest.is_certain is False else ""
        table.add_row(
            format_core_hours(contest.budget_core_hours),
            _name(contest.by_loss),
            f"{contest.by_loss.error:.2f} %",
            _name(contest.by_error),
            f"{contest.by_error.error:.2f} %",
            remark,
        )
    return table


def _name(item: Checkpoint) -> str:
    rate = "" if item.peak_lr is None else f" at lr {item.peak_lr:g}"
    return f"{item.model} x {item.epochs:g}{rate}"

"""Where a page's numbers come from, and the commands that make them again."""

import platform
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from analysis.result import ScalingFit
from sweeps.budget import format_core_hours
from sweeps.record import RunRecord, Status

_PACKAGES = ("jax", "optax", "numpy", "scipy", "pandas", "mlflow")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Something to type."""

    why: str
    text: str


def package_version(name: str) -> str:
    """Returns the version of an installed package; `not installed` where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def provenance(result: ScalingFit, records: Sequence[RunRecord]) -> tuple[tuple[str, str], ...]:
    """Returns name and value of what the page rests on.

    Args:
        result: the fit.
        records: of its cohort; empty for a table.
    """
    points = result.points
    found = [("read from", points.source)]
    if points.cohort:
        found.append(("cohort (data, schedule, recipe)", points.cohort))
    if records:
        trial = records[0].trial
        found += [
            (
                "data",
                f"{trial.data.name}: {trial.data.images_per_epoch:,} images an epoch of {trial.data.image_px} px, "
                f"{trial.data.held_out_images:,} held out",
            ),
            ("schedule", f"{trial.schedule.name}, {trial.schedule.warmup_steps} steps of warm-up"),
            ("devices", _counted([record.device for record in records])),
            ("attempts", f"{sum(record.attempts for record in records):,} for {len(records):,} runs"),
        ]
    if points.code_versions:
        found.append(("code that trained", ", ".join(points.code_versions)))
    if points.columns:
        found.append(("columns", ", ".join(f"{kind}={column}" for kind, column in points.columns)))
    if points.derived:
        found.append(("computed from 6 N D", ", ".join(points.derived)))
    fit = result.fit
    found += [
        ("fit", f"{fit.law.name}, {fit.resamples:,} resamples ({fit.interval_method}), {fit.level:.0%} intervals"),
        ("source of the law", fit.law.source),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("packages", ", ".join(f"{name} {package_version(name)}" for name in _PACKAGES)),
    ]
    return tuple(found)


def commands(
    result: ScalingFit, records: Sequence[RunRecord], typed: Sequence[str], *, strategy: str | None = None
) -> tuple[Command, ...]:
    """Returns what to type to make the page again.

    Args:
        result: the fit.
        records: of its cohort; empty for a table.
        typed: the words behind fit_scaling.py.
        strategy: by which runs were chosen; None where that is unknown.
    """
    found: list[Command] = []
    versions = [one for one in result.points.code_versions if one and "+" not in one]
    if len(versions) == 1 and len(result.points.code_versions) == 1:
        found.append(Command(why="The code that trained these runs:", text=f"git checkout {versions[0]}"))
    if records and result.points.study and result.points.budgets_core_hours:
        found.append(Command(why="The runs (what is recorded is not trained again):", text=_sweep(result, records)))
    words = list(typed) or (["--study", result.points.study] if result.points.study else [])
    found.append(Command(why="The fit and this page:", text=shlex.join(["python", "analysis/fit_scaling.py", *words])))
    return tuple(found)


def _sweep(result: ScalingFit, records: Sequence[RunRecord]) -> str:
    seeds = sorted({record.trial.seed for record in records if record.status is Status.FINISHED})
    words = [f"BUDGET={format_core_hours(max(result.points.budgets_core_hours))}", f"STUDY={result.points.study}"]
    if len(seeds) > 1 and seeds == list(range(len(seeds))):
        words.append(f"SEEDS={len(seeds)}")
    return shlex.join(["make", "sweep", *words])


def _counted(names: Sequence[str]) -> str:
    counts = Counter(names)
    return ", ".join(name if len(counts) == 1 else f"{name} ({count})" for name, count in counts.most_common(4))

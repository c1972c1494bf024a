"""What was measured, as people read it and as programs do."""

from typing import Any

from rich.console import Console

from analysis.report.narrow_table import Column, print_fitted, print_line, printing_console
from launcher.calibrate.session import Session
from launcher.settings.calibrations import file_of
from sweeps.calibration import Calibration, Unmeasured
from sweeps.canonical import to_jsonable
from tracking.paths import ProjectPaths

_COLUMNS = (
    Column(header="model", is_words=True),
    Column(header="batch/core", wanted=4),
    Column(header="images/s/core"),
    Column(header="spread", wanted=5),
    Column(header="of mean", wanted=2),
    Column(header="compile s", wanted=3),
    Column(header="memory/core", wanted=6),
    Column(header="MFU", wanted=7),
    Column(header="HFU", wanted=1),
)


def calibrations_as_json(session: Session) -> dict[str, Any]:
    """Returns the JSON-ready part of an answer that says what was measured and what was not."""
    hardware = session.hardware
    return {
        "hardware": None if hardware is None else hardware.name,
        "machine": None if hardware is None else hardware.measured_on,
        "code_version": session.code,
        "interrupted": session.is_interrupted,
        "calibrations": [
            to_jsonable(one) | {"relative_error": one.relative_error, "mfu": one.mfu, "hfu": one.hfu}
            for one in session.measured
        ],
        "unmeasured": [to_jsonable(one) for one in session.unmeasured],
    }


def said_of(found: Calibration | Unmeasured) -> str:
    """Returns one model in a line, as it is done."""
    if isinstance(found, Unmeasured):
        return f"{found.model}: not measured: {found.reason}"
    return f"{found.model}: {_rate(found)} images/s/core +- {100 * found.relative_spread:.1f} %"


def print_calibrations(session: Session, paths: ProjectPaths, console: Console | None = None) -> None:
    """Prints a row for each model, what the figures are, and what to type next."""
    console = console or printing_console()
    if session.measured:
        print_fitted(console, _COLUMNS, [_words(one) for one in session.measured])
    for line in _lines(session, paths):
        print_line(console, line)


def _words(one: Calibration) -> tuple[str, ...]:
    memory, mark = (one.peak_memory_bytes, "") if one.peak_memory_bytes else (one.compiled_memory_bytes, "*")
    return (
        one.model,
        str(one.batch_images // one.cores),
        _rate(one),
        f"{100 * one.relative_spread:.1f} %",
        f"{100 * one.relative_error:.1f} %",
        f"{one.compile_s:.1f}",
        "-" if memory is None else f"{_bytes(memory)}{mark}",
        _share(one.mfu),
        _share(one.hfu),
    )


def _lines(session: Session, paths: ProjectPaths) -> list[str]:
    lines = [f"not measured: {one.model}: {one.reason}" for one in session.unmeasured]
    if session.is_interrupted and session.measured:
        lines.append("interrupted: what is above was measured and is kept")
    if not session.measured or session.hardware is None:
        before = " before the interruption" if session.is_interrupted else ""
        return [*lines, f"nothing was measured{before}"]
    last, name = session.measured[-1], session.hardware.name
    compute = last.compute
    lines += [
        f"device: {last.cores} x {last.device}; {last.compute_dtype}, sharding {compute.sharding}, "
        f"microbatches {compute.microbatches}, remat {compute.remat}",
        f"images: {last.images}",
        f"spread: of one of {last.turns} turns, and of their mean; plans take the figure for every batch",
        "MFU: 6 x forward multiply-accumulates, HFU: every convolution and matrix product, over peak",
    ]
    if last.peak_flops_per_s_per_core is not None:
        lines.append(f"peak: {last.peak_flops_per_s_per_core / 1e12:.4g} TFLOP/s a core ({last.peak_source})")
    if not last.peak_memory_bytes:
        lines.append("*: the compiler's figure; this device does not tell what is in use")
    lines.append(f"kept in {file_of(name, paths)}")
    lines.append(f"price a study by it: make plan STUDY={session.study} BUDGET=10k EXTRA=hardware={name}")
    return lines


def _rate(one: Calibration) -> str:
    rate = one.images_per_s_per_core
    return f"{rate:.4g}" if rate < 1000 else f"{rate:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count / 1e3:.1f} kB"

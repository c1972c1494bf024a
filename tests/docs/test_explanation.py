"""The numbers of docs/explanation.md are those of the committed fits and settings, and the gallery has every figure."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGE = " ".join((DOCS / "explanation.md").read_text().split())


def _fit(study: str) -> dict[str, Any]:
    return json.loads((DOCS / "figures" / study / "fit.json").read_text())


def test_slopes_are_those_of_the_fits() -> None:
    """The slope of each study, and of both halves of the paper's envelope."""
    for study in ("scale_model", "fashion_mnist", "cifar10", "reference"):
        assert f"{_fit(study)['law']['slope']:.4f}" in PAGE, study
    paper = _fit("reference")["law"]
    assert f"{paper['slope_cheap_half']:.3f} in the cheap half and {paper['slope_dear_half']:.3f} in the dear" in PAGE


def test_errors_of_extrapolation_are_those_of_the_back_tests() -> None:
    """The scale model's predictions are mostly too high, the paper's too low."""
    bins = _fit("scale_model")["trust"]["backtest"]["by_extrapolation_factor"]
    near, middle, far = (f"{100 * one['rms_error']:.1f} %" for one in bins[:3])
    assert f"{near} up to twice the compute, {middle} up to five times and {far} up to twenty times" in PAGE
    assert all(one["mean_error"] > 0 for one in bins)
    paper = _fit("reference")["trust"]["backtest"]["by_extrapolation_factor"]
    assert all(one["mean_error"] < 0 for one in paper)


def test_a_floor_predicts_better_on_the_papers_points() -> None:
    """Held-out errors of the two forms."""
    forms = {form["name"]: form["held_out_rms"] for form in _fit("reference")["trust"]["forms"]}
    assert f"({100 * forms['power_floor']:.2f} % against {100 * forms['power']:.2f} %, rms)" in PAGE


def test_hand_overs_and_edges_are_those_of_the_scale_model() -> None:
    """The first hand-over is in every resample, the second in half; so many optima lie on the edge of the rates."""
    fit = _fit("scale_model")
    first, second = (hand["share_of_resamples"] for hand in fit["handovers"][:2])
    assert first == 1.0
    assert 0.45 < second < 0.6
    edges = sum(cell["edge"] is not None for cell in fit["best_peak_lr"])
    assert f"in {edges} of {len(fit['best_peak_lr'])} cells" in PAGE


def test_utilisation_follows_from_the_calibrations() -> None:
    """Images a second times FLOPs an image, over the peak of a TPU-v4 core: least and most of the six models."""
    command = [sys.executable, "-m", "launcher", "action=models", "format=json"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    macs = {model["name"]: model["forward_macs"] for model in json.loads(done.stdout)["models"]}
    hardware = yaml.safe_load((CHECKOUT / "conf" / "hardware" / "tpu_v4.yaml").read_text())
    peak = float(hardware["peak_flops_per_s_per_core"])
    reached = {
        row["model"]: row["images_per_s_per_core"] * 6 * macs[row["model"]] / peak for row in hardware["throughputs"]
    }
    assert f"{100 * min(reached.values()):.0f} to {100 * max(reached.values()):.0f} %" in PAGE
    assert min(reached, key=lambda name: reached[name]) == "f0"


def test_the_gallery_shows_every_figure_with_its_command() -> None:
    """Every committed figure is shown, described in words, and below a command that draws it."""
    gallery = (DOCS / "gallery.md").read_text()
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", gallery)
    figures = {path.relative_to(DOCS).as_posix() for path in (DOCS / "figures").rglob("*.png")}
    assert {path for _, path in shown} == figures
    assert all(len(text.split()) > 4 for text, _ in shown)
    for section in gallery.split("\n## ")[1:]:
        assert re.search(r"`(make|python|\.venv/bin/python) ", section.split("![")[0])

"""NFNets against vision transformers as published: Fig. 1 of arXiv:2310.16764, at equal error after fine-tuning.

The NFNets have a law of error against pre-training compute; each transformer is one point. Its multiplier is what it
took over what the law needs for the same error. The interval holds what the data allow: the cells behind the law drawn
anew, the form of the law (a power, or a power above a floor: 25 points do not tell), the scatter of NFNets about their
law, which is taken for the transformer's own as well, and the error of reading the figure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.laws import Floats
from analysis.options import FitOptions
from analysis.report.figure_style import model_title
from analysis.result import Estimate, Fit, Rival
from analysis.solver.quantiles import interval
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet
from analysis.transfer.published import SOURCE, conf_name, landmarks, published_checkpoints, reference_rows

CONVNETS = "nfnet"
AXES = ("core_hours", "flops")
UNITS = {"core_hours": "TPU-v4 core-hours", "flops": "FLOPs"}
_ERROR_SD = 0.03
"""Reading error of a star [points of error]."""
_COMPUTE_SD = 0.02
"""Relative reading error of its compute; the paper's own conversion from TPU-v3 is not in it."""
_DRAWS_OF_NOISE = 10
"""For each draw of a law."""
CANNOT_SAY = (
    "each transformer is one training run: how another of the same kind would have come out is not known",
    "the transformers saw JFT-3B and the NFNets JFT-4B, through other input pipelines and with other losses",
    "fine-tuning differs in resolution, length and regularisation, and its compute is not counted",
    "core-hours of the transformers were converted from TPU-v3 by speeds measured with their own code on TPU-v4",
    "nothing is said below 100k core-hours, where no transformer was published on these axes",
)


@dataclass(frozen=True, kw_only=True)
class Rivalry:
    """The NFNets and one transformer on one axis."""

    b: str
    """The transformer."""
    axis: str
    spent: float
    """What it took, on the axis."""
    error: float
    """Its top-1 error [%]."""
    needed: float
    """What the NFNets' laws need for that error, geometric mean over the forms."""
    multiplier: Estimate
    """Spent over needed."""
    by_form: Mapping[str, float]
    """The multiplier of each form alone."""
    gap: Estimate
    """log of its error over that of the NFNets' laws at the same compute; above 0: it is worse."""
    extrapolation_factor: float
    """How far its compute lies beyond the dearest NFNet."""
    other_width: float | None
    """The multiplier where the "+" models count as wide as published; missing where that makes no difference."""

    @property
    def is_draw(self) -> bool:
        """Whether the interval holds 1."""
        low, high = self.multiplier.low, self.multiplier.high
        return low is None or high is None or low <= 1.0 <= high


@dataclass(frozen=True, kw_only=True)
class Published:
    """Everything said of the published points."""

    rivalries: tuple[Rivalry, ...]
    """On every axis that is known, in the order of AXES."""
    yardsticks: tuple[Rivalry, ...]
    """The dearest NFNet measured in the same way on each axis: how far one run lies off the law of its own family."""
    level: float
    laws: Mapping[str, Fit]
    """The NFNets' power law of error on each axis."""

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        parts: list[str] = []
        for axis in AXES:
            own = [one for one in self.rivalries if one.axis == axis]
            said = ", ".join(f"{one.b} {_text(one.multiplier)}" for one in own)
            told = " and ".join(one.b for one in own if not one.is_draw)
            outcome = f"only {told} can be told from 1" if told else "none can be told from 1"
            parts.append(f"in {UNITS[axis]} {said} ({outcome})")
        return (
            "for the same ImageNet error the transformers took, times the pre-training compute of NFNets: "
            + "; ".join(parts)
        )


def _text(one: Estimate) -> str:
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def compare_published(*, resamples: int = 4000, level: float = 0.9, seed: int = 0) -> Published:
    """Returns what the published points say on core-hours, and on FLOPs for the transformers whose FLOPs are known."""
    options = FitOptions(law="power", resamples=resamples, level=level, has_trust=False, seed=seed)
    rivalries: list[Rivalry] = []
    yardsticks: list[Rivalry] = []
    laws: dict[str, Fit] = {}
    for axis in AXES:
        fit = fit_study(_points(published=False), _on(options, axis)).fit
        wide = fit_study(_points(published=True), _on(options, axis)).fit if axis == "flops" else None
        laws[axis] = fit
        dearest = max(_points(published=False).points, key=lambda point: getattr(point, axis))
        rng, own = np.random.default_rng([seed, 0]), f"{model_title(dearest.model)} for {dearest.epochs:g} epochs"
        spent = float(getattr(dearest, axis))
        yardsticks.append(_rivalry(fit, own, axis, spent, dearest.loss, None, rng, level=level))
        for name, (spent, error) in _stars(axis).items():
            # Each transformer has its own numbers, the same on every axis.
            rng = np.random.default_rng([seed, *name.encode()])
            rivalries.append(_rivalry(fit, name, axis, spent, error, wide, rng, level=level))
    return Published(rivalries=tuple(rivalries), yardsticks=tuple(yardsticks), level=level, laws=laws)


def _on(options: FitOptions, axis: str) -> FitOptions:
    return replace(options, axis=axis)


def _flops() -> dict[str, tuple[float, float]]:
    """Returns the training FLOPs of an epoch (NFNets) or of all of it, with either width of the "+" models."""
    found: dict[str, tuple[float, float]] = {}
    for row in reference_rows("pretraining_compute.csv"):
        per_gmac = 6e9 * float(row["images"])
        own = float(row["forward_gmacs"])
        found[row["model"]] = (
            per_gmac * own, per_gmac * float(row["forward_gmacs_published_width"] or own)
        )  # fmt: skip
    return found


def _points(*, published: bool) -> PointSet:
    """Returns the NFNets with their error in place of loss; `published` takes the "+" models' published width."""
    flops = {conf_name(name): both for name, both in _flops().items() if name.startswith("F")}
    return PointSet(
        points=tuple(
            Point(
                model=item.model,
                loss=item.error,
                core_hours=item.core_hours,
                flops=item.epochs * flops[item.model][published],
                epochs=item.epochs,
            )
            for item in published_checkpoints()
        ),
        set_aside=(),
        source=SOURCE,
        columns=(("group", "model"), ("loss", "top1_error_percent")),
    )


def _stars(axis: str) -> dict[str, tuple[float, float]]:
    """Returns the compute and the error of each transformer whose compute is known on the axis."""
    flops = _flops()
    found: dict[str, tuple[float, float]] = {}
    for star in landmarks():
        if not star.name.startswith(("ViT", "SoViT")):
            continue
        if axis == "core_hours":
            found[star.name] = star.core_hours, star.error
        elif star.name in flops:
            found[star.name] = flops[star.name][0], star.error
    return found


def _rivalry(
    fit: Fit, name: str, axis: str, spent: float, error: float, wide: Fit | None, rng: np.random.Generator, *,
    level: float,
) -> Rivalry:  # fmt: skip
    log_errors: list[Floats] = []
    log_ratios: list[Floats] = []
    gaps: list[Floats] = []
    most = _DRAWS_OF_NOISE * max(len(next(iter(form.draws.values()))) for form in fit.rivals)
    for form in fit.rivals:
        # Every form has the same say, however often it was drawn.
        draws = {name: np.resize(drawn, most) for name, drawn in form.draws.items()}
        off = rng.normal(0.0, math.hypot(fit.residual_sd, _ERROR_SD / error), most)
        amount = math.log(spent) + rng.normal(0.0, _COMPUTE_SD, most)
        log_errors.append(math.log(error) + off)
        log_ratios.append(amount - _log_needed(form, draws, log_errors[-1]))
        gaps.append(log_errors[-1] - form.law.log_loss(draws, {"compute": amount}))
    points = {form.law.name: math.log(spent) - _needed(form, error) for form in fit.rivals}
    here = [
        math.log(error) - float(form.law.log_loss(form.values, {"compute": math.log(spent)})) for form in fit.rivals
    ]
    value = float(np.mean(list(points.values())))
    other = None
    if wide is not None:
        other = math.exp(float(np.mean([math.log(spent) - _needed(form, error) for form in wide.rivals])))
    return Rivalry(
        b=name,
        axis=axis,
        spent=spent,
        error=error,
        needed=spent / math.exp(value),
        multiplier=_mixed(value, log_ratios, level, as_factor=True),
        by_form={form: math.exp(ratio) for form, ratio in points.items()},
        gap=_mixed(float(np.mean(here)), gaps, level, as_factor=False),
        extrapolation_factor=max(1.0, spent / fit.sampled[1]),
        other_width=other,
    )


def _needed(form: Rival, error: float) -> float:
    return float(_log_needed(form, {n: np.array([v]) for n, v in form.values.items()}, np.array([math.log(error)]))[0])


def _log_needed(form: Rival, values: Mapping[str, Floats], log_error: Floats) -> Floats:
    """Returns the log compute at which a law reaches errors; infinite where it never does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.exp(log_error) - values.get("E", 0.0)
        return np.where(above > 0, (np.log(values["a"]) - np.log(above)) / values["b"], np.inf)


def _mixed(value: float, draws: list[Floats], level: float, *, as_factor: bool) -> Estimate:
    """Returns an estimate whose interval gives every form of the law the same say."""
    pooled = np.concatenate(draws)
    # A law that never reaches the error would need infinitely much: a multiplier of 0.
    low, high = interval(np.maximum(pooled, -50.0), level=level) or (value, value)
    if as_factor:
        return Estimate(value=math.exp(value), low=math.exp(low), high=math.exp(high))
    return Estimate(value=value, low=low, high=high)

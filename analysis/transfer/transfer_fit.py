"""Everything read from fine-tuned checkpoints: the law of error against pre-training compute, and the contests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.options import FitOptions
from analysis.refusal import FitRefused, Refusal
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet, SetAside
from analysis.transfer.checkpoint import Checkpoint, best_of_each_cell
from analysis.transfer.contest import Contest, contests, sentence
from analysis.transfer.published import Landmark


@dataclass(frozen=True, kw_only=True)
class TransferFit:
    """What fine-tuning says of a pre-training study."""

    title: str
    """What was fine-tuned on what, for people."""
    source: str
    study: str | None
    """The fine-tuning study; None where the points were published."""
    flops_per_core_hour: float | None
    checkpoints: tuple[Checkpoint, ...]
    """All that were fine-tuned, cheapest first."""
    law: ScalingFit | None
    """The power law of the lower envelope, with error in place of loss; missing where `refused` says why."""
    refused: Refusal | None
    contests: tuple[Contest, ...]
    set_aside: tuple[SetAside, ...]
    landmarks: tuple[Landmark, ...] = ()

    @property
    def sentence(self) -> str:
        """Whether the best loss and the best error name the same checkpoints."""
        return sentence(self.contests)

    @property
    def edges(self) -> int:
        """Checkpoints whose best fine-tuning rate is the lowest or highest tried: their error may be better still."""
        return sum(item.is_at_edge for item in self.checkpoints)


def fit_transfer(
    checkpoints: Sequence[Checkpoint],
    *,
    title: str,
    source: str,
    study: str | None,
    set_aside: tuple[SetAside, ...] = (),
    landmarks: tuple[Landmark, ...] = (),
    options: FitOptions,
) -> TransferFit:
    """Returns what can be read from `checkpoints`; too few of them for a law is no error but said."""
    cells = best_of_each_cell(checkpoints)
    points = PointSet(
        points=tuple(
            Point(
                model=item.model,
                loss=error,
                core_hours=item.core_hours,
                flops=item.flops,
                epochs=item.epochs,
                seed=seed,
            )
            for item in cells
            for seed, error in enumerate(item.errors)
        ),
        set_aside=(),
        study=study,
        source=source,
        columns=() if study else (("group", "model"), ("loss", "top1_error_percent")),
    )
    law, refused = None, None
    try:
        law = fit_study(points, replace(options, law="power", axis="core_hours", has_trust=False, budgets=()))
        law = replace(law, picks=())  # of error they would say what the contests say
    except FitRefused as error:
        refused = error.refusal
    return TransferFit(
        title=title,
        source=source,
        study=study,
        flops_per_core_hour=law.flops_per_core_hour if law else None,
        checkpoints=tuple(checkpoints),
        law=law,
        refused=refused,
        contests=contests(checkpoints, options.budgets),
        set_aside=set_aside,
        landmarks=landmarks,
    )

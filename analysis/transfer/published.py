"""The fine-tuned checkpoints of the reference study, as read off Fig. 1 of arXiv:2310.16764."""

import csv
from dataclasses import dataclass
from pathlib import Path

from analysis.transfer.checkpoint import Checkpoint

_FOLDER = Path(__file__).resolve().parents[2] / "sweeps" / "reference"
SOURCE = "arXiv:2310.16764 Fig. 1"
_HELD_OUT_IMAGES = 50_000  # of ImageNet's validation set


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """A network of another study that the figure shows."""

    name: str
    core_hours: float
    error: float
    """[per cent]"""


def published_checkpoints() -> tuple[Checkpoint, ...]:
    """Returns the NFNets of Fig. 1 with their pre-training losses of Fig. 2, cheapest first."""
    losses = {
        (row["model"], float(row["epochs"])): float(row["loss"]) for row in reference_rows("jft4b_nfnet_loss.csv")
    }
    found = [
        Checkpoint(
            model=conf_name(row["model"]),
            epochs=float(row["epochs"]),
            core_hours=float(row["pretrain_core_hours"]),
            flops=None,
            loss=losses[row["model"], float(row["epochs"])],
            peak_lr=None,
            errors=(float(row["top1_error_percent"]),),
            held_out_images=_HELD_OUT_IMAGES,
        )
        for row in reference_rows("imagenet_finetuned_error.csv")
        if row["epochs"]
    ]
    return tuple(sorted(found, key=lambda item: (item.core_hours, item.error)))


def landmarks() -> tuple[Landmark, ...]:
    """Returns what Fig. 1 shows besides: vision transformers, and F7+ with repeated augmentation."""
    return tuple(
        Landmark(
            name=row["model"], core_hours=float(row["pretrain_core_hours"]), error=float(row["top1_error_percent"])
        )
        for row in reference_rows("imagenet_finetuned_error.csv")
        if not row["epochs"]
    )


def reference_rows(name: str) -> list[dict[str, str]]:
    """Returns the rows of a file of sweeps/reference."""
    with (_FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def conf_name(printed: str) -> str:
    """Returns a model's name as conf/ spells it: F3+ is f3p."""
    return printed.lower().replace("+", "p")

"""A transfer fit as JSON: the one place that names its fields."""

from typing import Any

from analysis.report.fit_json import set_aside_json, to_json
from analysis.transfer.checkpoint import Checkpoint
from analysis.transfer.contest import Contest
from analysis.transfer.transfer_fit import TransferFit


def transfer_json(result: TransferFit) -> dict[str, Any]:
    """Returns the JSON object that `--json` prints: errors in per cent, compute that of pre-training."""
    law = None if result.law is None else to_json(result.law)
    refused = result.refused
    return {
        "study": result.study,
        "title": result.title,
        "source": result.source,
        "flops_per_core_hour": result.flops_per_core_hour,
        "law": None if law is None else law["law"],
        "frontier": [] if law is None else [_frontier_cell(cell) for cell in law["frontier"]],
        "checkpoints": [_checkpoint(item) for item in result.checkpoints],
        "contests": [_contest(contest) for contest in result.contests],
        "sentence": result.sentence,
        "checkpoints_at_edge": result.edges,
        "set_aside": set_aside_json(result.set_aside),
        "refused": refused and {"code": refused.code, "reason": refused.reason, "next": refused.next},
    }


def _frontier_cell(cell: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": cell["model"],
        "epochs": cell["epochs"],
        "core_hours": cell["core_hours"],
        "top1_error_percent": cell["loss"],
    }


def _checkpoint(item: Checkpoint) -> dict[str, Any]:
    return {
        "model": item.model,
        "epochs": item.epochs,
        "core_hours": item.core_hours,
        "flops": item.flops,
        "loss": item.loss,
        "peak_lr": item.peak_lr,
        "top1_error_percent": item.error,
        "errors": list(item.errors),
        "error_sd": item.error_sd,
        "finetune_peak_lr": item.finetune_peak_lr,
        "is_at_edge": item.is_at_edge,
        "finetune_core_hours": item.finetune_core_hours,
    }


def _contest(contest: Contest) -> dict[str, Any]:
    return {
        "budget_core_hours": contest.budget_core_hours,
        "by_loss": _named(contest.by_loss),
        "by_error": _named(contest.by_error),
        "differs": contest.differs,
        "excess": contest.excess,
        "is_certain": contest.is_certain,
    }


def _named(item: Checkpoint) -> dict[str, Any]:
    return {
        "model": item.model,
        "epochs": item.epochs,
        "peak_lr": item.peak_lr,
        "loss": item.loss,
        "top1_error_percent": item.error,
    }

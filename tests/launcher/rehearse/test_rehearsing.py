"""`make rehearse` as it is typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KEYS = {
    "seed", "budget_core_hours", "spent_core_hours", "grid_core_hours", "regret", "regret_largest_cell",
    "predicted_loss", "low", "high", "true_loss",
}  # fmt: skip


def launcher(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Returns what `python -m launcher action=rehearse` printed, typed in another folder."""
    command = [sys.executable, "-m", "launcher", "action=rehearse", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.real
def test_json_is_one_object(tmp_path: Path) -> None:
    """Every seed of every budget with the keys that programs read, their means, and nothing else on stdout or disk."""
    words = ("study=jft", "budgets=3k,10k", "strategy=informed", "seeds=2", "format=json")
    found = launcher(tmp_path, *words)
    assert (found.returncode, found.stderr) == (0, "")
    answer = json.loads(found.stdout)
    assert [(one["budget_core_hours"], one["seed"]) for one in answer["seeds"]] == [
        (3_000.0, 0),
        (3_000.0, 1),
        (10_000.0, 0),
        (10_000.0, 1),
    ]
    assert all(set(one) >= KEYS for one in answer["seeds"])
    assert [one["budget_core_hours"] for one in answer["means"]] == [3_000.0, 10_000.0]
    for mean in answer["means"]:
        own = [one for one in answer["seeds"] if one["budget_core_hours"] == mean["budget_core_hours"]]
        for name in ("regret", "spent_core_hours", "regret_largest_cell"):
            assert mean[name] == pytest.approx(sum(one[name] for one in own) / 2)
    assert not list(tmp_path.iterdir())
    assert json.loads(launcher(tmp_path, *words).stdout) == answer


@pytest.mark.real
def test_table_says_what_its_columns_are(tmp_path: Path) -> None:
    """A row for each budget and a legend."""
    found = launcher(tmp_path, "study=scale_model", "budgets=1k,3k", "strategy=two_trial", "seeds=2")
    assert found.returncode == 0, found.stderr
    assert "means over 2 worlds" in found.stdout and "regret: true loss of the choice above" in found.stdout
    assert sum(line.strip().strip("│ ").startswith(("1k", "3k")) for line in found.stdout.splitlines()) == 2


@pytest.mark.real
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("budget=3k", "strategy=asha"), "choose another strategy"),
        ((), "a rehearsal takes BUDGET, or several BUDGETS"),
        (("budget=3k", "budgets=3k,10k"), "a rehearsal takes BUDGET, or several BUDGETS"),
        (("budget=3k", "seeds=0"), "1 or more (try: SEEDS=20)"),
        (("budget=3k", "rehearse.slots=0"), "it must be 1 or more"),
        (("budget=3k", "rehearse.preemptions_per_h=-1"), "it must be 0 or more"),
        (("budgets=x,10k",), "budget 'x' not understood"),
        (("budget=3k", "strategy=informed", "strategy.spend_share=2"), "above 0, at most 1"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    """One line with what is allowed, and exit code 2."""
    found = launcher(tmp_path, *words)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("loglog: ") and found.stderr.count("\n") == 1
    assert why in found.stderr

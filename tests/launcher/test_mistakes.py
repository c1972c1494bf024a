"""The mistakes people make most, as they type them: each message says what was got, what is allowed, what to type."""

import contextlib
import io
import logging
import os
import sys
from pathlib import Path

import pytest

from launcher import __main__ as application

BUDGET = "budget=10k"
MISTAKES: list[tuple[list[str], list[str]]] = [
    (["study=jtf", BUDGET], ["'jtf'", "choose", "did you mean jft?"]),
    (["study=scalemodel", BUDGET], ["did you mean scale_model?"]),
    ([], ["no budget is given", "make sweep BUDGET=10k"]),
    (["budget=1"], ["holds no cell of study scale_model", "costs 400", "BUDGET=400"]),
    (["budget=10 k"], ["'10 k'", "0.4k", "make plan BUDGET=10k"]),
    (["budget=-5"], ["'-5'", "above zero"]),
    (["budget=0"], ["'0'", "above zero"]),
    (["budget=lots"], ["'lots'", "110k"]),
    (["budget=1e400"], ["'inf'", "above zero"]),
    ([BUDGET, "spend=-1"], ["spend cap '-1'", "above zero"]),
    ([BUDGET, "seeds=0"], ["seeds=0", "seeds=3"]),
    ([BUDGET, "seeds=1.5"], ["seeds=1.5", "a whole number", "seeds=3"]),
    ([BUDGET, "seeds=many"], ["seeds=many", "a whole number"]),
    ([BUDGET, "peak_lr=high"], ["peak_lr=high", "a number", "peak_lr=0.4"]),
    ([BUDGET, "epochs=-1"], ["epochs -1", "above zero"]),
    ([BUDGET, "model=f3"], ["'f3'", "did you mean nfnet/f3 or scale/f3?", "conf/model/"]),
    ([BUDGET, "model=scale/f9"], ["'scale/f9'", "did you mean scale/"]),
    ([BUDGET, "clutser=slurm"], ["clutser", "did you mean cluster?"]),
    ([BUDGET, "cluster=slrum"], ["'slrum'", "inline, local, ray, slurm", "did you mean slurm?"]),
    ([BUDGET, "strategy=informd"], ["'informd'", "did you mean informed?"]),
    ([BUDGET, "strategy=informed", "until=loss"], ["'loss'", "UNTIL='loss@110k"]),
    ([BUDGET, "until='loss@110k +- 1%'"], ["strategy=grid", "STRATEGY=informed"]),
    ([BUDGET, "recipe.weight_decay=0.1"], ["recipe", "did you mean study.recipe"]),
    ([BUDGET, "study.peak_lrs=0.1"], ["must be a list", "study.peak_lrs=["]),
    ([BUDGET, "study.peak_lrs=[-0.1]"], ["-0.1", "above zero"]),
    ([BUDGET, "cluster.workers=0"], ["cluster.workers=0", "above zero"]),
    ([BUDGET, "format=xml"], ["'xml'", "table, json"]),
    ([BUDGET, "action=plna"], ["'plna'", "did you mean plan?"]),
    ([BUDGET, "pick=nothere.yaml"], ["nothere.yaml", "make fit"]),
    ([BUDGET, "hardware=h100"], ["'h100'", "tpu_v4"]),
    ([BUDGET, "trainer=command"], ["trainer.command='python train.py'"]),
    ([BUDGET, "strategy.bogus=1"], ["strategy.bogus", "strategy.spend_share"]),
    (["action=status"], ["nothing of study scale_model", "make sweep"]),
    (["action=retry"], ["nothing of study scale_model", "make sweep"]),
    (["action=sweep", "study=jft", "budget=0.4k"], ["holds no shards", "docs/data.md"]),
    (["action=sweep", "study=cifar10", "budget=0.4k"], ["make data NAME=cifar10"]),
]


@pytest.mark.parametrize(("words", "parts"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_mistakes(words: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on stderr, exit code 2, no traceback."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    code, told = run(words if any(word.startswith("action=") for word in words) else ["action=plan", *words])
    assert code == 2
    assert told.startswith("loglog: ") and len(told.splitlines()) == 1
    for part in parts:
        assert part in told


@pytest.mark.parametrize("root", ["file", "file/below"])
def test_a_root_that_is_no_folder(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said with the folder and the variable that names another."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path / root))
    code, told = run(["action=sweep", "budget=0.4k"])
    assert code == 2
    assert "it is no folder" in told and "LOGLOG_ROOT=" in told


def test_no_warning_is_silenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Hydra sets up no logging of its own: what the rooms warn of, a damaged journal say, is still seen after it."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    log = logging.getLogger("tracking.attempt_file")
    assert run(["action=plan", "budget=1k"]) == (0, "")
    log.warning("a line is passed over")
    assert caplog.messages == ["a line is passed over"]


def run(words: list[str]) -> tuple[int, str]:
    """Returns exit code and stderr of a command run in this process."""
    before, told = sys.argv, io.StringIO()
    sys.argv = ["launcher", *words]
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            return application.main(), told.getvalue()
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR", None)

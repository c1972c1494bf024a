"""The command over fine-tuned checkpoints: the published points, recorded studies, what it refuses."""

import dataclasses
import json
from pathlib import Path

import pytest

from analysis.fit_transfer import main
from analysis.options import FitOptions
from analysis.transfer.checkpoint import Checkpoint
from analysis.transfer.published import landmarks, published_checkpoints
from analysis.transfer.transfer_figure import transfer_figure
from analysis.transfer.transfer_fit import TransferFit, fit_transfer
from sweeps.record import RunRecord
from tests.analysis.synthetic import EPOCHS, MODELS, record

SLOPE, COEFFICIENT = -0.2, 90.0


def _law(core_hours: float) -> float:
    return COEFFICIENT * core_hours**SLOPE


def _checkpoints() -> tuple[Checkpoint, ...]:
    """Returns checkpoints whose error is the law times what their model is worse by off its own best compute."""
    return tuple(
        Checkpoint(
            model=model, epochs=epochs, core_hours=rate * epochs, flops=None, loss=2.0 * (rate * epochs) ** -0.05,
            peak_lr=0.1, errors=(_law(rate * epochs),), held_out_images=10_000,
        )
        for model, (_, rate) in MODELS.items()
        for epochs in EPOCHS
    )  # fmt: skip


def _fit(checkpoints: tuple[Checkpoint, ...], study: str | None = "tuned") -> TransferFit:
    return fit_transfer(checkpoints, title="a to b", source="here", study=study, options=FitOptions(resamples=50))


def test_the_law_is_found_again() -> None:
    """On checkpoints that follow a power law exactly, coefficient and slope are those of the law."""
    law = _fit(_checkpoints()).law
    assert law is not None
    assert law.fit.values["b"] == pytest.approx(-SLOPE, rel=1e-3)
    assert law.fit.values["a"] == pytest.approx(COEFFICIENT, rel=1e-2)


def test_too_few_checkpoints_are_no_law() -> None:
    """Two checkpoints give a contest but no law, and the reason is kept."""
    result = _fit(_checkpoints()[:2])
    assert result.law is None
    assert result.refused is not None
    assert len(result.contests) == 1
    assert transfer_figure(result) is not None
    assert transfer_figure(_fit(_checkpoints()[:1])) is None


def test_published_points(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same command reads Fig. 1 of the paper: 21.5 C^-0.070, and where loss and error disagree."""
    assert main(["--published", "--json", "--bootstrap", "200", "--out", str(tmp_path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["law"]["slope"] == pytest.approx(-0.070, abs=0.001)
    assert said["law"]["coefficient"] == pytest.approx(21.5, abs=0.2)
    assert len(said["checkpoints"]) == 25
    assert sum(contest["differs"] for contest in said["contests"]) == 2
    assert said == json.loads((tmp_path / "transfer.json").read_text())
    assert (tmp_path / "error_vs_compute.png").stat().st_size > 20_000
    assert {item.name for item in landmarks()} == {
        "ViT-g/14", "SoViT-400m/14", "ViT-G/14", "F7+ repeated-augmentation",
    }  # fmt: skip
    assert min(published_checkpoints(), key=lambda item: item.error).model == "f7p"


def test_published_points_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """For people: the law, a row a budget and the sentence; nothing is written unless told where."""
    assert main(["--published", "--bootstrap", "0", "--budgets", "2.7k,20.8k"]) == 0
    said = capsys.readouterr().out
    assert "error = 21.5 C^-0.0699 %" in said
    assert "1 of 2 pre-training budgets" in " ".join(said.split())
    assert "transfer.json" not in said


def _recorded(monkeypatch: pytest.MonkeyPatch, studies: dict[str, list[RunRecord]], root: Path) -> None:
    (root / "runs.sqlite").touch()
    monkeypatch.setenv("LOGLOG_ROOT", str(root))
    monkeypatch.setattr("tracking.run_table.list_studies", lambda paths: list(studies))
    monkeypatch.setattr("tracking.run_table.read_records", lambda paths, study: studies[study])


def _studies() -> dict[str, list[RunRecord]]:
    trunks = [record(model=model, epochs=epochs) for model in MODELS for epochs in EPOCHS]
    tuned: list[RunRecord] = []
    for trunk in trunks:
        for peak_lr, worse in ((0.1, 1.0), (0.2, 1.1)):
            made = record(model=trunk.trial.model, epochs=0.5, peak_lr=peak_lr, loss=worse)
            assert made.outcome is not None
            outcome = dataclasses.replace(
                made.outcome, selection_loss=worse, val_error=worse * _law(trunk.cost.core_hours) / 100
            )
            trial = dataclasses.replace(made.trial, trunk_id=trunk.trial.id)
            tuned.append(dataclasses.replace(made, trial=trial, outcome=outcome))
    return {"a": trunks, "a_on_b": tuned}


def test_recorded_studies(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The latest fine-tuning study is read, its trunks are found in the study they come from, files are written."""
    _recorded(monkeypatch, _studies(), tmp_path)
    assert main(["--json", "--bootstrap", "20"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["study"] == "a_on_b"
    assert said["title"] == "a to parts"
    assert len(said["checkpoints"]) == len(MODELS) * len(EPOCHS)
    assert said["law"]["slope"] == pytest.approx(SLOPE, rel=0.02)
    assert said["checkpoints_at_edge"] == len(said["checkpoints"])
    assert (tmp_path / "reports" / "a_on_b" / "transfer.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--study", "c"], "no study called 'c'"),
        (["--study", "a"], "holds no fine-tuning runs"),
        (["--cohort", "nope"], "no cohort 'nope' in study a_on_b"),
        (["--bootstrap", "-1"], "--bootstrap -1 is negative"),
        (["--budgets", "many"], "budget 'many' not understood"),
    ],
)
def test_mistakes_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], message: str
) -> None:
    """A mistake is one message and exit code 2, as an object where one was asked for."""
    _recorded(monkeypatch, _studies(), tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert main([*words, "--json"]) == 2
    assert message in json.loads(capsys.readouterr().out)["refused"]["reason"]


def test_nothing_recorded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without runs, or without fine-tuned ones, it says what to type."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    assert main([]) == 2
    assert "make sweep" in capsys.readouterr().err
    _recorded(monkeypatch, {"a": _studies()["a"]}, tmp_path)
    assert main([]) == 2
    assert "make finetune" in capsys.readouterr().err

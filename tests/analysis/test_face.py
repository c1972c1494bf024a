import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import figures, fit, laws, pick
from analysis.fit_scaling import main
from analysis.refusal import FitRefused
from analysis.report.fit_json import to_json
from analysis.result import ScalingFit
from sweeps.errors import StudyError
from tests.analysis.synthetic import REFERENCE

FEW = 200
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "fitting.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
"""(kind, text) of each block of docs/fitting.md."""


@pytest.fixture(scope="module")
def reference() -> ScalingFit:
    """The shipped table, with intervals from few resamples."""
    return fit(REFERENCE, budgets=["10k", 20_000.0, 400_000], targets=2.3, bootstrap=FEW)


def test_five_lines_of_a_notebook(reference: ScalingFit) -> None:
    """Law, interval, pick and compute for a loss come from one call on the table that ships."""
    slope = reference.fit.parameters["b"]
    assert slope.value == pytest.approx(0.0429, abs=5e-4)
    assert slope.low is not None and slope.high is not None and slope.low < slope.value < slope.high
    first = reference.picks[0]
    assert (first.model, first.refused) == ("F3+", None)
    (target,) = reference.targets
    assert target.compute == pytest.approx(146e3, rel=0.01)


def test_a_pick_of_a_fit_is_the_pick_of_the_command(reference: ScalingFit) -> None:
    """Another budget asked of a fit gives what the fit would have picked, also where its interval is widened."""
    for made in reference.picks:
        assert pick(reference, core_hours=made.budget) == made
    assert pick(reference, core_hours="20k") == reference.picks[1]
    far = reference.picks[2]
    assert far.refused is not None and far.refused.code == "outside_sampled_range"


def test_a_frame_says_what_its_file_says(reference: ScalingFit) -> None:
    """A DataFrame of the table gives the same law and picks as its path, whatever its index."""
    frame = pd.read_csv(REFERENCE).set_index(pd.Index(range(100, 136)))
    again = fit(frame, budgets="10k,20k,400k", targets=[2.3], bootstrap=FEW)
    assert again.fit.values == reference.fit.values
    assert again.picks == reference.picks
    assert again.points.source == "the DataFrame"


def test_arguments_are_the_options_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Law, floor, filter, columns, level and resamples count as they do for the command."""
    words = "--law power_floor --floor 1.9+-0.05 --filter epochs>0.3 --level 0.8 --bootstrap 200 --json --quick"
    columns = {"loss": "loss", "core_hours": "core_hours", "group": "model"}
    told = [f"{kind}={column}" for kind, column in columns.items()]
    assert main(["--data", str(REFERENCE), *words.split(), "--columns", *told]) == 0
    said = json.loads(capsys.readouterr().out)["law"]["parameters"]
    found = fit(
        REFERENCE, columns, law=laws.POWER_FLOOR, floor=(1.9, 0.05), filters="epochs>0.3", level=0.8, bootstrap=FEW
    )
    for name, estimate in found.fit.parameters.items():
        assert said[name] == {
            "value": estimate.value, "stderr": estimate.stderr, "low": estimate.low, "high": estimate.high,
        }  # fmt: skip
    assert "epochs" not in dict(found.points.columns)


def test_a_surface_is_picked_from_too() -> None:
    """Rows with sizes and tokens give a surface, whose pick for one more budget is that of the fit."""
    rng = np.random.default_rng(0)
    flops = np.repeat(np.geomspace(1e18, 1e20, 5), 7)
    params = 0.1 * flops**0.5 * np.tile(np.geomspace(0.2, 5, 7), 5)
    loss = 1.7 + 400 * params**-0.34 + 1000 * (flops / 6 / params) ** -0.35
    table = pd.DataFrame({"N": params, "D": flops / 6 / params, "val_loss": loss * np.exp(0.003 * rng.normal(size=35))})
    found = fit(table, {"loss": "val_loss", "params": "N", "tokens": "D"}, budgets_flops=[3e19, 3e20], bootstrap=FEW)
    assert found.fit.law == laws.SURFACE
    assert tuple(pick(found, flops=made.budget) for made in found.picks) == found.picks
    with pytest.raises(StudyError, match=r"law is of FLOPs.*budgets=\['10k'\]"):
        pick(found, core_hours=10_000)


def test_figures_come_by_name(reference: ScalingFit) -> None:
    """The figures that the command writes are drawn as matplotlib figures."""
    drawn = figures(reference)
    assert "loss_vs_compute" in drawn
    assert all(isinstance(figure, Figure) for figure in drawn.values())


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"law": "powr"}, "no law called 'powr'"),
        ({"budgets": "ten"}, "budget 'ten' not understood"),
        ({"budgets": -1.0}, "budgets=-1.0 not understood"),
        ({"budgets": ["10k"], "budgets_flops": [1e21]}, "give one of them"),
        ({"columns": {"los": "loss"}}, "did you mean loss"),
        ({"columns": {"loss": "nll"}}, "nll"),
        ({"filters": "epochs~3"}, "not understood"),
        ({"targets": [2.5, "low"]}, r"targets='low' not understood"),
        ({"floor": 0.0}, "floor=0.0 not understood"),
        ({"floor": (1.0, 0.1, 2.0)}, "a value and its standard deviation"),
        ({"level": 1.0}, "try: level=0.9"),
        ({"huber": 0.0}, "try: huber=1e-3"),
        ({"bootstrap": -1}, "0 for none"),
        ({"study": "scale_model"}, "without a table"),
        ({"table": {"loss": [1.0]}}, "not dict"),
        ({"table": "nowhere.csv"}, "no table at nowhere.csv"),
        ({"table": None, "columns": {"loss": "loss"}}, "describe a table"),
    ],
)
def test_what_is_not_understood_is_said(said: dict[str, Any], match: str) -> None:
    """Each wrong argument is a StudyError that says what to write."""
    with pytest.raises(StudyError, match=match):
        fit(**({"table": REFERENCE, "bootstrap": 0} | said))


def test_a_pick_takes_one_budget_on_the_axis_of_the_law(reference: ScalingFit) -> None:
    """No budget, two of them, or FLOPs where no scale is known are StudyErrors."""
    with pytest.raises(StudyError, match="pick takes one budget"):
        pick(reference)
    with pytest.raises(StudyError, match="pick takes one budget"):
        pick(reference, core_hours="10k,20k")
    with pytest.raises(StudyError, match="give one of them"):
        pick(reference, core_hours=1e4, flops=1e21)
    with pytest.raises(StudyError, match=r"law is of core-hours.*budgets_flops=\[1e21\]"):
        pick(reference, flops=1e21)


def test_columns_of_one_name_are_refused() -> None:
    """A DataFrame with two columns called loss does not say which is meant; the later one can be named by number."""
    frame = pd.read_csv(REFERENCE)
    doubled = pd.concat([frame, frame["loss"].rename("loss")], axis=1)
    with pytest.raises(StudyError, match="several columns called 'loss'"):
        fit(doubled, bootstrap=0)
    columns = {"loss": "loss (2)", "core_hours": "core_hours", "group": "model"}
    assert fit(doubled, columns, bootstrap=0).fit.values["b"] == pytest.approx(0.0429, abs=5e-4)


def test_without_a_table_the_recorded_runs_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing was run, that is what the refusal says, and what to type."""
    monkeypatch.setenv("LOGLOG_ROOT", str(tmp_path))
    with pytest.raises(FitRefused, match=r"nothing was run.*make sweep") as refused:
        fit()
    assert refused.value.refusal.code == "no_runs"


def test_importing_analysis_loads_nothing(checkout: Path) -> None:
    """`import analysis` loads no library; fit, pick and laws still leave pandas, matplotlib and scipy alone."""
    code = (
        "import sys, analysis; heavy = ('numpy', 'pandas', 'scipy', 'matplotlib'); "
        "print(*(n for n in heavy if n in sys.modules)); from analysis import figures, fit, laws, pick; "
        "print(laws.__name__, *(n for n in heavy if n in sys.modules)); print('fit' in dir(analysis))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "analysis.laws numpy", "True"]


def test_an_unknown_name_is_none_of_analysis() -> None:
    """A misspelt name is an AttributeError, as in any module."""
    import analysis

    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = analysis.fitt  # pyright: ignore[reportAttributeAccessIssue]


def test_the_page_shows_what_the_command_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of the report in docs/fitting.md is one that its command prints, in that order, numbers to 2 %."""
    monkeypatch.chdir(checkout)
    command = next(text for kind, text in BLOCKS if not kind)
    assert main([*command.split()[2:], "--out", str(tmp_path)]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    shown = next(text for kind, text in BLOCKS if kind == "text").splitlines()
    assert [line for line, page in zip(printed, shown, strict=False) if not _is_alike(line, page)] == []


def _is_alike(line: str, page: str) -> bool:
    """Whether two lines have the same words, and numbers that another processor may round otherwise."""
    words, others = line.split(), page.split()
    return len(words) == len(others) and all(a == b or _is_near(a, b) for a, b in zip(words, others, strict=True))


def _is_near(word: str, other: str) -> bool:
    found = [re.fullmatch(r"([+-]?[\d.]+(?:e[+-]?\d+)?)(\D*)", text.rstrip(",;")) for text in (word, other)]
    if not all(found):
        return False
    (a, unit), (b, other_unit) = (match.groups() for match in found if match)
    return unit == other_unit and float(a) == pytest.approx(float(b), rel=0.02, abs=0.02)


def test_the_lines_of_the_page_say_what_it_shows(
    capsys: pytest.CaptureFixture[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notebook of docs/fitting.md runs from the checkout and prints what stands below it."""
    monkeypatch.chdir(checkout)
    exec(next(text for kind, text in BLOCKS if kind == "python"), {})
    assert capsys.readouterr().out == [text for kind, text in BLOCKS if kind == "text"][1]


@pytest.mark.parametrize("name", laws.LAWS)
def test_every_law_is_on_the_page(name: str) -> None:
    """docs/fitting.md has each law with its formula and source."""
    law = laws.LAWS[name]
    assert f"| `{name}` | `{law.formula}` | {law.source} |" in PAGE


def test_every_key_of_the_json_is_on_the_page(reference: ScalingFit) -> None:
    """docs/fitting.md names each key of what --json prints."""
    assert not [key for key in to_json(reference) if f"`{key}`" not in PAGE]


def test_every_refusal_is_on_the_page(checkout: Path) -> None:
    """docs/fitting.md says of each code that a refusal can have what to do."""
    sources = "".join(path.read_text() for path in (checkout / "analysis").rglob("*.py"))
    codes = re.findall(r"""(?:Refused|Refusal)\(\s*code="(\w+)"|_refused\(\s*"\w+",\s*"(\w+)\"""", sources)
    assert len(codes) > 10
    assert not [code for pair in codes for code in pair if code and f"`{code}`" not in PAGE]

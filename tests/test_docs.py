"""The documentation does not lag: every target, word, setting and link in it is checked."""

import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from strategy.spec import SETTINGS as OF_STRATEGIES
from sweeps.budget import format_core_hours

CHECKOUT = Path(__file__).resolve().parents[1]
MAKEFILE = (CHECKOUT / "Makefile").read_text()
TARGETS = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[0].split()
WORDS = [word for word in re.findall(r"^WORDS := (.+)$", MAKEFILE, re.MULTILINE)[0].split() if word != "SYSTEM_PYTHON"]
SETTINGS = yaml.safe_load((CHECKOUT / "conf" / "config.yaml").read_text())
KEYS = [key for key in SETTINGS if key not in ("defaults", "hydra")]
GROUPS = sorted(path.name for path in (CHECKOUT / "conf").iterdir() if path.is_dir())
STUDIES = sorted(path.stem for path in (CHECKOUT / "conf" / "study").glob("*.yaml"))


def _pages() -> list[Path]:
    return sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])


def _anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_in_the_manual(target: str) -> None:
    """docs/commands.md has each command with `make` before it, and the Makefile a line of help for it."""
    assert f"make {target}" in (CHECKOUT / "docs" / "commands.md").read_text()
    assert re.search(rf"^{target}:.*## \S", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_in_the_manual(word: str) -> None:
    """docs/commands.md explains each variable of make, and so does `make help`."""
    assert f"`{word}" in (CHECKOUT / "docs" / "commands.md").read_text()
    assert re.search(rf"^## {word} +\S", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("name", [*KEYS, *GROUPS])
def test_every_setting_is_in_the_manual(name: str) -> None:
    """docs/config.md has each top-level key and each group of conf/."""
    assert f"`{name}" in (CHECKOUT / "docs" / "config.md").read_text()


def test_every_setting_of_strategies_and_rehearsals_is_in_the_manual() -> None:
    """docs/strategies.md has each strategy, each setting of one, and each of the cluster of rehearsals."""
    page = (CHECKOUT / "docs" / "strategies.md").read_text()
    words = [f"`{name}`" for name in OF_STRATEGIES]
    words += [f"`strategy.{key}`" for keys in OF_STRATEGIES.values() for key in keys]
    words += [f"`rehearse.{key}`" for key in SETTINGS["rehearse"]]
    assert not [word for word in words if word not in page]


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_is_in_the_manual(study: str) -> None:
    """docs/config.md says what each study asks."""
    assert f"`{study}`" in (CHECKOUT / "docs" / "config.md").read_text()


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link and picture of a page exists, down to the heading."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    """Each page below docs/ can be reached from docs/index.md by links."""
    reached: set[Path] = set()
    todo = [CHECKOUT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)\s#:]+)[^)]*\)", page.read_text())
        todo += [(page.parent / link).resolve() for link in links]
    assert not [str(page) for page in _pages() if "docs" in page.parts and page not in reached]


def test_pyproject_and_citation_agree() -> None:
    """The version is the same in pyproject.toml, CITATION.cff and the newest entry of the changelog."""
    (version,) = re.findall(r'^version = "(.+)"$', (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE)
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    assert str(citation["version"]) == version
    assert re.search(rf"^## \[{re.escape(version)}\]", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_scripts_of_the_project_are_valid_shell() -> None:
    """The script of continuous integration parses."""
    assert subprocess.run(["bash", "-n", str(CHECKOUT / ".ci" / "run")], check=False).returncode == 0


def _law(study: str) -> dict[str, Any]:
    return json.loads((CHECKOUT / "docs" / "figures" / study / "fit.json").read_text())


@pytest.mark.parametrize("study", ["scale_model", "fashion_mnist", "cifar10", "reference"])
def test_the_results_are_those_of_the_fits(study: str) -> None:
    """Law, r2, noise and hand-overs on the page are the numbers in the fit.json beside its figure."""
    title = {
        "scale_model": "## The scale model",
        "fashion_mnist": "## Fashion-MNIST",
        "cifar10": "## CIFAR-10",
        "reference": "## The paper's",
    }
    page = (CHECKOUT / "docs" / "results.md").read_text()
    section = page.split(title[study])[1].split("\n## ")[0]
    fit = _law(study)
    law = fit["law"]
    digits = 3 if study == "reference" else 4
    said = [
        f"L = {law['coefficient']:.3f} C^{law['slope']:.4f}",
        f"{law['r2']:.4f} over the {law['n_points']} measured",
    ]
    said += [format_core_hours(float(f"{hand['compute']:.3g}")) for hand in fit["handovers"]]
    if study != "reference":
        slope = law["parameters"]["b"]
        said.append(f"{-slope['high']:.{digits}f} to {-slope['low']:.{digits}f}")
        said.append(f"{fit['seed_noise']['relative_sd']:.2%}".replace("%", " %"))
        decades = math.log10(fit["frontier"][-1]["core_hours"] / fit["frontier"][0]["core_hours"])
        said.append(f"{decades:.2f} decades")
    for words in said:
        assert words in section, f"docs/results.md does not say {words!r} of {study}"


def test_the_readme_shows_the_picks_of_the_fit() -> None:
    """The table of what to train is the picks of docs/figures/scale_model/fit.json."""
    page = (CHECKOUT / "README.md").read_text()
    for pick in _law("scale_model")["picks"]:
        loss, low, high = (f"{pick[name]:.4f}" for name in ("predicted_loss", "low", "high"))
        size = pick["model"].upper().replace("P", "+")
        row = f"| {format_core_hours(pick['budget_core_hours'])} | {size} | {pick['epochs']:.3g} epochs | "
        assert f"{row}{pick['peak_lr']:g} | {loss} | {low} to {high} | {pick['support']:.0%}".replace("%", " %") in page


def _figures(benchmark: str) -> dict[str, float]:
    """Returns what a benchmark measured last."""
    found = json.loads((CHECKOUT / "benchmarks" / "results" / f"{benchmark}.json").read_text())["figures"]
    return {name: figure["value"] for name, figure in found.items()}


def test_the_readme_claims_what_chaos_has_shown() -> None:
    """Two hundred faults, and no record lost, changed, doubled or stuck."""
    assert "Two hundred faults" in (CHECKOUT / "README.md").read_text()
    figures = _figures("chaos")
    assert figures["faults"] >= 200
    assert [figures[name] for name in ("lost", "changed", "duplicates", "stuck")] == [0, 0, 0, 0]


def test_the_lab_log_has_the_figures_of_its_benchmarks() -> None:
    """What is said of ingestion and of ten thousand queued packs is in the results."""
    page = (CHECKOUT / "docs" / "lab-log.md").read_text()
    ingest, overhead = _figures("ingest"), _figures("overhead")
    assert (
        f"| {ingest['ingest_seconds']:.0f} s; plain `mlflow.log_metric` {ingest['plain_log_metric_seconds']:,.0f} s"
        in page
    )
    assert f"{ingest['ratio']:.0f} times" in page
    assert (
        f"busy {overhead['local_busy']:.1f} % of the time, {overhead['local_overhead_per_pack']:.0f} ms a pack" in page
    )
    assert f"{overhead['ray_overhead_per_pack']:.0f} ms of an actor a pack" in page
    assert (
        f"queued in {overhead['queued_in']:.0f} s; driver {overhead['queued_driver_memory']:.0f} MB, "
        f"{overhead['queued_driver_core']:.1f} % of a core"
    ) in page


@pytest.mark.parametrize("label", ["", " off the surface"])
@pytest.mark.parametrize("budget", ["3k", "10k", "30k", "60k", "110k"])
def test_strategies_are_worth_what_was_rehearsed(budget: str, label: str) -> None:
    """The row of a budget in docs/strategies.md is what the benchmark of rehearsals found last."""
    figures, name = _figures("rehearsal"), f"{budget}{label}"
    rules = [
        f"{figures[f'{name} {rule} regret']:.2f} ({figures[f'{name} {rule} worst decile']:.2f})"
        for rule in ("informed + two_trial", "dearest", "full_grid", "largest", "random")
    ]
    spent = f"{figures[f'{name} spent']:.0f} %, {figures[f'{name} spent at most']:.0f} %"
    cells = [budget, rules[0], spent, f"{figures[f'{name} interval held']:.0f} %", *rules[1:]]
    assert f"| {' | '.join(cells)} |" in (CHECKOUT / "docs" / "strategies.md").read_text()


def test_the_manual_of_strategies_has_the_figures_of_its_benchmarks() -> None:
    """What is said of the ladder, the spend cap, trunks and learning rates is in the results."""
    page = " ".join((CHECKOUT / "docs" / "strategies.md").read_text().split())
    ladder, cap, rates, law = map(_figures, ("rehearsal", "spend_cap", "two_trial", "trunk_law"))
    for name in ("ladder", "ladder off the surface"):
        assert (
            f"to {ladder[f'{name} error at 110k']:.2f} % ({ladder[f'{name} bias at 110k']:+.2f} % on average), held "
            f"{ladder[f'{name} 90 % interval held']:.0f} %, for {ladder[f'{name} spent']:.1f} % of the grid"
        ) in page
    assert f"with {cap['pre-emptions']:,} pre-emptions and {cap['drivers that died']:,} drivers that died" in page
    assert [cap[name] for name in ("cap exceeded", "more trained than counted")] == [0, 0]
    assert f"counted was {cap['mean counted / trained']:.2f} times what was trained" in page
    for name in ("two_trial", "two_trial cell by cell", "full grid as believed"):
        assert f"{rates[f'{name} regret']:+.2f} % (sd {rates[f'{name} sd over splits']:.2f})" in page
    low, high = law["slope difference, low"], law["slope difference, high"]
    assert f"resolved: {law['slope difference by cells']:+.3f} ({low:+.3f} to {high:+.3f}, 90 %)" in page


@pytest.mark.parametrize(
    ("folder", "title"), [("reference", "## The paper's own points"), ("scale_model_on_parts", "## The scale model")]
)
def test_the_errors_are_those_of_the_fits(folder: str, title: str) -> None:
    """Law, r2 and contests of docs/finetuning.md are the numbers in the transfer.json beside its figure."""
    section = (CHECKOUT / "docs" / "finetuning.md").read_text().split(title)[1].split("\n## ")[0]
    fit = json.loads((CHECKOUT / "docs" / "figures" / folder / "transfer.json").read_text())
    law = fit["law"]
    slope = law["parameters"]["b"]
    differing = [contest for contest in fit["contests"] if contest["differs"]]
    said = [
        f"error = {law['coefficient']:.4g} C^{law['slope']:.4f} %",
        f"{-slope['high']:.4f} to {-slope['low']:.4f}",
        f"{law['r2']:.4f} over {len(fit['frontier'])} frontier cells of {len(fit['checkpoints'])}",
        f"at {len(differing)} of {len(fit['contests'])} budgets",
    ]
    for words in said:
        assert words in section, f"docs/finetuning.md does not say {words!r} of {folder}"

"""Runs every test that meets a cluster, and says for each back end how many held.

From the checkout: `python -m tests.clusters.run_clusters [--json] [words for pytest]`.
"""

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.clusters import private_ray, private_slurm

CHECKOUT = Path(__file__).resolve().parents[2]
BACKENDS = ("inline", "local", "slurm", "slurm_accounted", "ray")
FILES = (
    "tests/launcher/test_backends.py",
    "tests/launcher/on_slurm/test_*.py",
    "tests/launcher/on_ray/test_*.py",
    "tests/launcher/attend/test_*.py",
    "tests/clusters/test_*.py",
)


@dataclass
class Row:
    """What became of the tests of one back end."""

    name: str
    version: str | None
    """None where it is not installed."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def main(words: list[str] | None = None) -> int:
    """Runs the tests, shows the result and returns the exit code: 1 when anything failed."""
    parser = argparse.ArgumentParser(prog="run_clusters", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")
    options, for_pytest = parser.parse_known_args(words)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = _run_pytest(report, for_pytest)
        tree = ElementTree.parse(report) if report.exists() else None
    cases = list(tree.iter("testcase")) if tree else []
    rows = count(cases)
    if options.json:
        print(json.dumps({"backends": [asdict(row) for row in rows]}))
    else:
        _show(rows, _reasons(cases))
    return int(code != 0 or not cases or any(row.failed for row in rows))


def _run_pytest(report: Path, words: list[str]) -> int:
    files = sorted(str(path.relative_to(CHECKOUT)) for pattern in FILES for path in CHECKOUT.glob(pattern))
    command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *files, *words]
    # What pytest says goes to stderr: stdout is for the result.
    return subprocess.run(command, cwd=CHECKOUT, stdout=sys.stderr, check=False).returncode


def count(cases: Iterable[ElementTree.Element]) -> list[Row]:
    """Counts the test cases of a JUnit report by back end."""
    rows = {name: Row(name, version) for name, version in zip(BACKENDS, map(_version, BACKENDS), strict=True)}
    failed: set[tuple[str, str]] = set()
    for case in cases:
        key = case.get("classname", ""), case.get("name", "")
        row = rows[backend_of(*key)]
        if case.find("failure") is not None or case.find("error") is not None:
            # A test that fails and whose clean-up fails too is two cases of the report and one test.
            row.failed += key not in failed
            failed.add(key)
        elif case.find("skipped") is not None:
            row.skipped += 1
        else:
            row.passed += 1
    return list(rows.values())


def backend_of(module: str, test: str) -> str:
    """Returns whose behaviour a test shows: the back end among its parameters, else that of its file."""
    parameters = re.search(r"\[(.*)\]", test, re.DOTALL)
    for word in parameters[1].split("-") if parameters else ():
        if word in BACKENDS:
            return word
    file = (module or test).rpartition(".")[2]  # a file that cannot be imported is a test without module
    if "slurm" in file:
        return "slurm_accounted" if "account" in file + test else "slurm"
    return "ray" if "ray" in file else "local"


def _version(backend: str) -> str | None:
    if backend == "ray":
        return _version_of("ray") if private_ray.missing() is None else None
    if backend.startswith("slurm"):
        return private_slurm.version()
    return _version_of("loglog")


def _version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _reasons(cases: Iterable[ElementTree.Element]) -> dict[str, set[str]]:
    reasons: dict[str, set[str]] = {}
    for case in cases:
        if (skipped := case.find("skipped")) is not None:
            name = backend_of(case.get("classname", ""), case.get("name", ""))
            reasons.setdefault(name, set()).add(skipped.get("message", ""))
    return reasons


def _show(rows: list[Row], reasons: dict[str, set[str]]) -> None:
    table = Table()
    for heading in ("back end", "version"):
        table.add_column(heading)
    for heading in ("passed", "failed", "skipped"):
        table.add_column(heading, justify="right")
    table.add_column("why skipped")
    for row in rows:
        colour = "red" if row.failed else "green" if row.passed else "yellow"
        numbers = (str(row.passed), str(row.failed), str(row.skipped))
        why = "; ".join(sorted(reasons.get(row.name, ())))
        table.add_row(f"[{colour}]{row.name}[/]", row.version or "not installed", *numbers, why.replace("[", r"\["))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())

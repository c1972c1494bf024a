"""What every test runs under: a home of its own, one sentence about the parts that met a real thing, no telemetry."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("tests.clusters.fixtures", "tests.browser.fixtures")

CHECKOUT = Path(__file__).resolve().parents[1]

# Small matrices by the thousand: threads of BLAS would only wait for one another. It reads this when it is loaded.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["MPLBACKEND"] = "agg"
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the workers of pytest-xdist share one GPU where there is one

# A loaded machine is no reason to fail, and the same tree gives the same examples everywhere.
settings.register_profile("loglog", deadline=None, derandomize=True, database=None)
settings.load_profile("loglog")


@pytest.fixture(scope="session", autouse=True)
def loglog_root() -> Iterator[Path]:
    """A root of this session's own, so that no test can reach the runs of the checkout it is started in."""
    temporary = tempfile.TemporaryDirectory(prefix="loglog-tests-", ignore_cleanup_errors=True)
    with temporary as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLOG_ROOT", folder)
        yield Path(folder)


@pytest.fixture
def checkout() -> Path:
    """The folder with the Makefile."""
    return CHECKOUT


@pytest.fixture
def checkout_data_dir() -> Path:
    """Where `make data` puts real images."""
    return CHECKOUT / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option for tests that take minutes each."""
    parser.addoption("--endurance", action="store_true", help="also run the tests that take minutes each")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that meet the same cluster run one after the other in one process, and first, since they take longest.

    The others stay together by file: what a file compiles or starts is then compiled or started once.
    """
    if not config.getoption("--endurance"):
        skip = pytest.mark.skip(reason="takes minutes (make test EXTRA=--endurance runs it, and so does .ci/run)")
        for item in items:
            if item.get_closest_marker("endurance"):
                item.add_marker(skip)
    clusters = {item: _cluster_of(item) for item in items}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(clusters[item] or item.path.relative_to(CHECKOUT).as_posix()))
    items.sort(key=lambda item: clusters[item] is None)


def _cluster_of(item: pytest.Item) -> str | None:
    """Returns the cluster that a test starts or shares; None for most."""
    path = item.path.relative_to(CHECKOUT).as_posix()
    if "/on_ray/" in path:
        return "ray"
    if path.startswith("tests/clusters/") or item.path.stem == "test_same_losses":
        return item.path.stem  # it meets several
    callspec = getattr(item, "callspec", None)
    if item.path.stem == "test_chaos" and callspec is not None:
        return f"chaos {callspec.params['name']}"
    names = [callspec.params.get("backend_name")] if callspec is not None else []
    names += getattr(item, "fixturenames", [])
    for name, group in (("slurm_accounted", "slurm_accounted"), ("slurm", "slurm"), ("ray", "ray")):
        if name in names or f"{name}_cluster" in names:
            return group
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the end which parts met a real process, service or image set, and why any did not."""
    lines: list[str] = []
    for outcome, reports in terminalreporter.stats.items():
        if outcome not in ("passed", "failed", "skipped"):
            continue
        for report in reports:
            if "real" in getattr(report, "keywords", ()) and (report.when == "call" or report.outcome != "passed"):
                reason = f": {report.longrepr[2].removeprefix('Skipped: ')}" if outcome == "skipped" else ""
                lines.append(f"{outcome:<8}{report.nodeid}{reason}")
    if lines:
        terminalreporter.section("parts that meet a real thing")
        for line in sorted(lines):
            terminalreporter.line(line)

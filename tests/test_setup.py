"""The set-up and the Makefile: what reaches Python, and what an interrupted or repeated set-up leaves behind."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import bootstrap, run_benchmark, show_help
from sweeps.errors import StudyError

CHECKOUT = Path(__file__).resolve().parents[1]
SPOKEN = [f"--{name}" for name in ("alpha", "beta")]


def _copy(folder: Path) -> Path:
    """Returns a folder with what `make` needs of the checkout before anything is installed."""
    root = folder / "a checkout with spaces"
    (root / "launcher").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "launcher/bootstrap.py", "launcher/show_help.py"):
        shutil.copy(CHECKOUT / name, root / name)
    return root


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _make(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Words given to a `make test` around this one are in its environment.
    clean = {name: value for name, value in os.environ.items() if not re.match(r"MAKE|MFLAGS$", name)}
    for word in show_help.words((CHECKOUT / "Makefile").read_text()):
        clean.pop(word, None)
    command = ["make", "-C", str(root), "--no-print-directory", f"SYSTEM_PYTHON={sys.executable}", *words]
    return subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A checkout that looks set up, whose Python prints each word it is given on a line of its own."""
    root = _copy(tmp_path)
    _program(root / ".venv" / "bin" / "python", """for word in "$@"; do printf '%s\\n' "$word"; done""")
    (root / ".venv" / bootstrap.STAMP).touch()
    return root


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make on PATH")


@needs_make
@pytest.mark.parametrize(
    "value",
    ["10k", "", "10 k ", "it's", 'a "quoted" word', "$HOME and $(pwd)", "`id`", "a;b|c&d", "[0,1]", "\\", "#", "*"],
)
def test_values_reach_python_as_typed(ready: Path, value: str) -> None:
    """Whatever is typed after BUDGET= is one word to Python, the same to the last character, be it empty."""
    done = _make(ready, "plan", f"BUDGET={value}")
    assert done.stdout.splitlines() == ["-m", "launcher", "action=plan", f"budget={value}"], done.stderr


@needs_make
def test_only_words_that_were_given_are_passed_on(ready: Path) -> None:
    """Without words nothing but the action is passed; each word is passed under its own name."""
    assert _make(ready, "sweep").stdout.split() == ["-m", "launcher", "action=sweep"]
    words = {
        name: f"x{name}" for name in ("BUDGET", "STUDY", "CLUSTER", "STRATEGY", "SPEND", "SEEDS", "MODEL", "FORMAT")
    }
    said = _make(ready, "sweep", *(f"{name}={value}" for name, value in words.items()), "EXTRA=a=1 b=2").stdout.split()
    assert set(said[3:]) == {f"{name.lower()}={value}" for name, value in words.items()} | {"a=1", "b=2"}


@needs_make
def test_words_from_the_environment_count_except_ambiguous_ones(ready: Path) -> None:
    """BUDGET may stand before `make`; NAME may not, for some shells set it to the name of the machine."""
    done = _make(ready, "plan", "bench", BUDGET="4k", NAME="desktop", MODEL="laptop")
    assert done.stdout.split() == ["-m", "launcher", "action=plan", "budget=4k", "-m", "launcher.run_benchmark"]


@needs_make
def test_a_misspelt_word_is_refused(ready: Path) -> None:
    """A word that nobody knows stops make, and the valid ones are listed."""
    done = _make(ready, "plan", "BUGDET=10k")
    assert done.returncode == 2 and not done.stdout
    assert re.search(r"BUGDET is no word of this project; they are BUDGET .*make help", done.stderr)


@needs_make
def test_options_of_fit(ready: Path) -> None:
    """`make fit` speaks the options of analysis/fit_scaling.py."""
    done = _make(ready, "fit", "BUDGETS=1k,2k", "FORMAT=json", "STUDY=jft")
    assert done.stdout.split() == ["analysis/fit_scaling.py", "--study=jft", "--budgets=1k,2k", "--json"]


@needs_make
def test_help_needs_no_installation_and_names_everything(tmp_path: Path) -> None:
    """`make` alone prints every target and every word, and makes no .venv."""
    root = _copy(tmp_path)
    done = _make(root)
    makefile = (root / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    (words,) = re.findall(r"^WORDS := (.+)$", makefile, re.MULTILINE)
    assert set(show_help.words(makefile)) == set(words.split()) - {"SYSTEM_PYTHON"}
    assert done.stdout.rstrip("\n") == show_help.help_text(makefile)
    for name in (*targets.split(), *(word for word in words.split() if word != "SYSTEM_PYTHON")):
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE), name
    assert not (root / ".venv").exists()


def test_the_versions_of_python_are_said_once() -> None:
    """The set-up looks for the very versions that pyproject.toml requires."""
    required = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest, too_new = (".".join(map(str, version)) for version in (bootstrap.OLDEST, bootstrap.TOO_NEW))
    assert required == f">={oldest},<{too_new}"


def test_an_old_python_finds_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A python3 that is too old is passed over for the newest usable one on PATH; a broken one is none."""
    for name, words in {"python3": "echo 3 9", "python3.12": "echo 3 12", "python3.13": "exit 1"}.items():
        _program(tmp_path / name, words)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bootstrap.sys, "executable", str(tmp_path / "python3"))
    assert bootstrap.find_python() == "python3.12"


def test_no_usable_python_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every Python is too old or too new, the error says what was found and what is needed."""
    for name, words in {"python3": "echo 3 9", "python": "echo 3 14"}.items():
        _program(tmp_path / name, words)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bootstrap.sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(bootstrap.SetupError, match=r"Python 3\.11 or newer, below 3\.14.*is 3\.9; .*python is 3\.14"):
        bootstrap.find_python()


@pytest.fixture
def installing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Path, Path]]:
    """Makes a checkout whose .venv exists but is empty, and a uv on PATH that records its words and then acts."""

    def make(uv: str) -> tuple[Path, Path]:
        root = _copy(tmp_path)
        _program(root / ".venv" / "bin" / "python", f'echo pip "$@" >> {tmp_path}/said; exec {sys.executable} "$@"')
        _program(tmp_path / "bin" / "uv", f'echo uv "$@" >> {tmp_path}/said; {uv}')
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        return root, tmp_path / "said"

    return make


def test_a_complete_set_up_is_not_stale_until_an_input_changes(installing: Callable[[str], tuple[Path, Path]]) -> None:
    """The stamp appears after the installation, and either input file makes it stale again."""
    root, said = installing("exit 0")
    assert bootstrap.is_stale(root)
    bootstrap.set_up(root)
    assert "-c constraints.txt -e . --group dev" in said.read_text()
    assert not bootstrap.is_stale(root)
    for name in bootstrap.SOURCES:
        later = time.time() + 60
        os.utime(root / name, (later, later))
        assert bootstrap.is_stale(root)
        bootstrap.set_up(root)
        assert not bootstrap.is_stale(root)


def test_an_edit_during_the_installation_counts(installing: Callable[[str], tuple[Path, Path]]) -> None:
    """What is edited while packages are installed makes the result stale."""
    root, _ = installing("sleep 0.02; touch constraints.txt")
    bootstrap.set_up(root)
    assert bootstrap.is_stale(root)


def test_a_failed_update_leaves_no_stamp(
    installing: Callable[[str], tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set-up that breaks off looks half made afterwards, even where a complete one stood before."""
    root, _ = installing("exit 0")
    bootstrap.set_up(root)

    def interrupted(root: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.set_up(root)
    assert bootstrap.is_stale(root)


def test_without_a_network_the_cache_is_tried(
    installing: Callable[[str], tuple[Path, Path]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Where uv cannot reach the index it is asked for what its cache holds, and the person is told."""
    root, said = installing('case "$*" in *--version*|*--offline*) exit 0;; esac; exit 2')
    bootstrap.install(root)
    assert "--offline" in said.read_text().splitlines()[-1]
    assert "trying what it has in its cache" in capfd.readouterr().err


def test_when_nothing_can_be_had_the_error_says_so(
    installing: Callable[[str], tuple[Path, Path]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Where uv, its cache and pip all fail, there is one error with the command to type."""
    root, said = installing('case "$*" in *--version*) exit 0;; esac; exit 2')
    _program(root / ".venv" / "bin" / "python", f"echo pip >> {said}; exit 1")
    with pytest.raises(bootstrap.SetupError, match=r"could not be installed .* type: make setup"):
        bootstrap.install(root)
    assert "pip" in said.read_text().splitlines()
    assert "installing with pip" in capfd.readouterr().err


@needs_make
@pytest.mark.real
@pytest.mark.slow
def test_a_killed_set_up_is_taken_up_and_two_at_once_do_it_once(tmp_path: Path) -> None:
    """After kill -9 no stamp is left; two `make setup` together then install once, and a third not at all."""
    root = _copy(tmp_path)
    said, started = tmp_path / "said", tmp_path / "started"
    _program(
        tmp_path / "bin" / "uv",
        f'case "$*" in *--version*) exit 0;; esac; echo {{}} >> "{said}"; touch "{started}"; sleep 1',
    )
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-I", str(root / "launcher" / "bootstrap.py")]
    first = subprocess.Popen(command, env={**os.environ, "PATH": path}, stderr=subprocess.DEVNULL)
    while not started.exists() and first.poll() is None:
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert (root / ".venv" / "bin" / "python").exists() and not (root / ".venv" / bootstrap.STAMP).exists()
    said.unlink()
    pair = [
        subprocess.Popen(
            ["make", "-C", str(root), "setup", f"SYSTEM_PYTHON={sys.executable}"],
            env={**os.environ, "PATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    assert [process.wait(timeout=120) for process in pair] == [0, 0]
    assert "Nothing to be done" in _make(root, "setup", PATH=path).stdout
    assert len(said.read_text().splitlines()) == 1


def test_benchmarks_are_listed_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make bench` lists names with their first line; with a name it runs that file with its options."""
    code = '"""How fast.\n\nMore."""\nimport sys\nif __name__ == "__main__":\n    print(__name__, sys.argv[1:])\n'
    (tmp_path / "speed.py").write_text(code)
    (tmp_path / "parts.py").write_text('"""Parts of benchmarks are none."""\n')
    assert run_benchmark.benchmarks(tmp_path) == {"speed": "How fast."}
    argv = sys.argv
    try:
        run_benchmark.run("speed", SPOKEN, tmp_path)
    finally:
        sys.argv = argv
    assert capsys.readouterr().out == f"__main__ {SPOKEN}\n"
    with pytest.raises(StudyError, match=r"no benchmark 'spede'; there are speed \(try: make bench NAME=speed\)"):
        run_benchmark.run("spede", [], tmp_path)

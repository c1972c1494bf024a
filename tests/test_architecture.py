"""The house holds: directions of imports, sizes, names, and nothing of this machine in the tree."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
ROOMS = ("sweeps", "tracking", "training", "analysis", "strategy", "launcher")
HEAVY = ("jax", "ray", "mlflow", "submitit", "hydra", "omegaconf", "matplotlib", "scipy.stats", "optax", "orbax")
KNOW_HYDRA = {
    "launcher.__main__",
    *(f"launcher.settings.{name}" for name in ("compose", "schema", "config_errors", "family_settings")),
}
NOT_IMPORTED_BY_PEOPLE = (
    "launcher.work.worker",
    "launcher.on_slurm.slurm_job",
    *(f"launcher.on_ray.{name}" for name in ("ray_trainable", "plan_searcher", "pack_scheduler", "asha_by_cell")),
)
"""What only jobs and workers import: training, and with it JAX; submitit; Ray."""

FILE_CAP, FUNCTION_CAP = 400, 60
RECIPES: tuple[tuple[str, str], ...] = ()
"""Functions that are recipes, read from top to bottom, and may be long."""
WITHOUT_SUBJECT = {"utils", "util", "helpers", "helper", "core", "base", "common", "misc", "manager"}
MACHINE_PATHS = re.compile(
    "|".join(rf"(?<![\w.]){re.escape('/' + top)}/\w" for top in ("home", "Users", "root", "work", "mnt"))
)


@cache
def _committed() -> tuple[Path, ...]:
    """Returns every file that is committed or would be; all but what git ignores."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in listed.split("\0") if name and (path := CHECKOUT / name).is_file())


def _sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (CHECKOUT / room).rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")


needs_git = pytest.mark.skipif(
    not (shutil.which("git") and (CHECKOUT / ".git").exists()),
    reason="not a git checkout: nobody knows what is committed",
)


def test_imports_keep_their_directions() -> None:
    """import-linter finds every contract of pyproject.toml kept."""
    words = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_is_installed() -> None:
    """setuptools installs each folder with Python files that a command imports, and nothing else."""
    listed = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {name.split(".")[0] for name in listed} == set(ROOMS)
    assert sorted(listed) == sorted({_module(path.parent / "__init__.py") for path in _sources()})


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "training"])
def test_importing_a_room_loads_nothing_heavy(room: str) -> None:
    """Importing every module of a room leaves the slow libraries unloaded; those who compose may load Hydra."""
    modules = [name for path in _sources() if (name := _module(path)).split(".")[0] == room]
    composing = [name for name in modules if name in KNOW_HYDRA]
    plain = [name for name in modules if name not in KNOW_HYDRA and name not in NOT_IMPORTED_BY_PEOPLE]
    for group, allowed in ((plain, ()), (composing, ("hydra", "omegaconf"))):
        loaded = _loaded_after_importing(group)
        assert not loaded - set(allowed), f"{room} loads {sorted(loaded - set(allowed))}"


def _loaded_after_importing(modules: list[str]) -> set[str]:
    code = f"import sys; [__import__(name) for name in {modules!r}]; print(*(n for n in {HEAVY!r} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("room", ROOMS)
def test_each_imported_room_is_ours(room: str) -> None:
    """The generic name of a room leads to this checkout, also from another folder and without its path."""
    code = f"import {room}; print({room}.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).resolve().parent == CHECKOUT / room


def test_no_file_is_too_long() -> None:
    """No source file is longer than the cap."""
    lengths = {str(path.relative_to(CHECKOUT)): len(path.read_text().splitlines()) for path in _sources()}
    assert not {name: lines for name, lines in lengths.items() if lines > FILE_CAP}


def test_no_function_is_too_long() -> None:
    """No function is longer than a screen, its docstring left out; a training loop may be."""
    long: list[str] = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = path.relative_to(CHECKOUT).as_posix()
                if _body_lines(node) > FUNCTION_CAP and (name, node.name) not in RECIPES:
                    long.append(f"{name}:{node.lineno} {node.name}: {_body_lines(node)} lines")
    assert not long


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or 0) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        first = node.body[0]
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_no_module_shadows_a_library() -> None:
    """No module bears the name of a standard module or of an installed library: in its own folder it would win."""
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    stems = {path.stem: path for path in _sources() if not path.stem.startswith("__")}
    assert not {str(path) for stem, path in stems.items() if stem in taken - set(ROOMS)}


def test_no_room_shadows_a_standard_module() -> None:
    """No room bears the name of a standard module."""
    assert not set(ROOMS) & set(sys.stdlib_module_names)


def test_every_file_has_a_subject() -> None:
    """No module is named after nothing in particular."""
    assert not [str(path) for path in _sources() if path.stem.lower() in WITHOUT_SUBJECT]


def test_constraints_name_no_place() -> None:
    """constraints.txt pins versions and says nothing of where they come from."""
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    assert lines
    assert not [line for line in lines if not re.fullmatch(r"[a-z0-9][\w.-]*==[\w.!+-]+( ; .*)?", line) or "//" in line]


@needs_git
def test_no_machine_path_is_committed() -> None:
    """No text file names a folder that exists on one machine only."""
    found: list[str] = []
    for path in _committed():
        content = path.read_bytes()
        if b"\0" in content:
            continue  # a picture or a database
        text = content.decode(errors="replace")
        found += [f"{path.relative_to(CHECKOUT)}: {hit.group()}" for hit in MACHINE_PATHS.finditer(text)]
    assert not found


@needs_git
def test_git_ignores_no_source() -> None:
    """No rule of .gitignore reaches into a folder of sources: conf/data is not data/."""
    folders = ("conf", "docs", "benchmarks", "tests", *ROOMS)
    wanted = [
        path
        for folder in folders
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and path.suffix in (".py", ".yaml", ".md", ".csv") and "__pycache__" not in path.parts
    ]
    assert not sorted(str(path.relative_to(CHECKOUT)) for path in set(wanted) - set(_committed()))

"""`make bench NAME=x`: runs benchmarks/x.py; without a name, lists what there is."""

import ast
import difflib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeps.errors import StudyError

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def benchmarks(folder: Path = FOLDER) -> dict[str, str]:
    """Returns the name of every benchmark and the first line of its docstring, without running any."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("[a-z]*.py")):
        text = path.read_text()
        if "__main__" in text:  # the others are parts of benchmarks
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    return found


def run(name: str, options: Sequence[str], folder: Path = FOLDER) -> None:
    """Runs one benchmark in this process, as if its file had been called with the options.

    Raises:
        StudyError: there is no such benchmark.
    """
    known = benchmarks(folder)
    if name not in known:
        near = next(iter([*difflib.get_close_matches(name, known, n=1), *known]), "...")
        raise StudyError(f"no benchmark {name!r}; there are {', '.join(known) or 'none'} (try: make bench NAME={near})")
    path = folder / f"{name}.py"
    sys.argv = [str(path), *options]
    runpy.run_path(str(path), run_name="__main__")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 after a benchmark or the list, 2 for a name that is none."""
    if not argv:
        for name, line in benchmarks().items():
            print(f"  {name:<18} {line}")
        return 0
    try:
        run(argv[0], argv[1:])
    except StudyError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

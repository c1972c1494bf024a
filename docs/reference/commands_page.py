"""The page of commands: targets and words of the Makefile, actions of the launcher, options of the programs."""

import argparse
import importlib
import re
from collections.abc import Iterator
from unittest import mock

from field_docs import CHECKOUT, one_line, table

from launcher.run_benchmark import benchmarks

PROGRAMS = {
    "make fit": ("analysis.fit_scaling", "python analysis/fit_scaling.py"),
    "analysis/fit_transfer.py": ("analysis.fit_transfer", "python analysis/fit_transfer.py"),
    "analysis/compare_families.py": ("analysis.compare_families", "python analysis/compare_families.py"),
    "make ui": ("tracking.ui", "python -m tracking.ui"),
    "make data": ("training.images.fetch", "python -m training.images.fetch"),
    "make compile-tpu": ("training.pod.compile_tpu", "python -m training.pod.compile_tpu"),
}
"""Name -> the module that reads the options, and how it is called without make."""
_TARGET = re.compile(r"^([a-z-]+):.*?## (.+)$", re.MULTILINE)
_WORD = re.compile(r"^## ([A-Z]+) +(.+)$", re.MULTILINE)
_SAID = re.compile(r"\$\(call (?:said,[\w-]+,|positional,)([A-Z]+)\)|\$\(value ([A-Z]+)\)")


class _ParserFoundError(Exception):
    """Carries the parser of a program out of its main function."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def page() -> list[str]:
    """Returns the lines of the page."""
    makefile = (CHECKOUT / "Makefile").read_text()
    lines = [
        "# Commands, word by word",
        "",
        "What [commands](../commands.md) explains, complete.",
        "",
        "## Targets",
        "",
    ]
    words = _words_of_targets(makefile)
    rows = [(f"`make {name}`", one_line(text), _listed(words[name])) for name, text in _TARGET.findall(makefile)]
    lines += table(("target", "what it does", "words it takes"), rows)
    lines += ["", "## Words", ""]
    lines += table(("word", "meaning"), [(f"`{name}`", one_line(text)) for name, text in _WORD.findall(makefile)])
    lines += ["", "## Actions of the launcher", "", "`python -m launcher action=...`; each is a target of make.", ""]
    targets = dict(_TARGET.findall(makefile))
    lines += table(("action", "what it does"), [(f"`{name}`", one_line(targets[name])) for name in _actions(makefile)])
    for name, (module, command) in PROGRAMS.items():
        lines += ["", f"## Options of {name}", "", f"`{command}`; with make they stand in `EXTRA`.", ""]
        lines += table(("option", "default", "meaning"), list(_options(module)))
    lines += ["", "## Benchmarks", "", "`make bench NAME=...`; results are in `benchmarks/results`.", ""]
    return [
        *lines,
        *table(("name", "what it measures"), [(f"`{name}`", one_line(text)) for name, text in benchmarks().items()]),
    ]


def _words_of_targets(makefile: str) -> dict[str, list[str]]:
    """Returns the words that each target's recipe forwards."""
    shared = makefile.partition("STUDY_WORDS = ")[2].partition("\n\n")[0]
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=[a-z$(][\w()-]*:)", makefile):
        name = block.partition(":")[0]
        recipe = block.replace("$(STUDY_WORDS)", shared)
        words = [first or second for first, second in _SAID.findall(recipe)]
        words += ["EXTRA"] if "$(extra)" in recipe else []
        found[name] = list(dict.fromkeys(words))
    return found


def _listed(words: list[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def _actions(makefile: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"action=([a-z]+)", makefile)))


def _parser_of(module: str) -> argparse.ArgumentParser:
    def give_out(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _ParserFoundError(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", give_out), mock.patch("sys.argv", ["program"]):
        try:
            importlib.import_module(module).main()
        except _ParserFoundError as found:
            return found.parser
    raise AssertionError(f"{module}.main reads no options")


def _options(module: str) -> Iterator[tuple[str, str, str]]:
    parser = _parser_of(module)
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        name = (action.option_strings or [action.dest])[-1]
        value = "" if action.nargs == 0 or not action.option_strings else f" {_value(action)}"
        is_said = action.default in (None, False, [], "") or "default" in (action.help or "")
        text = (action.help or "").replace("%(default)s", str(action.default))
        yield f"`{name}{value}`", "" if is_said else f"`{action.default}`", one_line(text)


def _value(action: argparse.Action) -> str:
    if action.choices:
        return ", ".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())

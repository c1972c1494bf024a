"""Hydra's complaints in our words: what was got, what is allowed, what to type next."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from launcher.settings import schema
from sweeps.errors import StudyError

READING_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
"""What reading a command line and conf/ may raise."""

MOST_OPTIONS = 20
"""Of more, those that look like what was typed are named, where any do."""

_UNKNOWN_KEY = re.compile(r"Key '([^']+)' (?:is )?not in '?(\w+)'?")
_FULL_KEY = re.compile(r"full_key: (\S+)")
_NO_FILE = re.compile(r"Could not (?:find|load) '([^']+)'")
_WRONG_NUMBER = re.compile(r"Value '(.*)' of type '\w+' could not be converted to (Integer|Float)")
_NO_GROUP = re.compile(r"Could not override '([^']+)'")


def explain(error: Exception, config_dir: Path) -> StudyError:
    """Returns the StudyError that says what `error`, raised while reading a command line and conf/, means."""
    if isinstance(error, StudyError):
        return error
    text = f"{error}\n{error.__cause__ or ''}"
    if unknown := _UNKNOWN_KEY.search(text):
        full_key = _FULL_KEY.search(text)
        cluster = _named(schema.CLUSTER_CONFIGS, unknown[2])
        family = _named(schema.SHAPE_CONFIGS, unknown[2])
        return unknown_key(full_key[1] if full_key else unknown[1], cluster=cluster, family=family)
    if missing := _NO_FILE.search(text):
        return unknown_option(missing[1], config_dir)
    if group := _NO_GROUP.search(text):
        groups = sorted(path.name for path in config_dir.iterdir() if path.is_dir())
        return StudyError(
            f"group {group[1]} is unknown; groups are {', '.join(groups)}{did_you_mean(group[1], groups)}"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("See https")]
    if "group override must be a string" in text:
        return StudyError(
            "a group cannot be set to null or a number; leave it out, or name one of its files (study=jft)"
        )
    if full_key := _FULL_KEY.search(text):
        if "is not a ListConfig" in text:
            return StudyError(f"{full_key[1]} must be a list (try: {full_key[1]}=[...])")
        if wrong := _WRONG_NUMBER.search(text):
            what, example = ("a whole number", "3") if wrong[2] == "Integer" else ("a number", "0.4")
            return StudyError(f"{full_key[1]}={wrong[1]} cannot be; it has to be {what} (try: {full_key[1]}={example})")
        told = str(error.__cause__ or error).splitlines()[0]
        return StudyError(f"{full_key[1]} cannot be used: {told} (python -m launcher --cfg job shows what is set)")
    return StudyError(f"{'; '.join(lines)} (settings are written key=value; try: python -m launcher --help)")


def _named(configs: Mapping[str, type[Any]], class_name: str) -> str | None:
    return next((name for name, config in configs.items() if config.__name__ == class_name), None)


def did_you_mean(word: str, allowed: Collection[str]) -> str:
    """Returns `; did you mean ...?` where something allowed looks like `word`, else nothing."""
    ends = [option for option in sorted(allowed) if option.endswith(f"/{word}")]
    return _question(ends or difflib.get_close_matches(word, allowed, n=2, cutoff=0.6))


def _question(options: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(options)}?" if options else ""


def unknown_key(path: str, *, cluster: str | None = None, family: str | None = None) -> StudyError:
    """Returns the error for a dotted key that no class of the schema holds; it lists the keys beside it."""
    keys = schema.known_keys(cluster, family)
    parent, _, key = path.rpartition(".")
    beside = [name for name in keys if name.rpartition(".")[0] == parent]
    here = f"allowed here: {', '.join(beside)}" if beside else f"{parent} holds no keys"
    elsewhere = [name for name in keys if name.endswith(f".{key}") and not name.startswith("study.families.")]
    near = _question(elsewhere) or did_you_mean(path, beside)
    return StudyError(f"key {path} is unknown; {here}{near}")


def unknown_option(path: str, config_dir: Path) -> StudyError:
    """Returns the error for a file that conf/ does not hold, `model/scale/f9`; it lists those of its group."""
    group, _, option = path.partition("/")
    files = sorted((config_dir / group).rglob("*.yaml"))
    options = [str(file.relative_to(config_dir / group).with_suffix("")) for file in files]
    if not options:
        return StudyError(f"there is no file {path}.yaml in conf/")
    near = did_you_mean(option, options)
    if near and len(options) > MOST_OPTIONS:  # the whole list would bury it
        return StudyError(f"{group} {option!r} is unknown{near} All {len(options)} are files of conf/{group}/")
    return StudyError(f"{group} {option!r} is unknown; choose {', '.join(options)}{near}")

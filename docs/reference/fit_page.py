"""The page of fit.json: every field, read off the functions that write it."""

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator

from field_docs import field_docs, sentence, table
from field_words import WORDS

from analysis.estimators.best_rate import RateTrend
from analysis.estimators.downstream import Downstream
from analysis.estimators.rate_law import RateLaw
from analysis.report import fit_json, trust_json
from analysis.result import Neighbour, Target
from analysis.tables.judged import Calibration
from analysis.trust.backtest import FactorBin
from analysis.trust.identifiability import Identifiability
from analysis.trust.sensitivity import Variant
from sweeps.prediction import Prediction

SECTIONS: dict[str, tuple[types.ModuleType, str]] = {
    "The object": (fit_json, "to_json"),
    "law": (fit_json, "_law_json"),
    "frontier[], cells[]": (fit_json, "_cell_json"),
    "handovers[]": (fit_json, "_crossing_json"),
    "picks[]": (fit_json, "_pick_json"),
    "best_peak_lr[]": (fit_json, "_rate_json"),
    "allocation[]": (trust_json, "allocation_json"),
    "isoflop": (trust_json, "isoflop_json"),
    "isoflop.line, isoflop.parabola": (trust_json, "_line_json"),
    "trust": (trust_json, "trust_json"),
    "predictions": (fit_json, "_predictions_json"),
    "costs[]": (fit_json, "_costs_json"),
    "set_aside[]": (fit_json, "set_aside_json"),
    "Without a law": (fit_json, "refused_json"),
}
NOUNS: dict[str, type] = {
    "targets[]": Target,
    "picks[].neighbours[]": Neighbour,
    "best_peak_lr_trend": RateTrend,
    "best_peak_lr_law": RateLaw,
    "downstream": Downstream,
    "trust.backtest.by_extrapolation_factor[]": FactorBin,
    "trust.variants[]": Variant,
    "trust.identifiability": Identifiability,
    "predictions.frozen[]": Prediction,
    "predictions.calibration": Calibration,
}
"""What is written as it is, field for field."""


def page() -> list[str]:
    """Returns the lines of the page."""
    lines = [
        "# fit.json, field by field", "",
        "What `python analysis/fit_scaling.py --json` prints and writes; [fitting](../fitting.md) says how to read it.",
        "Losses are in nats, a missing number is `null`, never 0. The file has `draws` besides: parameters of some",
        "resamples.", "",
    ]  # fmt: skip
    missing: list[str] = []
    for title, (module, name) in SECTIONS.items():
        rows = list(_fields(module, name, missing))
        lines += [f"## {title}", "", *table(("field", "meaning"), rows), ""]
    for title, noun in NOUNS.items():
        lines += [f"## {title}", "", *table(("field", "meaning"), list(_fields_of_noun(noun, missing))), ""]
    if missing:
        raise SystemExit(f"docs/reference/fit_page.py does not say what these are: {', '.join(missing)}")
    return lines[:-1]


def _fields(module: types.ModuleType, name: str, missing: list[str]) -> Iterator[tuple[str, str]]:
    function = getattr(module, name)
    nouns = [noun for hint in typing.get_type_hints(function).values() for noun in _nouns(hint)]
    deeper = [deep for noun in nouns for hint in typing.get_type_hints(noun).values() for deep in _nouns(hint)]
    docs = {key: text for noun in (*reversed(deeper), *nouns) for key, text in field_docs(noun).items()}
    done: set[str] = set()
    for key, source in _keys(ast.parse(inspect.getsource(function)).body[0], ""):
        text = WORDS.get(f"{name}.{key}") or docs.get(source or "") or WORDS.get(key.rpartition(".")[2])
        if key in done:
            continue
        done.add(key)
        if not text:
            missing.append(f"{name}.{key} ({source})")
        yield f"`{key}`", sentence(text or "")


def _fields_of_noun(noun: type, missing: list[str]) -> Iterator[tuple[str, str]]:
    docs = field_docs(noun)
    for field in dataclasses.fields(noun):
        text = WORDS.get(f"{noun.__name__}.{field.name}") or docs.get(field.name) or WORDS.get(field.name)
        if not text:
            missing.append(f"{noun.__name__}.{field.name}")
        yield f"`{field.name}`", sentence(text or "")


def _nouns(hint: object) -> Iterator[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for arg in typing.get_args(hint):
        yield from _nouns(arg)


def _keys(node: ast.AST, path: str) -> Iterator[tuple[str, str | None]]:
    """Yields the keys of the literals in a function, nested ones with a dot, each with the attribute it takes."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                attributes = [one.attr for one in ast.walk(value) if isinstance(one, ast.Attribute)]
                yield f"{path}{key.value}", attributes[0] if attributes else None
                yield from _keys(value, f"{path}{key.value}{'[]' if isinstance(value, ast.ListComp) else ''}.")
        return
    for child in ast.iter_child_nodes(node):
        yield from _keys(child, path)

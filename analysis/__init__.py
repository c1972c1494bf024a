"""Fits scaling laws. In a notebook: `from analysis import fit, laws, pick`; each is loaded when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis import laws
    from analysis.face import figures, fit, pick

__all__ = ["figures", "fit", "laws", "pick"]


def __getattr__(name: str) -> object:
    if name == "laws":
        return import_module("analysis.laws")
    if name in __all__:
        return getattr(import_module("analysis.face"), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

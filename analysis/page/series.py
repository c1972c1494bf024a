"""The series of a page: one for each model, with its family, its colour in light and dark, and its mark."""

from collections.abc import Sequence
from dataclasses import dataclass

_HUES = (300.0, 262.0, 205.0, 150.0, 95.0, 55.0, 25.0, 350.0)
"""Of up to eight models, by rising size [degrees of OKLCH]; lightness rises along, so they stay apart in grey."""
_LIGHT, _DARK = (0.34, 0.62), (0.62, 0.86)
"""Lightness of the first and the last colour on white and on black: each has a contrast of 3:1 or more there."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one colour stands for."""

    name: str
    title: str
    family: str
    """The model's family; empty where unknown."""
    colour: str
    """CSS: light-dark(on white, on black)."""


def page_title(name: str) -> str:
    """Returns a model's name as papers write it: f3p is F3+."""
    short = len(name) <= 3 and name[:1].lower() == "f" and name[1:2].isdigit()
    return name.upper().replace("P", "+") if short else name


def colours(count: int) -> list[str]:
    """Returns CSS colours by rising size, each with one form for a light page and one for a dark page."""
    found: list[str] = []
    for i in range(count):
        share = i / max(1, count - 1)
        hue = _hue(share) if count > len(_HUES) else _HUES[i]
        light, dark = (low + share * (high - low) for low, high in (_LIGHT, _DARK))
        found.append(f"light-dark(oklch({light:.3f} 0.14 {hue:.0f}), oklch({dark:.3f} 0.13 {hue:.0f}))")
    return found


def _hue(share: float) -> float:
    """Returns a hue between those of _HUES, going through them once."""
    place = share * (len(_HUES) - 2)
    i = min(int(place), len(_HUES) - 3)
    return _HUES[i] + (place - i) * (_HUES[i + 1] - _HUES[i])


def series_of(models: Sequence[str], titles: Sequence[str], families: Sequence[str]) -> tuple[Series, ...]:
    """Returns a series for each model, in the order given: by rising size."""
    rows = zip(models, titles, families, colours(len(models)), strict=True)
    return tuple(Series(name=m, title=t, family=f, colour=c) for m, t, f, c in rows)

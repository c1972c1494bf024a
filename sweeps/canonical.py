"""Nouns to canonical JSON and back, so that an identity never depends on key order or on 2 versus 2.0."""

import dataclasses
import enum
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

SILENT_AT_DEFAULT: Mapping[str, Any] = types.MappingProxyType({"silent_at_default": True})
"""Metadata of a field that is not written at its default: identities older than the field stay what they were."""


def to_jsonable(noun: Any) -> Any:
    """Returns `noun` (a frozen dataclass, tuple or scalar) as JSON-ready data; a float stays a float."""
    if dataclasses.is_dataclass(noun) and not isinstance(noun, type):
        return {
            field.name: to_jsonable(getattr(noun, field.name))
            for field in dataclasses.fields(noun)
            if not ("silent_at_default" in field.metadata and getattr(noun, field.name) == field.default)
        }
    if isinstance(noun, (tuple, list)):
        return [to_jsonable(item) for item in noun]  # pyright: ignore[reportUnknownVariableType]
    if noun is None or isinstance(noun, (str, bool, int, float)):
        return noun
    raise TypeError(f"{type(noun).__name__} has no canonical JSON form")


def canonical_json(noun: Any) -> str:
    """Returns the one JSON text of `noun`: sorted keys, no spaces, NaN refused."""
    return json.dumps(to_jsonable(noun), sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(noun: Any, *, digits: int = 16) -> str:
    """Returns the first `digits` hexadecimal digits of the SHA-256 of the canonical JSON of `noun`."""
    return hashlib.sha256(canonical_json(noun).encode()).hexdigest()[:digits]


def from_jsonable(cls: type[T], data: Mapping[str, Any]) -> T:
    """Returns the noun `cls` that `to_jsonable` wrote as `data`.

    Raises:
        ValueError: `data` holds a key that `cls` does not know, or lacks one without a default.
    """
    hints = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    try:
        return cls(**{name: revive(hints[name], value) for name, value in data.items()})
    except TypeError as error:
        raise ValueError(f"incomplete {cls.__name__}: {error}") from error


def revive(hint: Any, value: Any) -> Any:
    """Returns what `to_jsonable` wrote as `value`, where it was a `hint`: a noun, one of several, a tuple or a scalar.

    Raises:
        ValueError: as from_jsonable; or the keys of `value` are not those of exactly one of several nouns.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (types.UnionType, typing.Union):
        kinds = [arg for arg in args if arg is not type(None)]
        return revive(kinds[0] if len(kinds) == 1 else _noun_of(kinds, value), value)
    if origin is tuple:
        return tuple(revive(args[0], item) for item in value)
    if dataclasses.is_dataclass(hint):
        return from_jsonable(typing.cast(type[Any], hint), value)
    if hint is float:
        return float(value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    return value


def _noun_of(nouns: Sequence[type[Any]], data: Any) -> type[Any]:
    """Returns the one noun that knows every key of `data` and lacks none; all else would be a guess."""
    keys = list(typing.cast("Mapping[str, Any]", data)) if isinstance(data, Mapping) else [str(data)]
    fitting = [noun for noun in nouns if _required(noun) <= set(keys) <= set(_field_names(noun))]
    if len(fitting) == 1:
        return fitting[0]
    have = "; ".join(f"{noun.__name__} has {', '.join(_field_names(noun))}" for noun in nouns)
    raise ValueError(f"the fields {', '.join(keys)} are those of {'several' if fitting else 'none'} of these: {have}")


def _required(noun: type[Any]) -> set[str]:
    missing = dataclasses.MISSING
    return {f.name for f in dataclasses.fields(noun) if f.default is missing and f.default_factory is missing}


def _field_names(noun: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(noun)]

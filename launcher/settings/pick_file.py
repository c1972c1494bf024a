"""The picks of a fit, as analysis writes them into pick.yaml, back on their way into a study."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from sweeps.errors import StudyError
from sweeps.study import Pick, Study

_NUMBERS = ("budget_core_hours", "epochs", "peak_lr", "predicted_loss", "low", "high", "extrapolation_factor")
_KEYS = ("model", "batch_images", *_NUMBERS)
_REQUIRED = ("budget_core_hours", "model", "epochs")
_HOW_TO_WRITE = "make fit STUDY=scale_model BUDGETS=10k writes reports/scale_model/pick.yaml"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What to train for one budget; the rest of a file's entry is for people."""

    model: str
    epochs: float
    batch_images: int | None
    """Absent: those of the study."""
    peak_lr: float | None
    """Absent: those of the study."""


@dataclass(frozen=True, kw_only=True)
class PickFile:
    """A pick file, checked as far as that goes without its study."""

    path: str
    """As it was typed."""
    study: str
    """The name of the study whose runs were fitted."""
    entries: tuple[Entry, ...]


def read_pick_file(path: str) -> PickFile:
    """Returns what a pick file says; a relative path counts from the folder the command was typed in.

    Raises:
        StudyError: it is not there, is not of the form that `make fit` writes, or leaves nothing to train.
    """
    content = _load(path)
    _check_keys(path, content, ("study", "picks"), required=("study", "picks"))
    study, picks = content["study"], content["picks"]
    if study is None:
        raise StudyError(
            f"{path} cannot be run: this pick was made from a table, it names no study that can be run "
            f"({_HOW_TO_WRITE}, which can)"
        )
    if not isinstance(study, str):
        raise _wrong(path, "study", study, "the name of a study, such as scale_model")
    if not isinstance(picks, list):
        raise _wrong(path, "picks", picks, "a list of picks")
    if not picks:
        raise StudyError(f"nothing to train: every pick was refused in {path} (make fit STUDY={study} says why)")
    entries = (_entry(f"{path}, pick {number}", pick) for number, pick in enumerate(cast(list[Any], picks), start=1))
    return PickFile(path=path, study=study, entries=tuple(entries))


def picked(study: Study, file: PickFile) -> Study:
    """Returns the study with the picks of a file in place of its grid, each once.

    Raises:
        StudyError: the picks are of another study, or of a model that this one does not have.
    """
    if file.study != study.name:
        raise StudyError(
            f"{file.path} holds picks of study {file.study}, not of {study.name} "
            f"(try: make sweep PICK={file.path}, without STUDY)"
        )
    names = [model.name for model in study.models]
    for entry in file.entries:
        if entry.model not in names:
            raise StudyError(
                f"{file.path} picks model {entry.model!r}, which study {study.name} does not have; "
                f"its models are {', '.join(names)}"
            )
    picks = tuple(dict.fromkeys(pick for entry in file.entries for pick in _points(entry, study)))
    chosen = {pick.model for pick in picks}
    return dataclasses.replace(
        study,
        title=f"{study.title} (picks only)",
        models=tuple(model for model in study.models if model.name in chosen),
        picks=picks,
    )


def _points(entry: Entry, study: Study) -> list[Pick]:
    batches = study.batch_images if entry.batch_images is None else (entry.batch_images,)
    model = next(model for model in study.models if model.name == entry.model)
    rates = study.peak_lrs_of(model) if entry.peak_lr is None else (entry.peak_lr,)
    return [
        Pick(model=entry.model, epochs=entry.epochs, batch_images=batch_images, peak_lr=peak_lr)
        for batch_images in batches
        for peak_lr in rates
    ]


def _load(path: str) -> Any:
    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, RuntimeError) as error:  # RuntimeError: ~somebody who does not exist
        reason = error.strerror if isinstance(error, OSError) else error
        raise StudyError(f"pick file {path!r} cannot be read: {reason} ({_HOW_TO_WRITE})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"pick file {path!r} is no YAML: {' '.join(str(error).split())} ({_HOW_TO_WRITE})") from error


def _entry(where: str, pick: Any) -> Entry:
    _check_keys(where, pick, _KEYS, required=_REQUIRED)
    numbers = {key: _number(where, key, pick.get(key)) for key in _NUMBERS}
    model: Any = pick["model"]
    batch_images: Any = pick.get("batch_images")
    if not isinstance(model, str):
        raise _wrong(where, "model", model, "the name of a model, such as f1")
    if batch_images is not None and (type(batch_images) is not int or batch_images < 1):
        raise _wrong(where, "batch_images", batch_images, "a whole number above zero")
    return Entry(
        model=model,
        epochs=cast(float, numbers["epochs"]),
        batch_images=batch_images,
        peak_lr=numbers["peak_lr"],
    )


def _check_keys(where: str, content: Any, allowed: tuple[str, ...], *, required: tuple[str, ...]) -> None:
    """Raises StudyError for a key that nobody knows, and for one without which nothing can be run."""
    if not isinstance(content, dict):
        raise StudyError(f"{where}: got {content!r}; keys {', '.join(allowed)} are expected ({_HOW_TO_WRITE})")
    keys = [str(key) for key in cast(dict[Any, Any], content)]
    unknown = [key for key in keys if key not in allowed]
    if unknown:
        raise StudyError(f"{where}: key {unknown[0]} is unknown; allowed here: {', '.join(allowed)}")
    missing = [key for key in required if key not in keys]
    if missing:
        raise StudyError(f"{where}: {', '.join(missing)} missing; needed here: {', '.join(required)}")


def _number(where: str, key: str, value: Any) -> float | None:
    if value is None and key not in _REQUIRED:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _wrong(where, key, value, "a number above zero, such as 0.2 or 2.0e-1")
    return float(value)


def _wrong(where: str, key: str, got: Any, allowed: str) -> StudyError:
    return StudyError(f"{where}: {key} is {got!r}; it must be {allowed} ({_HOW_TO_WRITE})")

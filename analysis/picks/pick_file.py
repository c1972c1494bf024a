"""pick.yaml: the picks as `make sweep PICK=...` reads them."""

from pathlib import Path

from analysis.result import Pick, ScalingFit

_FIELDS = ("model", "epochs", "peak_lr", "batch_images", "predicted_loss", "low", "high", "extrapolation_factor")


def write_picks(result: ScalingFit, path: Path) -> Path:
    """Returns the path of the file written; picks that were refused are not in it."""
    study = result.points.study
    lines = [
        f"# Compute-optimal picks of {'study ' + study if study else 'a table'}."
        + (f" Train them: make sweep PICK={'/'.join(path.parts[-3:])}" if study else ""),
        f"study: {_scalar(study)}",
    ]
    made = [pick for pick in result.picks if pick.refused is None and pick.core_hours and pick.model and pick.epochs]
    lines.append("picks:" if made else "picks: []")
    for pick in made:
        lines += _entry(pick)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _entry(pick: Pick) -> list[str]:
    fields = [f"  {name}: {_scalar(getattr(pick, name))}" for name in _FIELDS]
    return [f"- budget_core_hours: {_scalar(pick.core_hours)}", *fields]


def _scalar(value: object) -> str:
    """Returns YAML of a name or number; a float always has a point, for 1e-05 is text to YAML 1.1."""
    if value is None:
        return "null"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"

"""What the columns of somebody else's table mean: said with --columns, or told from their names."""

import difflib
import functools
import re
from collections.abc import Mapping, Sequence

from sweeps.errors import StudyError

KINDS = (
    "loss",
    "params",
    "tokens",
    "flops",
    "core_hours",
    "epochs",
    "peak_lr",
    "group",
    "selection_loss",
    "batch_images",
    "seed",
    "unique_tokens",
    "error",
    "loss_sd",
    "isoflop",
)
"""What a column can mean."""
COUNTS = ("params", "tokens", "unique_tokens", "flops", "core_hours", "batch_images", "isoflop")
"""Kinds whose numbers people write with a suffix: 70M, 1.4T."""

_MAGNITUDES = {
    **dict.fromkeys(("k", "thousand", "thousands"), 1e3),
    **dict.fromkeys(("m", "mil", "million", "millions"), 1e6),
    **dict.fromkeys(("b", "g", "bn", "billion", "billions"), 1e9),
    **dict.fromkeys(("t", "trillion", "trillions"), 1e12),
}
_PREFIXES = {"g": 1e9, "giga": 1e9, "t": 1e12, "tera": 1e12, "p": 1e15, "peta": 1e15, "e": 1e18, "exa": 1e18,
             "z": 1e21, "zetta": 1e21, "y": 1e24, "yotta": 1e24}  # fmt: skip
_FLOP_UNITS = {
    **dict.fromkeys(("flop", "flops"), 1.0),
    **{f"{prefix}{unit}": size for prefix, size in _PREFIXES.items() for unit in ("flop", "flops")},
    # A day of so many operations a second, as arXiv:2001.08361 counts.
    **{
        f"{prefix}{unit}{day}": size * 86_400.0
        for prefix, size in _PREFIXES.items()
        for unit in ("f", "flop", "flops")
        for day in ("day", "days")
    },
}
_UNIT = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_POWER_OF_TEN = re.compile(r"[(\[][x×* ]*(?:1e|10\^|10\*\*)\+?(\d{1,2})\b[^)\]]*[)\]]")

_TRAINED = ("", "train", "training", "total", "n", "num", "number of")
_NAMES: dict[str, tuple[str, ...]] = {
    "loss": (
        "val loss|valid loss|validation loss|eval loss|evaluation loss|test loss|held out loss|final loss"
        "|final val loss|final validation loss|final eval loss|final test loss|loss val|loss final",
    ),
    "params": (
        "parameters|param count|parameter count|model size|n params|num params|n parameters|num parameters"
        "|number of parameters|non embedding params|non embedding parameters|params non embedding|total params"
        "|total parameters|model params|model parameters|active params",
        "n",
    ),
    "tokens": (
        "|".join(f"{word} tokens" for word in _TRAINED[1:])
        + "|tokens seen|tokens trained|train tokens seen|training tokens seen|token count|images|training images"
        "|images seen|examples seen|samples seen|training examples",
        "d|data|dataset size",
    ),
    "flops": (
        "|".join(f"{word} {flop}" for word in _TRAINED for flop in ("flop", "flops") if word)
        + "|flop|compute flops|compute flop|flops total|training compute|train compute|total compute",
        "compute",
        "c",
    ),
    "core_hours": (
        "core h|core hrs|tpu hours|tpu core hours|tpuv4 core hours|tpu v4 core hours|chip hours|device hours"
        "|accelerator hours|compute core hours|compute tpu hours",
        "gpu hours|gpuh|gpu h|compute gpu hours|a100 hours|h100 hours",
    ),
    "epochs": ("epoch|n epochs|num epochs|number of epochs|train epochs|training epochs",),
    "peak_lr": ("lr|learning rate|peak learning rate|max lr|max learning rate|base lr|initial lr",),
    "group": ("model", "name|model name|family|model family|run name"),
    "selection_loss": (),
    "batch_images": ("batch|batch size|bs|global batch size|train batch size|training batch size",),
    "seed": ("random seed|rng seed",),
    "unique_tokens": ("distinct tokens|unique training tokens|n unique tokens|num unique tokens|unique data",),
    "error": ("downstream error|top1 error|top 1 error|test error|val error|validation error|error rate",),
    "loss_sd": ("loss std|loss stdev|std loss|sd loss|val loss std|val loss sd|loss standard deviation",),
    "isoflop": ("isoflop budget|flop budget|flops budget|budget flops|compute budget|nominal flops",),
}
"""Other names of each kind, the plainer before those that are taken only where nothing else is there."""


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Returns {kind: column} from words such as `loss=val_loss`.

    Raises:
        StudyError: an unknown kind, a kind given twice, or no loss.
    """
    columns: dict[str, str] = {}
    for word in words:
        kind, found, column = (part.strip() for part in word.partition("="))
        if not found or not column or kind not in KINDS:
            close = difflib.get_close_matches(kind.lower(), KINDS, n=1) if found and kind not in KINDS else ()
            raise StudyError(
                f"--columns word {shown(word)} not understood; write KIND=COLUMN with KIND one of {', '.join(KINDS)} "
                + (f"(did you mean {close[0]}?)" if close else "(try: --columns loss=loss flops=flops group=model)")
            )
        if kind in columns:
            raise StudyError(
                f"--columns gives {kind} twice, as {shown(columns[kind])} and {shown(column)}; a kind has one column "
                f"(try: --columns {kind}={column})"
            )
        columns[kind] = column
    if "loss" not in columns:
        raise StudyError("--columns names no loss; add loss=COLUMN (and core_hours=COLUMN or flops=COLUMN)")
    return columns


def columns_named(names: Sequence[str], *, source: str) -> dict[str, str]:
    """Returns {kind: column} of the columns whose names say what they are.

    The exact name of a kind wins over any other; capitals, spaces, signs and units in brackets do not matter.

    Args:
        names: of all columns.
        source: where they were read, for people.

    Raises:
        StudyError: two columns could as well be the same kind, or none is a loss.
    """
    ranked: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        for kind in KINDS:
            rank = _rank(name, kind)
            if rank is not None:
                ranked.setdefault(kind, []).append((rank, name))
    columns: dict[str, str] = {}
    for kind in KINDS:
        found = sorted(ranked.get(kind, ()), key=lambda item: item[0])
        if len(found) > 1 and found[0][0] == found[1][0]:
            raise StudyError(
                f"{source} has two columns that could be {kind}: {shown(found[0][1])} and {shown(found[1][1])}; "
                f"say which, and what the other columns are (try: --columns {kind}={found[0][1]} KIND=COLUMN ...)"
            )
        if found:
            columns[kind] = found[0][1]
    if "loss" not in columns:
        raise StudyError(
            f"{source} has no column called loss; it has {listed(names)} "
            "(try: --columns loss=COLUMN core_hours=COLUMN group=COLUMN)"
        )
    return columns


def magnitude(kind: str, column: str) -> float:
    """Returns what one of a column's numbers stands for: 1e6 for `params (M)`, 1 for most.

    A trailing word counts only behind the name of the kind: `params_m`, but not `flag_m`.
    """
    if kind not in COUNTS:
        return 1.0
    words = _words(column)
    if kind == "core_hours" and {"day", "days"} & {*words}:
        return 24.0
    if _normal(words) in _normal_names(kind):
        return 1.0
    power = _POWER_OF_TEN.search(column)
    if power:
        return 10.0 ** int(power.group(1))
    units = _units(column)
    if len(words) > 1 and _normal(words[:-1]) in _normal_names(kind):
        units.append(words[-1])
    known = {**_MAGNITUDES, **_FLOP_UNITS} if kind in ("flops", "isoflop") else _MAGNITUDES
    return next((known[unit] for unit in units if unit in known), 1.0)


def check_columns(names: Sequence[str], wanted: Mapping[str, str] | Sequence[str], *, source: str) -> None:
    """Raises StudyError for the first wanted column that is not among `names`, with those that are."""
    for column in wanted.values() if isinstance(wanted, Mapping) else wanted:
        if column not in names:
            close = difflib.get_close_matches(column, names, n=1, cutoff=0.5)
            closest = f" (did you mean {shown(close[0])}?)" if close else ""
            raise StudyError(f"{source} has no column {shown(column)}; it has {listed(names)}{closest}")


def shown(text: str) -> str:
    """Returns a piece of somebody else's text as an error message can hold it."""
    return repr(text if len(text) <= 60 else f"{text[:59]}\N{HORIZONTAL ELLIPSIS}")


def listed(texts: Sequence[str], most: int = 30) -> str:
    """Returns at most so many of `texts` in one line, and how many more there are."""
    parts = [text if text.isprintable() and len(text) <= 60 else shown(text) for text in texts[:most]]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return (", ".join(parts) or "none") + more


def _rank(name: str, kind: str) -> int | None:
    """Returns how well a column's name says the kind, 0 best; None where it does not."""
    if name == kind:
        return 0
    words, units = _words(name), _units(name)
    forms = [_normal(words)]
    # Compute in days or dollars is no number of FLOPs, and the logarithm of a thing is not the thing.
    is_foreign = kind in ("flops", "isoflop") and not all(_is_flop_unit(unit) for unit in units)
    if units and not is_foreign and not any(unit.startswith(("log", "ln")) for unit in units):
        forms.append(_normal(_words(_UNIT.sub(" ", name))))
    if kind in COUNTS and len(words) > 1 and words[-1] in _MAGNITUDES:
        forms.append(_normal(words[:-1]))
    ranks = _normal_names(kind)
    return min((ranks[form] for form in forms if form in ranks), default=None)


def _units(name: str) -> list[str]:
    """Returns what stands in brackets in a column's name."""
    return [_normal(_words(unit[1:-1])) for unit in _UNIT.findall(name)]


def _is_flop_unit(unit: str) -> bool:
    return unit in _FLOP_UNITS or unit in _MAGNITUDES or unit[:2] in ("1e", "10")


@functools.cache
def _normal_names(kind: str) -> dict[str, int]:
    """Returns every name of a kind, as `_normal` has it, with its rank."""
    ranks = {kind.replace("_", ""): 1}
    for rank, names in enumerate(_NAMES[kind], start=2):
        for name in names.split("|"):
            ranks.setdefault(name.replace(" ", ""), rank)
    return ranks


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.casefold())


def _normal(words: Sequence[str]) -> str:
    return "".join(words)

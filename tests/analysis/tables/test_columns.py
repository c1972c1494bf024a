import re

import pytest

from analysis.tables.columns import check_columns, columns_named, magnitude, parse_columns
from sweeps.errors import StudyError


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["Validation Loss", "N", "D"], {"loss": "Validation Loss", "params": "N", "tokens": "D"}),
        (["val_loss", "Model Size", "Training FLOP"],
         {"loss": "val_loss", "params": "Model Size", "flops": "Training FLOP"}),
        (["held-out loss (nats)", "TPU-hours"], {"loss": "held-out loss (nats)", "core_hours": "TPU-hours"}),
        (["loss", "val_loss", "train_loss"], {"loss": "loss"}),
        (["Loss", "val_loss"], {"loss": "Loss"}),
        (["loss", "LOSS"], {"loss": "loss"}),
        (["loss", "gpu_hours"], {"loss": "loss", "core_hours": "gpu_hours"}),
        (["loss", "gpu_hours", "tpu_hours"], {"loss": "loss", "core_hours": "tpu_hours"}),
        (["loss", "compute (core-hours)"], {"loss": "loss", "core_hours": "compute (core-hours)"}),
        (["loss", "compute (days)", "log params"], {"loss": "loss"}),
        (["loss", "params (log10)"], {"loss": "loss"}),
        (["loss", "n", "num_params"], {"loss": "loss", "params": "num_params"}),
        (["loss", "name", "model"], {"loss": "loss", "group": "model"}),
        (["loss", "learning_rate", "bs", "seed", "top1_error", "distinct tokens"],
         {"loss": "loss", "peak_lr": "learning_rate", "batch_images": "bs", "seed": "seed", "error": "top1_error",
          "unique_tokens": "distinct tokens"}),
        (["loss", "loss_std", "flop_budget", "C", "Epoch"],
         {"loss": "loss", "loss_sd": "loss_std", "isoflop": "flop_budget", "flops": "C", "epochs": "Epoch"}),
    ],
)  # fmt: skip
def test_usual_names_are_understood(names: list[str], columns: dict[str, str]) -> None:
    """Capitals, spaces, signs and units do not matter; the plainer of two names wins."""
    assert columns_named(names, source="a.csv") == columns


@pytest.mark.parametrize("names", [["val_loss", "test_loss"], ["loss", "total_params", "non_embedding_params"]])
def test_two_names_as_good_are_not_chosen_from(names: list[str]) -> None:
    """The error names both and asks which."""
    first, second = names[-2:]
    with pytest.raises(StudyError, match=f"a.csv has two columns .*'{first}' and '{second}'.*--columns"):
        columns_named(names, source="a.csv")


@pytest.mark.parametrize(
    ("kind", "column", "factor"),
    [("params", "params (M)", 1e6), ("tokens", "Tokens [billions]", 1e9), ("params", "n_params_m", 1e6),
     ("params", "flag_m", 1), ("loss", "loss (M)", 1), ("flops", "FLOPs (1e18)", 1e18), ("flops", "C (ZFLOPs)", 1e21),
     ("flops", "FLOPs", 1), ("tokens", "tokens (train)", 1), ("params", "M", 1), ("params", "n", 1)],
)  # fmt: skip
def test_a_name_may_say_what_its_numbers_stand_for(kind: str, column: str, factor: float) -> None:
    """In brackets, or behind the name of the kind."""
    assert magnitude(kind, column) == factor


def test_a_map_takes_any_name() -> None:
    """Spaces, signs and other alphabets; the first = parts kind and column."""
    words = ["loss=val=loss, final", "params=Größe (M)", "group= 模型 "]
    assert parse_columns(words) == {"loss": "val=loss, final", "params": "Größe (M)", "group": "模型"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss"], "KIND=COLUMN"),
        (["loss="], "KIND=COLUMN"),
        (["colour=red", "loss=final"], "loss, params, tokens"),
        (["token=D", "loss=final"], "did you mean tokens?"),
        (["loss=a", "loss=b"], "gives loss twice, as 'a' and 'b'"),
        (["core_hours=hours"], "names no loss"),
    ],
)
def test_a_map_that_is_not_understood_says_what_is(words: list[str], message: str) -> None:
    """An unknown kind lists the known ones; a map without a loss says so."""
    with pytest.raises(StudyError, match=re.escape(message)):
        parse_columns(words)


def test_a_column_that_is_not_there_is_one_line_of_what_is() -> None:
    """At most thirty names, none of them long, and the closest."""
    names = ["valid_loss", "\x1b[31mred", "x" * 500, *(f"c{i}" for i in range(50))]
    with pytest.raises(StudyError, match=r"did you mean 'valid_loss'\?") as raised:
        check_columns(names, ["valid_los"], source="a.csv")
    text = str(raised.value)
    assert "and 23 more" in text
    assert text.isprintable()
    assert len(text) < 500

from dataclasses import replace

import numpy as np
import pytest

from analysis.compare.axes import AXES
from analysis.compare.findings import Band, Duel, Meeting, OnAxis
from analysis.compare.verdict import disagreement_of, duel_sentence, sentence_of
from analysis.result import Estimate

NOTHING = Band(amount=np.zeros(0), value=np.zeros(0), low=np.zeros(0), high=np.zeros(0))


def duel(multiplier=None, gap=(0.0, -0.01, 0.01), meeting=None, a="nfnet", b="vit", axis="core_hours") -> Duel:
    """Returns a pair with these means, from 1k to 10k."""

    def of(three):
        return Estimate(value=three[0], low=three[1], high=three[2])

    return Duel(
        a=a,
        b=b,
        axis=AXES[axis],
        span=(1000.0, 10_000.0),
        mean_gap=of(gap),
        gap_trend=of((0.0, -1.0, 1.0)),
        gap=NOTHING,
        mean_multiplier=multiplier and of(multiplier),
        multiplier_trend=None,
        multiplier=None,
        meeting=meeting,
    )


def crossing(*, is_sure: bool) -> Meeting:
    """Returns a crossing at 2.3k."""
    return Meeting(
        amount=2300.0, low=1800.0, high=3100.0, share=0.97, ahead_below="nfnet", ahead_above="vit", is_sure=is_sure
    )


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            duel((1.04, 0.91, 1.19)),
            "nfnet and vit are indistinguishable between 1k and 10k core-hours: multiplier 1.04 (0.91 to 1.19)",
        ),
        (
            duel((1.6, 1.4, 1.9)),
            "vit needs 1.6 (1.4 to 1.9) times the compute of nfnet between 1k and 10k core-hours",
        ),
        (
            duel((0.5, 0.4, 0.8)),
            "nfnet needs 2 (1.25 to 2.5) times the compute of vit between 1k and 10k core-hours",
        ),
        (
            duel((1.3, 1.1, 1.5), meeting=crossing(is_sure=True)),
            "nfnet is ahead below 2.3k (1.8k to 3.1k) core-hours, vit above",
        ),
        (
            duel((1.04, 0.91, 1.19), meeting=crossing(is_sure=False)),
            "nfnet and vit are indistinguishable between 1k and 10k core-hours: multiplier 1.04 (0.91 to 1.19)",
        ),
        (
            duel((1.6, 1.4, 1.9), meeting=crossing(is_sure=False)),
            "vit needs 1.6 (1.4 to 1.9) times the compute of nfnet between 1k and 10k core-hours",
        ),
        (
            duel(gap=(0.05, 0.03, 0.07), axis="params"),
            "vit's loss is 5.1 % (3 to 7.3) above nfnet's between 1k and 10k parameters",
        ),
        (
            duel(gap=(-0.05, -0.07, -0.03), axis="macs"),
            "nfnet's loss is 5.1 % (3 to 7.3) above vit's between 1k and 10k MACs an image",
        ),
        (
            duel(axis="params"),
            "nfnet and vit are indistinguishable between 1k and 10k parameters: "
            "loss of vit +0 % (-1 to +1) against nfnet's",
        ),
        (
            duel(gap=(0.5, 0.4, 0.6)),
            "vit's loss is 65 % (49 to 82) above nfnet's between 1k and 10k core-hours, "
            "and they reach no loss in common",
        ),
    ],
)
def test_every_outcome_has_its_sentence(found, sentence):
    """Draw, either ahead, crossing sure or not, by size, and without a loss in common."""
    assert duel_sentence(found) == sentence


def test_of_several_families_each_is_held_against_the_leader():
    """Pairs without the leader are in the tables, not in the verdict."""
    duels = [
        duel((1.6, 1.4, 1.9), a="hybrid", b="nfnet"),
        duel((2.1, 1.8, 2.4), a="hybrid", b="vit"),
        duel((1.3, 1.1, 1.5), a="nfnet", b="vit"),
    ]

    assert sentence_of(duels).startswith("hybrid leads on average: nfnet needs 1.6")
    assert "vit needs 2.1" in sentence_of(duels)
    assert "of nfnet" not in sentence_of(duels)


def on(axis: str, *duels: Duel) -> OnAxis:
    """Returns what an axis says of these pairs."""
    same = tuple(replace(one, axis=AXES[axis]) for one in duels)
    return OnAxis(axis=AXES[axis], bests=(), laws=(), duels=same, verdict="", refused=None)


def test_axes_that_agree_are_said_to():
    """With the list of them."""
    ahead = duel((1.6, 1.4, 1.9), gap=(0.05, 0.03, 0.07))
    said = disagreement_of(on("core_hours", ahead), [on("params", replace(ahead, mean_multiplier=None))])

    assert said == "The answer is the same at equal core-hours of the reference hardware, parameters."


def test_axes_that_differ_are_named_with_their_answers():
    """Axes with the same answer share a clause."""
    said = disagreement_of(
        on("core_hours", duel((1.6, 1.4, 1.9))),
        [on("billed", duel((0.6, 0.5, 0.7))), on("params", duel()), on("macs", duel())],
    )

    assert said == (
        "The answer depends on what is held equal: nfnet against vit: at equal core-hours of the reference hardware "
        "nfnet is ahead; at equal measured core-seconds vit is ahead; at equal parameters and inference MACs neither "
        "is ahead."
    )

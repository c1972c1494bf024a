"""Predictions of single runs, with the digest of the runs they rest on."""

import math
from collections.abc import Iterable

import numpy as np

from analysis.solver.quantiles import LEVEL
from strategy.belief import DRAW_SEED, DRAWS, Belief
from strategy.evidence import Evidence
from strategy.field import Field
from sweeps.canonical import short_hash
from sweeps.prediction import Prediction


def predict(belief: Belief, places: Iterable[tuple[int, int]], *, made_by: str) -> tuple[Prediction, ...]:
    """Returns what is expected of one run at each (cell, rate), noise included, where nothing was trained yet."""
    field, evidence = belief.field, belief.evidence
    done = {(cell, rate) for cell, rate, _ in evidence.runs.tolist()}
    wanted = [place for place in dict.fromkeys(places) if place not in done]
    if not wanted:
        return ()
    rng = np.random.default_rng(DRAW_SEED)
    draws = belief.samples(DRAWS, rng)
    digest = digest_of(field, evidence)
    dearest = float(field.core_hours[evidence.cell].max())
    found: list[Prediction] = []
    for cell, rate in wanted:
        run = draws[:, cell, rate] + belief.noise.sd[cell] * rng.standard_normal(DRAWS)
        low, middle, high = np.quantile(run, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
        trial = field.trial(cell, rate, field.study.seeds[0])
        found.append(
            Prediction(
                model=trial.model,
                epochs=trial.epochs,
                batch_images=trial.batch_images,
                peak_lr=trial.peak_lr,
                cohort=trial.cohort,
                predicted_loss=math.exp(middle),
                low=math.exp(low),
                high=math.exp(high),
                level=LEVEL,
                made_by=made_by,
                runs=len(evidence),
                dearest_core_hours=dearest,
                core_hours=float(field.core_hours[cell]),
                data_digest=digest,
            )
        )
    return tuple(found)


def digest_of(field: Field, evidence: Evidence) -> str:
    """Returns the hash of what the runs of a field say: the same runs give the same digest."""
    columns = (evidence.cell, evidence.rate, evidence.seed, evidence.log_loss)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    cohort = field.trial(0, 0, 0).cohort
    return short_hash((cohort, *((field.name(cell), field.peak_lrs(cell)[rate], *rest) for cell, rate, *rest in rows)))

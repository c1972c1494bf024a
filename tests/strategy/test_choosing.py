import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.choosing import Inquiry
from strategy.evidence import Evidence
from strategy.spec import BY_ROUNDS
from sweeps.errors import StudyError
from sweeps.record import Status
from sweeps.study import Pick
from tests.strategy.worlds import begun, field_of, follow, inquiry_of, record_of, runs, study_of, train, true_log_loss

STRATEGY = st.sampled_from(BY_ROUNDS)
OPENING_RUNS = 4


@settings(max_examples=16)
@given(
    name=STRATEGY,
    budget=st.sampled_from([1_000.0, 3_000.0, 5_000.0]),
    cap=st.sampled_from([500.0, 5_000.0, 40_000.0, np.inf]),
    stable=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 10**6),
)
def test_what_a_round_may_hold(name, budget, cap, stable, seed):
    """Trials of the field, trainable, each once, none settled, none where one diverged, within what is left."""
    inquiry = inquiry_of(name, budget)
    field = inquiry.field
    order = random.Random(seed)

    def check(found, records):
        ids = [trial.id for trial in found.trials]
        assert len(set(ids)) == len(ids)
        assert not set(ids) & {record.trial.id for record in records if record.is_settled}
        places = [field.find(trial) for trial in found.trials]
        assert all(place is not None and field.is_trainable[place[0]] for place in places)
        assert not set(places) & Evidence.read(field, records).diverged
        spent = sum(record.cost.core_hours for record in records)
        assert spent + sum(field.core_hours[cell] for cell, _ in places) <= cap * (1 + 1e-9)
        shuffled = list(records)
        order.shuffle(shuffled)
        again = inquiry.next_round(shuffled, left_core_hours=cap - spent)
        assert (again.trials, again.lines, again.predictions) == (found.trials, found.lines, found.predictions)

    octave = float(field.octaves[0, stable]) if stable < 5 else np.inf
    truth = true_log_loss(field)
    records, rounds = follow(inquiry, truth, cap=cap, on_round=check, noise_sd=0.003, seed=seed, stable_octave=octave)
    assert inquiry.next_round(records, left_core_hours=0.0).is_over
    if name != "two_trial":
        share = 0.25 if name == "informed" else 0.1
        spent = sum(record.cost.core_hours for record in records)
        opened = OPENING_RUNS * float(field.core_hours[0])
        assert spent <= max(opened, share * field.grid_core_hours)
    assert rounds[-1].lines


@pytest.mark.parametrize("name", BY_ROUNDS)
@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_driver_that_died_ends_what_was_begun(name, done):
    """Killed in the middle of any round, it asks again and gets the begun trials, and those alone."""
    inquiry = inquiry_of(name, 3_000.0)
    field, truth = inquiry.field, true_log_loss(inquiry.field)
    turns = []
    follow(inquiry, truth, noise_sd=0.003, on_round=lambda *turn: turns.append((turn[0], list(turn[1]))))
    for found, records in turns[:-1]:
        ended = train(found.trials[:done], field, truth, noise_sd=0.003)
        check_resumed(inquiry, [*records, *ended], found.trials, found.trials[done:])


def check_resumed(inquiry, records, asked, rest):
    """Checks what is asked for when the rest of a round was begun and not ended."""
    known = [*records, *(begun(trial, inquiry.field) for trial in rest)]
    again = inquiry.next_round(known)
    assert again == inquiry.next_round(known[::-1])
    if rest:
        assert set(again.trials) == set(rest)
    else:
        assert not set(again.trials) & set(asked)


@settings(max_examples=8)
@given(name=STRATEGY, seed=st.integers(0, 10**6), data=st.data())
def test_what_is_barred_is_not_proposed(name, seed, data):
    """A trial that was given up, or did not fit, is proposed by no later round, nor another seed of it."""
    inquiry = inquiry_of(name, 3_000.0)
    field, truth = inquiry.field, true_log_loss(inquiry.field)
    records, barred, unfit = [], set(), set()
    for _ in range(30):
        found = inquiry.next_round(records, barred=frozenset(barred))
        if found.is_over:
            break
        places = {field.find(trial) for trial in found.trials}
        assert not places & unfit
        victim = data.draw(st.sampled_from(found.trials))
        how = data.draw(st.sampled_from(["trained", "barred", "unfit"]))
        rest = [trial for trial in found.trials if trial != victim or how == "trained"]
        records += train(rest, field, truth, noise_sd=0.003, seed=seed)
        if how == "barred":
            barred.add(victim.id)
        if how == "unfit":
            records.append(record_of(victim, field, None, status=Status.OUT_OF_MEMORY))
        if how != "trained":
            unfit.add(field.find(victim))
    else:
        pytest.fail("it asks for ever")


@pytest.mark.parametrize("name", BY_ROUNDS)
def test_a_finished_inquiry_stays_finished(name):
    """Asked again it is done, whatever other studies record beside it."""
    inquiry = inquiry_of(name, 3_000.0)
    records, _ = follow(inquiry, true_log_loss(inquiry.field))
    other = field_of(3_000.0, peak_lrs=(0.11, 0.22))
    foreign = runs(other, true_log_loss(other), range(3))
    for known in (records, [*foreign, *records], records[::-1]):
        assert inquiry.next_round(known).is_over


@pytest.mark.parametrize("name", BY_ROUNDS)
def test_failed_runs_are_owed_to_the_next_command(name):
    """What failed in an earlier command is proposed again, what failed in this one is not."""
    inquiry = inquiry_of(name, 3_000.0)
    first = inquiry.next_round([])
    failed = [record_of(trial, inquiry.field, None, status=Status.FAILED) for trial in first.trials]
    assert set(inquiry.next_round(failed).trials) == set(first.trials)
    assert not set(inquiry.next_round(failed, barred=frozenset(t.id for t in first.trials)).trials) & set(first.trials)


def test_questions_by_default():
    """informed asks for the optimum of BUDGET, ladder for its loss, and a stop rule asks its own question."""
    assert str(inquiry_of("informed").question) == "optimum@10k"
    assert str(inquiry_of("ladder").question) == "loss@10k"
    assert str(inquiry_of("informed", until="exponent ± 0.005").question) == "exponent"
    assert str(inquiry_of("informed", question="loss@3k", until="exponent ± 0.005").question) == "loss@3k"


@pytest.mark.parametrize(
    ("name", "setting", "why"),
    [
        ("informed", {"spend_share": 0.0}, r"strategy.spend_share=0 is no part of the grid: above 0, at most 1"),
        ("ladder", {"spend_share": 1.5}, r"strategy.spend_share=1.5"),
        ("informed", {"spend_share": float("nan")}, r"strategy.spend_share=nan"),
        ("informed", {"tolerance": 0.0}, r"strategy.tolerance=0 is no part of a loss \(try: 0.0005\)"),
        ("informed", {"tolerance": 2.0}, r"strategy.tolerance=2"),
        ("ladder", {"rung_factor": 1.0}, r"strategy.rung_factor=1 makes no ladder: above 1, at most 100 \(try: 2.5\)"),
        ("ladder", {"rung_factor": 1e6}, r"strategy.rung_factor=1e\+06"),
        ("ladder", {"ceiling": "20k"}, r"strategy.ceiling=20k lies above the budget of 10k"),
        ("ladder", {"ceiling": "high"}, r"high"),
        ("informed", {"question": "everything"}, r"question 'everything' not understood"),
        ("informed", {"question": "gap@3k"}, r"compares two families"),
        ("informed", {"question": "loss@1000k"}, r"no loss beyond twice that can be answered"),
        ("informed", {"until": "soon"}, r"until 'soon' not understood"),
        ("informed", {"until": "gap@3k ± 1%"}, r"compares two families"),
    ],
)
def test_settings_that_cannot_be(name, setting, why):
    """Each is refused before anything is trained, by name and with what is allowed."""
    with pytest.raises(StudyError, match=why):
        inquiry_of(name, **setting)


def test_a_budget_beyond_the_dearest_cell_is_no_question():
    """Nobody has asked for it: the best of what there is counts."""
    for name in BY_ROUNDS:
        assert inquiry_of(name, 110_000.0, study=study_of(epochs=(0.25, 0.5))).next_round([]).trials


def test_what_is_asked_of_a_larger_budget_is_predicted():
    """Cells above BUDGET are in the field, and none of them is ever trained."""
    inquiry = inquiry_of("informed", 3_000.0, question="loss@10k")
    assert len(inquiry.field.cells) == 21
    records, rounds = follow(inquiry, true_log_loss(inquiry.field), noise_sd=0.003)
    assert max(record.cost.core_hours for record in records) <= 1.01 * 3_000.0
    assert "best loss at 10k" in rounds[-1].lines[0]


def test_pick_files_have_their_own_cells():
    """A strategy that chooses has nothing to choose from there."""
    pick = Pick(model="f0", epochs=1.0, batch_images=32, peak_lr=0.1)
    with pytest.raises(StudyError, match="a pick file names its own cells"):
        inquiry_of("informed", study=study_of(picks=(pick,)))


def test_large_fields_are_read_cell_by_cell():
    """More cells than a belief holds are refused with what to do, but for the two-trial rule, which goes on."""
    study = study_of(epochs=tuple(0.25 + k / 64 for k in range(80)))
    with pytest.raises(StudyError, match=r"at most 400 cells.*strategy=two_trial"):
        inquiry_of("informed", 110_000.0, study=study)
    inquiry = inquiry_of("two_trial", 110_000.0, study=study)
    truth = true_log_loss(inquiry.field)
    first = inquiry.next_round([])
    second = inquiry.next_round(train(first.trials, inquiry.field, truth, noise_sd=0.0))
    assert first.trials and second.trials and not set(first.trials) & set(second.trials)


def test_nothing_within_the_budget_is_a_round_of_nothing():
    """A field without a cell is over at once."""
    inquiry = inquiry_of("informed", 10.0)
    assert isinstance(inquiry, Inquiry) and inquiry.next_round([]).is_over

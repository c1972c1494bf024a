import pytest

from training.agreement import any_host_says, everyones, is_leader, leader_says


@pytest.mark.parametrize("word", [True, False])
def test_a_process_agrees_with_itself(word: bool) -> None:
    """By itself a process leads, and its word is everybody's; several are in test_hosts.py."""
    assert is_leader()
    assert any_host_says(word) is leader_says(word) is word
    assert everyones(word) == [word]

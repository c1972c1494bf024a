from hypothesis import given
from hypothesis import strategies as st

from launcher.rehearse.virtual_clock import VirtualClock


@given(st.lists(st.tuples(st.booleans(), st.floats(-1e6, 1e6))))
def test_time_never_goes_back(steps: list[tuple[bool, float]]) -> None:
    """Whatever is waited for or advanced to."""
    clock = VirtualClock()
    for is_sleep, seconds in steps:
        before = clock.monotonic()
        clock.sleep(seconds) if is_sleep else clock.advance(seconds)
        assert clock.monotonic() >= before
        assert not is_sleep or clock.monotonic() == before + max(0.0, seconds)

"""When a trial whose worker died is tried again."""

from launcher.drive.retries import FIRST_PAUSE_S, GIVE_UP_AFTER, LONGEST_PAUSE_S, Retries


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Returns the time [s]."""
        return self.now_s


def test_the_first_death_is_repeated_at_once_and_later_ones_after_growing_pauses() -> None:
    """Pauses double from one second on."""
    clock = Clock()
    retries = Retries(clock)
    pauses: list[float] = []
    for _ in range(GIVE_UP_AFTER - 1):
        assert retries.lose("a")
        begun_s = clock.now_s
        while not retries.due():
            clock.now_s += 0.25
        pauses.append(clock.now_s - begun_s)
    assert pauses == [0.0, FIRST_PAUSE_S, 2.0 * FIRST_PAUSE_S]
    assert not retries.lose("a") and retries.given_up == 1


def test_progress_clears_the_deaths() -> None:
    """A trial that gets further each time is never given up; one that repeats the same steps is."""
    clock = Clock()
    retries = Retries(clock)
    for step in range(1, 50):
        retries.progress("a", step)
        assert retries.lose("a")
        clock.now_s += LONGEST_PAUSE_S
        assert retries.due() == ["a"]
    for _ in range(GIVE_UP_AFTER - 2):
        retries.progress("a", 49)
        assert retries.lose("a")
    retries.progress("a", 49)
    assert not retries.lose("a")


def test_forgotten_deaths_do_not_count() -> None:
    """Somebody who asks for another go gets all of it."""
    retries = Retries(Clock())
    for _ in range(GIVE_UP_AFTER):
        retries.lose("a")
    retries.forget("a")
    assert retries.lose("a") and retries.due() == ["a"] and not retries


def test_a_checkpoint_that_grows_clears_the_deaths() -> None:
    """Between two points of a curve a long run may be put off often: what it saves is progress, too."""
    retries = Retries(Clock())
    for mark in range(1, 20):
        retries.save("a", float(mark))
        assert retries.lose("a")
    for _ in range(GIVE_UP_AFTER - 2):
        retries.save("a", 19.0)
        assert retries.lose("a")
    retries.save("a", 19.0)
    assert not retries.lose("a")

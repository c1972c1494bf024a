"""Time that passes only when somebody waits for it."""

from dataclasses import dataclass


@dataclass
class VirtualClock:
    """A clock whose sleeper never sleeps."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        """Returns the time [s]; never less than before."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Lets so much time pass at once."""
        self.advance(self.now_s + max(0.0, seconds))

    def advance(self, until_s: float) -> None:
        """Lets time pass until then, unless it is then already."""
        self.now_s = max(self.now_s, until_s)

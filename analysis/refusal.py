"""What cannot be said, why, and what to type to change that."""

from dataclasses import dataclass

from sweeps.errors import StudyError


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why something cannot be said, and the command that would change it."""

    code: str
    reason: str
    next: str


class FitRefused(StudyError):
    """No law can be fitted; `refusal` says why."""

    def __init__(self, *, code: str, reason: str, next: str) -> None:
        super().__init__(f"{reason}; {next}")
        self.refusal = Refusal(code=code, reason=reason, next=next)

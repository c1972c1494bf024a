"""The one error a person is meant to read."""


class StudyError(ValueError):
    """Something a user can mend: says what was got, what is allowed, and what to type next.

    Commands print its message without a traceback and exit with code 2.
    """

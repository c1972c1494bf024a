"""Times as people say them: exactly where they are over, and roughly where they lie ahead."""

_STEPS = ((20.0, 1.0), (60.0, 5.0), (180.0, 10.0), (600.0, 30.0), (3600.0, 60.0), (36000.0, 300.0), (360000.0, 3600.0))
"""Up to so many seconds a time ahead is rounded to so many."""
_DAY_S = 86400.0


def format_duration(seconds: float) -> str:
    """Returns seconds as people say them: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def about(seconds: float) -> str:
    """Returns a time ahead as roughly as it is known: about 40 s, about 3 min 30 s, about 2 h 05 min, about 5 days."""
    step_s = next((step_s for limit_s, step_s in _STEPS if seconds < limit_s), _DAY_S)
    whole = max(1, round(seconds / step_s) * round(step_s))
    if whole < 60:
        return f"about {whole} s"
    if whole < 3600:
        minutes, rest_s = divmod(whole, 60)
        return f"about {minutes} min" + (f" {rest_s:02d} s" if rest_s else "")
    if whole < 2 * _DAY_S:
        hours, minutes = divmod(whole // 60, 60)
        return f"about {hours} h" + (f" {minutes:02d} min" if minutes else "")
    return f"about {round(whole / _DAY_S)} days"

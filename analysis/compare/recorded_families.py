"""The families of a study, as runs.sqlite holds them."""

from collections.abc import Sequence

from analysis.compare.family import Family, families_of
from analysis.refusal import FitRefused
from sweeps.errors import StudyError
from tracking.paths import project_paths
from tracking.run_table import list_studies, read_records


def recorded_families(study: str | None, wanted: Sequence[str]) -> tuple[Family, ...]:
    """Returns the families of a study, by default of the one begun last that has several.

    Args:
        study: its name; None for the default.
        wanted: which of its families, in this order; all of them, by name, where it is empty.

    Raises:
        FitRefused: nothing was run, no study is called so, or its families cannot be compared.
        StudyError: the study has no such family.
    """
    paths = project_paths()
    if not paths.runs_sqlite.is_file():
        reason = f"there is no {paths.runs_sqlite.name} yet: nothing was run"
        raise FitRefused(code="no_runs", reason=reason, next="try: make sweep BUDGET=10k STUDY=families")
    studies = list_studies(paths)
    if study is not None and study not in studies:
        reason = f"no study called {study!r} in {paths.runs_sqlite.name}; it has {', '.join(studies)}"
        raise FitRefused(code="unknown_study", reason=reason, next="try: make sweep BUDGET=10k STUDY=families")
    recorded = {name: read_records(paths, name) for name in ([study] if study else studies)}
    several = {name: own for name, own in recorded.items() if len({record.trial.family for record in own}) > 1}
    pool = several or recorded
    chosen = max(pool, key=lambda name: max((record.started_unix_s for record in pool[name]), default=0.0))
    known = {record.trial.family for record in pool[chosen]}
    if missing := [name for name in wanted if name not in known]:
        raise StudyError(
            f"study {chosen} has no family {missing[0]!r}; it has {', '.join(sorted(known))} "
            f"(try: --families {','.join(sorted(known)[:2])})"
        )
    records = [record for record in pool[chosen] if not wanted or record.trial.family in wanted]
    found = families_of(records, study=chosen, source=f"study {chosen} in {paths.runs_sqlite.name}")
    return tuple(sorted(found, key=lambda family: wanted.index(family.name))) if wanted else found

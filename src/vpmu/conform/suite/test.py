"""What a test is, and all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from ...profiles.behaviours import BEHAVIOURS
from ...profiles.opensbi_behaviours import OPENSBI_BEHAVIOURS
from ..script import Step, parse

MODULES = ("base", "counters", "config", "events", "start", "stop", "values", "firmware", "snapshot", "overflow", "event_info", "csr", "lifecycle")
"""Modules of this package with a `TESTS` table, in the order of the report."""


@dataclass(frozen=True, slots=True)
class Test:
    """One behaviour. `spec` names the section of the specification; `steps` are the calls with what is expected.

    needs: facts without which the test says nothing. without: behaviours with which it says nothing.
    pmu: False where user space switched the extension off. lenient: the behaviours it names need not show on every host.
    """

    id: str
    title: str
    spec: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    lenient: bool = False
    pmu: bool = True


def table(section: str, spec: str, *rows: tuple[str, str, str] | tuple[str, str, str, dict[str, object]]) -> list[Test]:
    """Tests of one section: rows of (name, title, script) and, where needed, the other fields of a Test."""
    tests = []
    for name, title, script, *more in rows:
        fields: dict[str, Any] = dict(more[0]) if more else {}
        needs: tuple[str, ...] = tuple(fields.pop("needs", ()))
        needs += tuple(fact for fact in ("PROG", "ABSENT", "SHMEM", "END") if fact in script and fact not in needs)
        try:
            steps = parse(script)
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{section}-{name}: {error}") from None
        tests.append(Test(f"{section}-{name}", title, str(fields.pop("spec", spec)), steps, needs, **fields))
    return tests


@cache
def load_suite() -> tuple[Test, ...]:
    """All tests, in order. Raises ValueError for a malformed one or an identifier that occurs twice."""
    tests: list[Test] = []
    for module in MODULES:
        tests += import_module(f"{__package__}.{module}").TESTS
    ids = [test.id for test in tests]
    twice = {one for one in ids if ids.count(one) > 1}
    if twice:
        raise ValueError(f"identifiers that occur twice: {sorted(twice)}")
    named = {name for test in tests for step in test.steps for who, _ in step.divergences for name in who}
    known = {*BEHAVIOURS, *OPENSBI_BEHAVIOURS}
    if not named <= known:
        raise ValueError(f"behaviours that do not exist: {sorted(named - known)}")
    return tuple(tests)

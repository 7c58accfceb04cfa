"""Plans: what is understood, and what is refused with which words."""

from __future__ import annotations

import errno
import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmu.errors import FileError, UsageError, VpmuError
from vpmu.faults import SITES, load_plan, parse_plan, parse_rule, plan_of
from vpmu.faults.plan import WORDS

PLAN = """
name = "busy"
summary = "cycles cannot be had at first"
seed = 7
[[rule]]
site = "perf.create"
match = { event = "cycles", call = "2-4" }
effect = { errno = "EBUSY" }
probability = 50
interval = 2
times = 3
space = 10

[[rule]]
site = "kvm.snapshot"
match.access = "write"
match.after = "20us"
effect.fault = true
"""


def test_a_file() -> None:
    plan = parse_plan(PLAN)
    assert (plan.name, plan.seed, len(plan.rules)) == ("busy", 7, 2)
    first, second = plan.rules
    assert first.effect == {"errno": errno.EBUSY}
    assert first.match == {"event": "cycles", "call": ((2, 4),)}
    assert (first.probability, first.interval, first.times, first.space) == (50, 2, 3, 10)
    assert second.match == {"access": "write", "after": 20_000}


def test_an_option_says_the_same_as_a_file() -> None:
    rule = parse_rule(
        "perf.create:event=cycles,call=2-4,errno=EBUSY,probability=50,interval=2,times=3,space=10"
    )
    from_file = parse_plan(PLAN).rules[0]
    assert (rule.site, rule.match, rule.effect, rule.times) == (
        from_file.site, from_file.match, from_file.effect, from_file.times
    )  # fmt: skip
    assert parse_rule(rule.source) == rule


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = 1", 1, "unknown word 'x'"),
        ('[[rule]]\nsite = "perf.creat"', 2, "did you mean perf.create"),
        ('\n[[rule]]\neffect = { errno = "ENOENT" }', 2, "without site"),
        ('[[rule]]\nsite = "perf.create"', 1, "without effect"),
        ('[[rule]]\nsite = "perf.create"\neffect = { errno = "ENOEMT" }', 3, "ENOENT"),
        ('[[rule]]\nsite = "perf.create"\nmatch = { evnt = "x" }', 3, "did you mean event"),
        ('[[rule]]\nsite = "perf.create"\nmatch = { event = "cycels" }', 3, "did you mean cycles"),
        ('[[rule]]\nsite = "perf.create"\neffect = { errno = 2 }\nprobability = 101', 4, "expected 0 to 100"),
        ('[[rule]]\nsite = "perf.create"\neffect = { errno = 2 }\nintervall = 2', 4, "did you mean interval"),
        ('[[rule]]\nsite = "perf.create"\neffect = { errno = 2, null = true }', 3, "exclude each other"),
        ('[[rule]]\nsite = "guest.memory"\neffect = { remove = true }', 1, "without address"),
        ('[[rule]]\nsite = "perf.create"\neffect = 3', 3, "expected a table"),
        ('rule = "all"', 1, "expected tables"),
        ("seed = -1", 1, "seed"),
        ("name = 1", 1, "expected a text"),
        ("[[rule]", 1, "expected TOML"),
    ],
)
def test_what_is_wrong_and_where(text: str, line: int, words: str) -> None:
    with pytest.raises(FileError) as caught:
        parse_plan(text, "plan.toml")
    assert caught.value.line == line
    assert words in str(caught.value)
    assert f"plan.toml:{line}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("perf.craete:errno=EBUSY", "did you mean perf.create"),
        ("perf.create:erno=EBUSY", "did you mean errno"),
        ("perf.create:errno=5000", "from 1 to 4095"),
        ("perf.create:errno=EBSY", "effect.errno: unknown errno 'EBSY'; did you mean EBUSY?"),
        ("perf.create:event=cycels,errno=2", "match.event: unknown event 'cycels'; did you mean cycles?"),
        ("sbi.call:error=DENYED", "effect.error: unknown SBI error 'DENYED'; did you mean DENIED?"),
        ("perf.create", "without effect"),
        ("perf.create:errno=EBUSY,times=many", "times"),
        ("sbi.call:function=counter_strat,drop", "did you mean counter_start"),
        ("hart.overflow:delay=fast", "virtual time"),
        ("perf.create:errno=EBUSY,call=0", "from 1 on"),
        ("perf.create:errno=EBUSY,pc=9-3", "range"),
    ],
)
def test_what_is_wrong_with_an_option(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(text)
    assert words in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "binary"):
        with pytest.raises(FileError):
            load_plan(path)


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    for read in (parse_plan, parse_rule):
        with suppress(VpmuError):
            read(text)


_KEYS = sorted({*WORDS, *(key for site in SITES.values() for key in (*site.matches, *site.effect))})
_VALUES = st.one_of(
    st.integers(-(2**70), 2**70), st.booleans(), st.floats(), st.text(string.printable, max_size=12),
    st.sampled_from(["ENOENT", "cycles", "snapshot", "1-3", "20us", "error", "true"]),
    st.lists(st.integers()),
    st.dictionaries(st.sampled_from(_KEYS), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(SITES)),
    st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=3),
    st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=3),
    st.dictionaries(st.sampled_from(sorted(WORDS)), _VALUES, max_size=2),
)
def test_no_rule_breaks_the_reader(
    site: str, match: object, effect: object, words: dict[str, object]
) -> None:
    from vpmu.faults.plan import PlanError, Rule

    with suppress(PlanError):
        Rule.build({"site": site, "match": match, "effect": effect, **words})
